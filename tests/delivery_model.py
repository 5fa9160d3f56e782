"""A second, dumb implementation of the rules of tasks, to compare `cluster.delivery` with.

Written from the words of node/guide/reference/tasks.md, with one plain object for each device and
task. Shares nothing with `cluster`. Which tasks are offered is not predicted but judged. Clarity is
its only virtue. Times are ms, and those of profile orbit.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

OFFER, PROGRESS, WHOLE, DEADLINE = 60_000, 600_000, 3_600_000, 86_400_000
BACKOFF, MOST_ATTEMPTS, MOST_UNANSWERED = 30_000, 15, 8
UNFINISHED = ("queued", "offered", "in_progress")
BUSY = ("offered", "in_progress")
RETRYABLE = ("download", "install", "reboot", "silent")


@dataclass(eq=False)
class Device:
    """What a device is, as far as its tasks are concerned."""

    id: str
    version: str
    online: bool = True
    charged: bool = True
    heard: int = 0
    gone: bool = False


@dataclass(eq=False)
class Task:
    """One device's part in a deployment."""

    device: Device
    state: str
    reason: str = ""
    attempt: int = 1
    not_before: int = 0
    offered_at: int = 0
    began_at: int = 0
    said_at: int = 0
    previous: str = ""
    unanswered: int = 0
    begun: bool = False
    claimed: bool = False
    told_to_cancel: bool = False
    reverted: bool = False
    superseded: bool = False
    wait: tuple[int, int] | None = None
    """The least and the most that it waits, where a lot decides."""

    def becomes(self, state: str, reason: str = "") -> None:
        self.state, self.reason, self.not_before, self.wait = state, reason, 0, None

    def waits(self, reason: str, now: int, times: int) -> None:
        """Queued again after a pause that grows with how often it went wrong."""
        self.becomes("queued", reason)
        pause = min(WHOLE, BACKOFF * 4 ** (times - 1))
        self.wait = (now + pause * 8 // 10, now + pause * 12 // 10)


@dataclass(eq=False)
class Deployment:
    """What is to be done, and by whom."""

    number: int
    version: str
    opened: int
    tasks: dict[str, Task]
    cap: int = 500
    retries: int = 2
    priority: int = 500
    downgrade: bool = False
    time: int = DEADLINE
    state: str = "open"
    reason: str = ""
    deadline: int = field(init=False)

    def __post_init__(self) -> None:
        self.deadline = self.opened + self.time
        self.close_if_over()

    @property
    def in_flight(self) -> int:
        return sum(task.state in BUSY for task in self.tasks.values())

    def close_if_over(self) -> None:
        if not any(task.state in UNFINISHED for task in self.tasks.values()):
            self.reason = "canceled" if self.state == "closing" else "completed"
            self.state = "closed"

    def tallies(self) -> dict[str, int]:
        return dict(Counter(task.state for task in self.tasks.values()))


class Said(NamedTuple):
    """A word, the reason that it gives, and the seconds for which a postponed task is put off."""

    word: str
    reason: str = ""
    wait: int = 0


@dataclass
class Fleet:
    """Everything, and what happens to it."""

    now: int = 0
    devices: dict[str, Device] = field(default_factory=dict)
    deployments: list[Deployment] = field(default_factory=list)
    held: bool = False
    """Paused, or under the storm brake."""
    paused_until: int | None = None
    stopped: int | None = None
    """Since when the deadlines of deployments stand still."""

    # -- time -----------------------------------------------------------------------------------

    def pass_time(self, now: int) -> None:
        self.now = now
        if self.paused_until is not None and now >= self.paused_until:
            self.resume()

    def pause(self, length: int) -> None:
        self.paused_until = self.now + length
        if self.stopped is None:
            self.stopped = self.now

    def resume(self) -> None:
        for deployment in self.open():
            deployment.deadline += self.now - self.clock_of(deployment)
        self.paused_until = self.stopped = None

    def clock_of(self, deployment: Deployment) -> int:
        """What the deadline of a deployment is compared with."""
        return self.now if self.stopped is None else max(self.stopped, deployment.opened)

    def over(self, deployment: Deployment) -> bool:
        return self.stopped is None and self.now >= deployment.deadline

    # -- orders ---------------------------------------------------------------------------------

    def create(self, members: Iterable[Device], **order: Any) -> Deployment:
        version, downgrade = order["version"], order.get("downgrade", False)
        tasks = {}
        for device in members:
            task = Task(device, "queued")
            if version and device.version == version:
                task.becomes("already_installed")
            elif version and newer(device.version, version) and not downgrade:
                task.becomes("canceled", "newer_installed")
            tasks[device.id] = task
        made = Deployment(len(self.deployments) + 1, tasks=tasks, opened=self.now, **order)
        self.deployments.append(made)
        return made

    def cancel(self, deployment: Deployment) -> bool:
        if deployment.state != "open":
            return False
        deployment.state = "closing"
        for task in deployment.tasks.values():
            if task.state in ("queued", "offered"):
                task.becomes("canceled", "canceled")
            elif task.state == "in_progress":
                task.told_to_cancel = True
        deployment.close_if_over()
        return True

    def retry(self, deployment: Deployment) -> bool:
        if deployment.state == "closing" or deployment.reason == "canceled":
            return False
        again = [
            task
            for task in deployment.tasks.values()
            if task.state in ("failed", "timed_out", "unreached")
            and not task.reverted
            and not task.device.gone
            and task.attempt < MOST_ATTEMPTS
        ]
        for task in again:
            task.becomes("queued", "retry")
            task.attempt += 1
            task.begun = False
            task.unanswered = 0
        if again:
            deployment.state, deployment.reason = "open", ""
            deployment.deadline = self.clock_of(deployment) + deployment.time
            for task in deployment.tasks.values():
                if deployment.version and not task.device.gone:
                    self._compare(deployment, task)
            deployment.close_if_over()
        return bool(again)

    def remove(self, device: Device) -> None:
        device.gone = True
        del self.devices[device.id]
        for deployment in self.open():
            task = deployment.tasks.get(device.id)
            if task and task.device is device and task.state in UNFINISHED:
                task.becomes("canceled", "removed")
                deployment.close_if_over()

    # -- devices --------------------------------------------------------------------------------

    def register(self, device: Device, version: str) -> None:
        device.version, device.online, device.heard = version, True, self.now
        for deployment in self.open():
            task = deployment.tasks.get(device.id)
            if task is None or task.device is not device:
                continue
            if task.state == "queued" and task.reason in ("unanswered", "not_answering"):
                task.becomes("queued")
                task.unanswered = 0
            if deployment.version:
                self._compare(deployment, task)
            deployment.close_if_over()

    def _compare(self, deployment: Deployment, task: Task) -> None:
        said, wanted = task.device.version, deployment.version
        if said == wanted and task.state in (*UNFINISHED, "timed_out", "unreached"):
            task.becomes("succeeded")
        elif said and said != wanted and task.state == "succeeded" and not task.superseded:
            if self._has_run_it(deployment, task.device):
                task.superseded = True
            else:
                task.becomes("failed", "reverted")
                task.reverted = True
        elif (
            newer(said, wanted) and not deployment.downgrade and task.state in ("queued", "offered")
        ):
            task.becomes("canceled", "newer_installed")

    def _has_run_it(self, deployment: Deployment, device: Device) -> bool:
        """Whether another deployment has the device run what it runs."""
        others = [d for d in self.open() if d is not deployment and d.version == device.version]
        tasks = [d.tasks[device.id] for d in others if device.id in d.tasks]
        wants = (*UNFINISHED, "timed_out", "unreached", "succeeded")
        return any(t.device is device and t.state in wants and not t.superseded for t in tasks)

    def say(self, deployment: Deployment, device: Device, attempt: int, said: Said) -> str:
        """The answer to a word of a device about its task."""
        task, word = deployment.tasks.get(device.id), said.word
        if task is None or task.device is not device or device.gone or attempt > task.attempt:
            return "unknown"
        if attempt < task.attempt:
            return "outdated"
        if task.state in BUSY and (
            word != "canceled" or (task.state == "in_progress" and task.told_to_cancel)
        ):
            self._take(deployment, task, said)
            deployment.close_if_over()
            return "taken"
        postponed = (word, task.state, task.reason) == ("postponed", "queued", "postponed")
        if word == task.state or postponed:
            return "repeated"
        decided = task.state in ("timed_out", "canceled", "unreached")
        return "outdated" if decided else "illegal"

    def _take(self, deployment: Deployment, task: Task, said: Said) -> None:
        word, reason, wait = said
        unconfirmed = deployment.version and task.device.version != deployment.version
        if word == "postponed" and task.told_to_cancel:
            word = "canceled"
        if word == "in_progress" or (word == "succeeded" and unconfirmed):
            if task.state == "offered":
                task.began_at = self.now
            task.claimed = word == "succeeded"
            task.said_at = self.now + (WHOLE if word == "succeeded" else 0)
            task.begun = True
            task.becomes("in_progress")
        elif word == "postponed":
            task.becomes("queued", "postponed")
            task.not_before = self.now + max(wait * 1_000, OFFER)
            task.unanswered = 0
        elif word == "failed":
            task.becomes("failed", reason or "other")
            self._try_again(deployment, task)
        else:
            task.becomes(
                word, {"rejected": reason or "rejected", "canceled": "canceled"}.get(word, "")
            )

    def _try_again(self, deployment: Deployment, task: Task) -> None:
        if (
            task.reason in RETRYABLE
            and task.attempt <= deployment.retries
            and deployment.state == "open"
            and not self.over(deployment)
        ):
            task.waits("retry", self.now, task.attempt)
            task.attempt += 1
            task.unanswered = 0

    # -- the leader -----------------------------------------------------------------------------

    def expire(self) -> int:
        """Lets every wait end that is over; how many."""
        ended = 0
        for deployment in self.open():
            for task in deployment.tasks.values():
                ended += self._expire(deployment, task)
            deployment.close_if_over()
        return ended

    def _expire(self, deployment: Deployment, task: Task) -> bool:
        now = self.now
        if task.state == "offered" and now >= task.offered_at + OFFER:
            task.unanswered += 1
            task.waits("unanswered", now, task.unanswered)
            if task.unanswered >= MOST_UNANSWERED:
                task.becomes("queued", "not_answering")
                task.not_before = 1 << 60
            return True
        if task.state == "in_progress" and (
            now >= task.said_at + PROGRESS or now >= task.began_at + WHOLE
        ):
            task.becomes("timed_out", "version_mismatch" if task.claimed else "silent")
            self._try_again(deployment, task)
            return True
        if task.state == "queued" and self.over(deployment):
            task.becomes(*("timed_out", "silent") if task.begun else ("unreached", "unreached"))
            return True
        return False

    def offered(self, deployment: Deployment, task: Task) -> None:
        """Notes an offer that was made."""
        task.becomes("offered")
        task.offered_at = self.now
        task.previous = task.previous or task.device.version

    def obstacle(self, deployment: Deployment, task: Task) -> str:
        """Why a queued task may not be offered now, the limit of tasks in flight apart."""
        device = task.device
        others = [d.tasks[device.id] for d in self.deployments if device.id in d.tasks]
        before = [d for d in self.open() if d.priority > deployment.priority]
        claims = [d.tasks[device.id] for d in before if device.id in d.tasks]
        reasons = {
            "held": self.held,
            "not open": deployment.state != "open" or self.over(deployment),
            "its time": self.now < task.not_before,
            "gone": device.gone,
            "offline": not device.online,
            "battery": not device.charged,
            "busy": any(t.state in BUSY and t.device is device for t in others),
            "priority": any(t.state == "queued" and t.device is device for t in claims),
        }
        return ", ".join(name for name, holds in reasons.items() if holds)

    def open(self) -> list[Deployment]:
        return [d for d in self.deployments if d.state != "closed"]


def newer(one: str, other: str) -> bool:
    """Of versions like 1.2.3, and words, which are never newer."""
    parts = [version.split(".") for version in (one, other)]
    if not all(part.isdigit() for version in parts for part in version):
        return False
    mine, others = ([int(part) for part in version] for version in parts)
    return mine > others
