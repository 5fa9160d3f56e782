"""Many runs: one seed after another, each judged, failures kept as transcripts."""

import contextlib
import logging
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import islice
from multiprocessing import get_context

import msgspec
import structlog

from stationkeep.cluster.levels import HIGHEST, LOWEST
from stationkeep.node.simulation import actions
from stationkeep.node.simulation.checks.checks import Violation
from stationkeep.node.simulation.checks.rollouts import RolloutChecks
from stationkeep.node.simulation.faults import profiles as faults
from stationkeep.node.simulation.scenario import Scenario
from stationkeep.node.simulation.world import World
from stationkeep.node.system import garbage

DURATION = 30.0
"""Simulated seconds of faults in one run of a campaign, profile demo."""
POPULATED, WITH_TASKS, WITH_MISCHIEF, WITH_ROLLOUTS, UPGRADED = 0.25, 0.15, 0.5, 0.1, 0.1
WITH_CERTIFICATES, WITH_INVITATIONS = 0.05, 0.05
"""In which share of mixed runs there are devices, and devices that carry out tasks; in which of
these there is mischief, too; and in which of all runs there are rollouts, and tasks with them; in
which members are upgraded; in which there is each kind of trouble with certificates; and in which
machines come by invitation."""
SLICE, QUEUED = 8, 4
"""Seeds given to a process at once, and how many such slices wait for each process."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What all runs of a campaign share; None and () are drawn for each seed."""

    faults: tuple[str, ...] = ()
    nodes: int | None = None
    profile: str = "demo"
    duration: float = DURATION
    gap: float | None = None
    load: float = 2.0
    orders: bool = True
    """Whether clients also give operators' orders."""
    compact: tuple[int, ...] = (16, 64, 1_000)
    """Sizes of the log at which it is compacted; each run draws one."""
    batch: tuple[int, ...] = (1, 4, 1_024)
    """Limits of entries in one message; each run draws one."""
    tasks: float = WITH_TASKS
    """The share of mixed runs in which devices carry out tasks."""
    rollouts: float = WITH_ROLLOUTS
    """The share of mixed runs in which versions are rolled out to them."""
    guards_off: tuple[str, ...] = ()

    def scenario(self, seed: int) -> Scenario:
        """The run of one seed; raises `BadScenario`."""
        draw = random.Random(f"{seed} campaign")  # noqa: S311
        drawn, nodes = faults.mixture(draw), draw.choice((3, 3, 5))
        drawn += self._populations(seed)
        names = self.faults or drawn
        bare = Scenario(
            seed=seed,
            nodes=nodes if self.nodes is None else self.nodes,
            profile=self.profile,
            faults=names,
            duration=self.duration,
            guards_off=self.guards_off,
            compact_entries=draw.choice(self.compact),
            batch_entries=draw.choice(self.batch),
            level=LOWEST if "upgrade" in names else HIGHEST,
        )
        actions.check_scenario(bare)
        script = faults.script(bare.faults, bare, gap=self.gap, load=self.load, orders=self.orders)
        return msgspec.structs.replace(bare, script=script)

    def _populations(self, seed: int) -> tuple[str, ...]:
        """What there is beside the faults, which stay as they are."""

        def has(purpose: str, share: float) -> bool:
            return random.Random(f"{seed} {purpose}").random() < share  # noqa: S311

        rollouts = has("rollouts", self.rollouts)
        tasks = has("tasks", self.tasks) or rollouts
        there = {
            "devices": has("population", POPULATED),
            "tasks": tasks,
            "mischief": tasks and has("mischief", WITH_MISCHIEF),
            "rollouts": rollouts,
            "upgrade": has("upgrade", UPGRADED),
            "invitation": has("invitation", WITH_INVITATIONS),
            **{name: has(name, WITH_CERTIFICATES) for name in faults.CERTIFICATES},
        }
        return tuple(name for name, present in there.items() if present)


