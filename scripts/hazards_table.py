"""The table of hazards in node/raft/README.md: each guard off, and on, over the same seeds."""

import sys
from pathlib import Path

from stationkeep.node.simulation.campaigns.hazards import HAZARDS, count_strikes, table
from stationkeep.node.simulation.scenario import BadScenario

README = Path(__file__).parent.parent / "node" / "raft" / "README.md"
BEGIN, END = "<!-- hazards: begin -->", "<!-- hazards: end -->"


def write(runs: int, jobs: int, only: str | None) -> int:
    """Counts, prints, and (for all hazards) writes the table; the exit code: 1 when a hazard was
    not found without its guard, or seen with it."""
    wanted = [h for h in HAZARDS if only is None or h.guard in only.split(",")]
    if not wanted:
        known = ", ".join(h.guard for h in HAZARDS)
        raise BadScenario(f"--only: {only!r} refused: known are {known}")
    strikes = []
    for hazard in wanted:
        strikes.append(count_strikes(hazard, runs, jobs))
        print(
            f"{hazard.guard}: {strikes[-1].without} of {runs} without, "
            f"{strikes[-1].with_it} with its guard",
            file=sys.stderr,
        )
    lines = table(strikes)
    print("\n".join(lines))
    if only is None:
        _put(lines, runs)
    return int(any(not t.without or t.with_it for t in strikes))


def _put(lines: list[str], runs: int) -> None:
    text = README.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    note = (
        f"Runs with the sign among 1,000, counted over {runs} seeds each way by "
        f"`scripts/simulate --hazards {runs}`; 30 simulated seconds of faults a run, 13 of L8's."
    )
    README.write_text("\n".join([before + BEGIN, note, "", *lines, END]) + after, encoding="utf-8")
