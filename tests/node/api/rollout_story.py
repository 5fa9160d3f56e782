"""Rollouts of a `FakeNode`: a leader that does its duties, and devices that obey, over its log."""

from typing import Any

from stationkeep.cluster.apply import Applied
from stationkeep.cluster.commands import Draft
from tests.cluster.progression.rollouts import RolloutDriver
from tests.node.api.fake import FakeNode


class RolloutStory(RolloutDriver):
    """What `RolloutDriver` does, on a node's state; requests to the node come between."""

    def __init__(self, node: FakeNode) -> None:
        self.node, self.state = node, node.state
        self.log, self.clock, self.sequence, self.events = [], node.now, 0, []
        self.failing, self.sickening, self.deaf, self.away, self.ill = (set() for _ in range(5))
        self.bad_version = "2.0.0"

    def do(self, command: Any, key: str = "", actor: str = "", reason: str = "") -> Applied:
        self.node.now = self.clock
        self.log.append(b"")
        return self.node.log(Draft(command, key, actor, reason)).applied

    def settle(self, devices: int) -> "RolloutStory":
        """A crowd that has been well for long."""
        self.crowd(devices)
        self.rest(20_000)
        return self
