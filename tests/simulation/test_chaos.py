"""Arbitrary interleavings of faults and commands; a failure shrinks to a short script.

The machine only writes actions down and does them; what must hold is checked by the world after
every turn, and after the heal at the end. A failure is kept as a transcript, which
`stationkeep simulate --replay FILE` does again.
"""

import os
from pathlib import Path

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from stationkeep.node.simulation.actions import perform
from stationkeep.node.simulation.campaigns import transcript
from stationkeep.node.simulation.campaigns.campaign import quiet
from stationkeep.node.simulation.checks.checks import Violation
from stationkeep.node.simulation.machine.disk import POINTS
from stationkeep.node.simulation.scenario import Action, Scenario
from stationkeep.node.simulation.world import World

NAMES = Scenario(seed=0, nodes=3).names
SPARES = Scenario(seed=0, nodes=3).spares
NODES = st.sampled_from([*NAMES, "leader", "primary"])
KEEP = Path(os.environ.get("STATIONKEEP_TRANSCRIPTS", ".stationkeep/simulation"))


class Chaos(RuleBasedStateMachine):
    """Three nodes and whatever can happen to them."""

    guards_off: tuple[str, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        self._quiet = quiet()
        self._quiet.__enter__()
        self.script: list[Action] = []
        self.values = dict.fromkeys(NAMES, 100)

    @initialize(seed=st.integers(0, 2**16), compact=st.sampled_from((8, 64)))
    def begin(self, seed: int, compact: int) -> None:
        self.scenario = Scenario(
            seed=seed, nodes=3, compact_entries=compact, guards_off=self.guards_off
        )
        self.world = World(self.scenario)
        self.guarded(lambda: self.world.run(2.0))

    # -- what happens

    def do(self, verb: str, *words: str) -> None:
        action = Action(self.world.time.now, verb, words)
        self.script.append(action)
        self.guarded(lambda: perform(self.world, action))

    def guarded(self, step) -> None:
        try:
            step()
        except Violation as violation:
            self.keep(violation)
            raise

    def keep(self, violation: Violation) -> None:
        """The last one kept is the shortest."""
        scenario = msgspec.structs.replace(
            self.scenario, script=tuple(self.script), duration=self.world.time.now + 0.001
        )
        KEEP.mkdir(parents=True, exist_ok=True)
        file = KEEP / "chaos.txt"
        file.write_text(transcript.record(scenario).text(), encoding="utf-8")
        violation.add_note(f"stationkeep simulate --replay {file}")

    @rule(tenths=st.integers(1, 30))
    def time_passes(self, tenths: int) -> None:
        self.guarded(lambda: self.world.run(tenths / 10))

    @rule(node=NODES, how=st.sampled_from(("process", "power")))
    def crash(self, node: str, how: str) -> None:
        self.do("crash", node, how)

    @rule(node=NODES, point=st.sampled_from(sorted(POINTS)))
    def crash_at(self, node: str, point: str) -> None:
        self.do("crash-at", node, point)

    @precondition(lambda self: any(not m.up for m in self.world.members.values()))
    @rule(node=st.sampled_from(NAMES))
    def start(self, node: str) -> None:
        self.do("start", node)

    @rule(node=NODES)
    def isolate(self, node: str) -> None:
        self.do("isolate", node)

    @rule(a=st.sampled_from(NAMES), b=st.sampled_from(NAMES))
    def cut(self, a: str, b: str) -> None:
        self.do("cut", a, b)

    @rule(node=st.sampled_from(NAMES))
    def rejoin(self, node: str) -> None:
        self.do("rejoin", node)

    @rule(a=st.sampled_from(NAMES), b=st.sampled_from(NAMES))
    def reset(self, a: str, b: str) -> None:
        self.do("reset", a, b)

    @rule(node=NODES, tenths=st.integers(1, 50))
    def pause(self, node: str, tenths: int) -> None:
        self.do("pause", node, f"{tenths / 10:g}")

    @rule(node=NODES, hundredths=st.integers(0, 100))
    def slow(self, node: str, hundredths: int) -> None:
        self.do("slow", node, f"{hundredths / 100:g}")

    @rule(node=NODES, state=st.sampled_from(("on", "off")))
    def full(self, node: str, state: str) -> None:
        self.do("full", node, state)

    @rule(node=NODES, risk=st.sampled_from(("0.1", "0.25", "0.9")))
    def risk(self, node: str, risk: str) -> None:
        self.do("risk", node, risk)

    @rule(share=st.sampled_from(("0", "0.1", "0.3")), burst=st.sampled_from(("0", "1")))
    def weather(self, share: str, burst: str) -> None:
        self.do("weather", "0.01", "0.02", share, burst)

    @rule()
    def transfer(self) -> None:
        self.do("transfer")

    @rule(node=st.sampled_from(NAMES), register=st.sampled_from(NAMES[:2]))
    def write(self, node: str, register: str) -> None:
        self.values[register] += 1
        self.do("write", node, register, str(self.values[register]))

    @rule(node=st.sampled_from(NAMES), register=st.sampled_from(NAMES[:2]))
    def read(self, node: str, register: str) -> None:
        self.do("read", node, register)

    @rule(node=st.sampled_from(NAMES), what=st.sampled_from(("switchover", "maintenance")))
    def order(self, node: str, what: str) -> None:
        self.do("order", node, what)

    @rule(machine=st.sampled_from([*SPARES, *NAMES]), node=NODES)
    def join(self, machine: str, node: str) -> None:
        self.do("join", machine, node)

    @rule(who=st.sampled_from([*SPARES, *NAMES, "leader"]), node=NODES)
    def leave(self, who: str, node: str) -> None:
        self.do("leave", who, node)

    def teardown(self) -> None:
        try:
            if hasattr(self, "world"):
                self.guarded(self.world.converge)
        finally:
            self._quiet.__exit__(None, None, None)


BOUNDED = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestChaos = Chaos.TestCase
TestChaos.settings = (
    settings(BOUNDED, max_examples=400)
    if os.environ.get("HYPOTHESIS_PROFILE") == "search"
    else BOUNDED
)