class Course(msgspec.Struct, frozen=True):
    """What became of the rollouts of one run. `ended`: of those that had begun, how many ended in
    each state. `judged`: stages of versions that do no harm of which health was asked, and that
    passed or failed; `stopped`: those of them that were stopped for it."""

    begun: int = 0
    ended: dict[str, int] = {}
    judged: int = 0
    stopped: int = 0


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one run. `rule` and `detail` are empty when everything held."""

    seed: int
    faults: tuple[str, ...] = ()
    nodes: int = 0
    rule: str = ""
    detail: str = ""
    at: float = 0.0
    converged_after: float = 0.0
    events: int = 0
    turns: int = 0
    calls: int = 0
    elections: int = 0
    unneeded_elections: int = 0
    longest_walk: int = 0
    longest_queue: int = 0
    undecided: int = 0
    rollouts: Course = Course()

    @property
    def ok(self) -> bool:
        return not self.rule


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Turns logging off: virtual time would make thousands of lines in a second."""
    before, library = structlog.get_config(), logging.getLogger("pysyncobj")
    levels = {library: library.level}
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL),
        cache_logger_on_first_use=False,
    )
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
        library.setLevel(levels[library])
        structlog.configure(**before)


def attempt(
    scenario: Scenario, told: Callable[[float], None] = lambda _: None
) -> tuple[World | None, Outcome]:
    """Runs a scenario to its end; a violation is an outcome, and so is any exception in a turn,
    which would have stopped a node. `told` is called with the simulated time."""
    world: World | None = None
    took, rule, detail = 0.0, "", ""
    try:
        world = World(scenario)
        actions.play(world, told)
        took = world.converge()
    except Violation as violation:
        rule, detail = violation.rule, violation.detail
    except Exception as error:  # whatever it is, it is the finding
        rule, detail = "a turn raised", f"{type(error).__name__}: {error}"
    return world, _outcome(scenario, world, took, rule, detail)


def _outcome(
    scenario: Scenario, world: World | None, took: float, rule: str, detail: str
) -> Outcome:
    outcome = Outcome(
        seed=scenario.seed, faults=scenario.faults, nodes=scenario.nodes, rule=rule, detail=detail
    )
    if world is None:
        return outcome
    if rule:
        world.note(f"VIOLATION {rule}: {detail}")
    return msgspec.structs.replace(
        outcome,
        at=world.time.now,
        converged_after=took,
        events=world.agenda.events,
        turns=world.checks.checked_turns,
        calls=world.clients.calls,
        elections=len(world.leader_changes),
        unneeded_elections=world.unneeded_elections,
        longest_walk=world.checks.longest_walk,
        longest_queue=world.links.longest_queue,
        undecided=world.undecided,
        rollouts=_course(world.rollout_checks),
    )


def _course(checks: RolloutChecks) -> Course:
    ended = Counter(checks.ended[name].value for name in checks.begun & checks.ended.keys())
    return Course(len(checks.begun), dict(ended), checks.judged, checks.stopped)


def run(plan: Plan, seed: int) -> Outcome:
    """Runs one seed."""
    with quiet():
        return attempt(plan.scenario(seed))[1]


def run_all(plan: Plan, seeds: Iterable[int], jobs: int = 1) -> Iterator[Outcome]:
    """Runs every seed, on `jobs` processes; yields outcomes in the order in which runs end."""
    plan.scenario(0)  # raises at once if the plan makes no sense
    if jobs <= 1:
        for seed in seeds:
            yield run(plan, seed)
        return
    # Not fork: a process with threads (a progress bar's, a test runner's) may not be copied.
    context = get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=garbage.tune) as pool:
        slices = _slices(seeds)
        pending: set[Future[list[Outcome]]] = set()
        while True:
            for some in islice(slices, QUEUED * jobs - len(pending)):
                pending.add(pool.submit(_run_some, plan, some))
            if not pending:
                return
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                yield from future.result()


def _slices(seeds: Iterable[int]) -> Iterator[list[int]]:
    rest = iter(seeds)
    while some := list(islice(rest, SLICE)):
        yield some


def _run_some(plan: Plan, seeds: list[int]) -> list[Outcome]:
    return [run(plan, seed) for seed in seeds]
