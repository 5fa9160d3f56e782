"""Tasks as a node tells them, for tests."""

from typing import Any

from stationkeep.node.agent.tasks.book import Moment
from stationkeep.node.wire.tasks import Artifact, TaskPayload

DEVICE = "slave-001"
SHA = "ab" * 32


def artifact(version: str = "2.0.0", **more: Any) -> Artifact:
    given = {"url": "https://updates.example/fw.bin", "sha256": SHA, "size": 40}
    return Artifact(component="app", version=version, **(given | more))


def task(deployment: int = 17, attempt: int = 1, **more: Any) -> TaskPayload:
    """A deployment of 2.0.0 that may take an hour."""
    given: dict[str, Any] = {
        "task_id": f"{deployment}/{DEVICE}/{attempt}",
        "deployment": deployment,
        "attempt": attempt,
        "task_type": "deployment",
        "artifact": artifact(),
        "deadline": "2026-11-29T15:00:00Z",
        "timestamp": "2026-11-29T14:00:00Z",
    }
    return TaskPayload(**(given | more))


def at(uptime: float, boot: str = "first") -> Moment:
    return Moment(boot, uptime)
