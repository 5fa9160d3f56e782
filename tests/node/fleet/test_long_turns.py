"""How long thousands of devices hold a node's turn while they carry out a deployment.

In processor time, see `tests.node.holding`. Consensus is left out: the world's log gives a node
many commands at once, where Raft's gives it one after the other.
"""

import gc
from collections.abc import Callable
from time import thread_time

import pytest

from stationkeep.cluster.commands import Registration
from stationkeep.cluster.deployments.deployment import Limits
from stationkeep.node.wire import tasks as wire
from tests.node.fleet.proposing import Ears
from tests.node.fleet.test_errands import Delivery
from tests.node.fleet.test_intake import A

LONGEST = 0.02
DEVICES = 3_333
"""As many as each of three nodes has where ten thousand are connected."""


def test_a_deployment_to_thousands_holds_no_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    gc.freeze()  # as a node does: what other tests have left is not looked at again
    fleet, ears, taken = Delivery(), Ears(), dict[str, float]()
    loop = fleet.loops[A]
    ids = [f"d{n}" for n in range(DEVICES)]

    def measured(name: str, turn: Callable[[], None]) -> Callable[[], None]:
        def measure() -> None:
            began = thread_time()
            turn()
            taken[name] = max(taken.get(name, 0.0), thread_time() - began)

        return measure

    def register(session: int, version: str) -> None:
        can = {"deployment": "true"}
        for id_ in ids:
            said = Registration(id_, "", "", version, can, session=session, sequence=1)
            loop.intake.register(said, ears)
        live(2.0)

    def say(state: wire.TaskState) -> None:
        for id_ in ids:
            fleet.say(f"1/{id_}/1", state)
        live(2.0)

    def live(seconds: float) -> None:
        for _ in range(round(seconds / 0.5)):
            for id_ in ids:
                fleet.report(id_, 0, session=0)
            fleet.run(0.5)

    for part in (loop.intake, loop.errands):
        monkeypatch.setattr(part, "turn", measured(type(part).__name__, part.turn))
    register(1, "1.0.0")
    fleet.create(limits=Limits(max_in_flight=DEVICES))
    live(2.0)
    assert len(ears.tasks) >= DEVICES
    say(wire.TaskState.IN_PROGRESS)
    register(2, "2.0.0")
    say(wire.TaskState.SUCCEEDED)
    assert loop.replica.state.deployments.known[1].tallied()["succeeded"] == DEVICES
    assert max(taken.values()) < LONGEST, taken
