"""A deployment: one thing that is to be done by many devices, and how far it has come.

Source: tasks.md, "Deployments" and "Offering".
"""

import enum
from collections.abc import Iterator, Mapping
from typing import TypeVar

import msgspec

from stationkeep.cluster.deployments.lifecycle import STATES, UNFINISHED, TaskReason, TaskState
from stationkeep.cluster.deployments.roster import LATEST, TENTH
from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.devices.selector import SelectorError, parse
from stationkeep.cluster.devices.status import Condition, HealthRule, rule_fault
from stationkeep.cluster.devices.table import MAX_DEVICES, Column
from stationkeep.cluster.names import NAME_RULE, TEXT_RULE, name_fault, text_fault
from stationkeep.cluster.settings import SHORTEST

MAX_TARGETS = 10_000
"""Devices that a deployment may name one by one."""
MAX_PRIORITY = 1_000
MAX_RETRIES = 10
MAX_PARAMETERS = 32
MAX_PARAMETER = 1_024
MAX_PARAMETERS_TEXT = 8_192
"""Bytes of all parameters together, in UTF-8: a thousand closed deployments keep theirs."""
MAX_RATE = 10_000_000
"""Offers a minute."""
MAX_FACTOR = 100
MAX_FIRST = 1_000
"""Devices that may be told one at a time before all others."""
MAX_DEADLINE = 90 * 24 * 3_600_000
MAX_VARIANTS = 256
"""Artifacts of one deployment, as a byte tells apart."""
MAX_FAILURES = 64
"""Groups of equal failures that a deployment tells apart; the others are counted together."""
MAX_FAILURE_TEXT = 200
TOKEN = 60_000
"""What one offer costs: a rate of one a minute earns one each ms."""
REQUIRE = HealthRule((Condition("battery", ">", 20),), charging_excuses_battery=True)


_Time = TypeVar("_Time", int, Column)


class Target(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Which devices: those of a ring, of a selector, of a list of ids, or all; exactly one."""

    ring: Ring | None = None
    selector: str = ""
    devices: tuple[str, ...] = ()
    everyone: bool = False

    def __str__(self) -> str:
        if self.ring is not None:
            return f"ring {self.ring}"
        if self.devices:
            return f"{len(self.devices)} named" if len(self.devices) > 1 else self.devices[0]
        return self.selector or "all"


class Pace(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Offers a minute: `start` at first, times `factor` whenever as many succeeded as the rate
    is, `most` at last."""

    start: int = 10
    most: int = 1_000
    factor: int = 2


class Limits(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """How fast and how long. `max_in_flight`: tasks OFFERED or IN_PROGRESS at a time; `deadline`:
    ms after which who is still QUEUED is UNREACHED; `retries`: after the first attempt; each None:
    the setting. `pace` None: as fast as `max_in_flight` lets. `first`: one at a time until so many
    have succeeded and are well; None: no such trial, or a rollout's own."""

    max_in_flight: int | None = None
    pace: Pace | None = None
    deadline: int | None = None
    retries: int | None = None
    first: int | None = None


class DeploymentState(enum.StrEnum):
    OPEN = "open"
    CLOSING = "closing"
    """Canceled; what devices have begun is waited for."""
    CLOSED = "closed"


class CloseReason(enum.StrEnum):
    NONE = ""
    COMPLETED = "completed"
    CANCELED = "canceled"


class FailureGroup(msgspec.Struct, frozen=True, array_like=True):
    """Equal failures: how many, and a device that had one."""

    reason: TaskReason
    text: str
    count: int
    device: str


class Deployment(msgspec.Struct):
    """One deployment without its roster. Times in cluster ms, `wall` in Unix ms for display."""

    number: int
    slot: int
    """What the device table calls it while it is open, from 1; 0 when it is closed."""
    task_type: str
    parameters: dict[str, str]
    artifact: int
    """Number in the table of artifacts, 0 for none."""
    target: str
    """In words: who they are is in the roster."""
    priority: int
    require: HealthRule | None
    """What a device's newest status must meet when its task is offered."""
    allow_downgrade: bool
    limits: Limits
    """All of them given: those that the order left out are the settings of that time."""
    deadline: int
    """When who is QUEUED is UNREACHED."""
    actor: str
    charged: str
    """Whose share it takes while it is open: who gave the order, or opened it again."""
    comment: str
    opened_at: int
    wall: int
    members: int
    incapable: int
    """Devices of the target that cannot carry out tasks, and are no members."""
    tallies: list[int]
    """Tasks by the code of their state."""
    state: DeploymentState = DeploymentState.OPEN
    reason: CloseReason = CloseReason.NONE
    closed_at: int | None = None
    rate: int = 0
    """Offers a minute at present; 0 where there is no pace."""
    tokens: int = 0
    """Offers that may be made at once, `TOKEN` each, as of `tokens_at`."""
    tokens_at: int = 0
    at_rate: int = 0
    """Tasks that have succeeded at the present rate."""
    failures: list[FailureGroup] = []
    variants: list[int] = []
    """Where tasks install different artifacts: the numbers of those of variants 1, 2 and so on;
    `artifact` is that of variant 0."""
    rollout: str = ""
    """The rollout that it is a part of, and that alone cancels it; "" for none."""
    standing: bool = False
    """Its stage is still judged: it stays open although no task is unfinished."""
    kept: bool = False
    """Its rollout may have to undo it: neither it nor its roster is forgotten."""
    undoes: list[int] = []
    """Deployments whose installations it takes back, the newest first."""
    on_trial: bool = False
    """The first of `limits` have not all succeeded yet, as far as anybody looked."""
    overrides: list[str] = []
    """Names of freezes that do not hold it."""
    held: str = ""
    """Why its rollout has nothing offered at present; its deadline waits as long."""
    held_at: int = 0
    """Since when; 0 if nothing holds it."""

    def count(self, state: TaskState) -> int:
        """Its tasks in a state."""
        return self.tallies[state.code]

    @property
    def in_flight(self) -> int:
        return self.count(TaskState.OFFERED) + self.count(TaskState.IN_PROGRESS)

    @property
    def is_full(self) -> bool:
        """Whether as many tasks are in flight as there may be."""
        return self.limits.max_in_flight is not None and self.in_flight >= self.limits.max_in_flight

    @property
    def artifacts(self) -> list[int]:
        """The numbers of what its tasks install, by variant; 0 for nothing."""
        return [self.artifact, *self.variants]

    @property
    def unfinished(self) -> int:
        return sum(self.count(state) for state in UNFINISHED)

    @property
    def open(self) -> bool:
        """Whether it takes offers."""
        return self.state is DeploymentState.OPEN

    def tallied(self) -> dict[str, int]:
        """Tasks by state, as people read it."""
        return {state.value: count for state, count in zip(STATES, self.tallies, strict=True)}

    def tenths(self, at: int) -> int:
        """A cluster time as its roster counts; later than that no roster counts."""
        return min(LATEST, max(0, at - self.opened_at) // TENTH)

    def after(self, at: int, wait: int) -> int:
        """The first tenth that is no sooner than `wait` ms after a cluster time."""
        return min(LATEST, -(-(max(0, at - self.opened_at) + wait) // TENTH))

    def at(self, tenths: _Time) -> _Time:
        """Cluster ms of a time in its roster, or of a column (i64) of such."""
        return self.opened_at + tenths * TENTH

    def tokens_by(self, now: int) -> int:
        """Tokens at a cluster time: those of ten seconds at most, but always one offer's."""
        earned = self.tokens + self.rate * max(0, now - self.tokens_at)
        return min(earned, max(TOKEN, self.rate * 10_000))


def target_faults(target: Target) -> Iterator[str]:
    """What is wrong with a target; whether there are such devices is another question."""
    given = [target.ring is not None, bool(target.selector), bool(target.devices), target.everyone]
    if sum(given) != 1:
        yield f"target: {sum(given)} given, exactly one of ring, selector, devices, all is due"
    if text_fault(target.selector) is not None:
        yield f"target.selector: {target.selector[:80]!r} is not {TEXT_RULE}"
    try:
        parse(target.selector)
    except SelectorError as error:
        yield f"target.selector: {error}"
    if len(target.devices) > MAX_TARGETS:
        yield f"target.devices: {len(target.devices)} given, at most {MAX_TARGETS}"
    if len(set(target.devices)) < len(target.devices):
        yield "target.devices: a device is named twice"


def limit_faults(limits: Limits) -> Iterator[str]:
    """What is wrong with limits."""
    ranges = {
        "max_in_flight": (limits.max_in_flight, 1, MAX_DEVICES),
        "deadline": (limits.deadline, SHORTEST, MAX_DEADLINE),
        "retries": (limits.retries, 0, MAX_RETRIES),
        "first": (limits.first, 0, MAX_FIRST),
    }
    for field, (value, low, high) in ranges.items():
        if value is not None and not low <= value <= high:
            yield f"limits.{field}: {value} is not between {low} and {high}"
    pace = limits.pace
    if pace is None:
        return
    if not 1 <= pace.start <= pace.most <= MAX_RATE:
        yield f"limits.pace: from {pace.start} to {pace.most} is not within 1 to {MAX_RATE}, rising"
    if not 1 <= pace.factor <= MAX_FACTOR:
        yield f"limits.pace.factor: {pace.factor} is not between 1 and {MAX_FACTOR}"


def parameter_faults(parameters: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with the parameters of a task."""
    if len(parameters) > MAX_PARAMETERS:
        yield f"parameters: {len(parameters)} given, at most {MAX_PARAMETERS}"
    whole = sum(len(name) + len(text.encode()) for name, text in parameters.items())
    if whole > MAX_PARAMETERS_TEXT:
        yield f"parameters: {whole} bytes in all, at most {MAX_PARAMETERS_TEXT}"
    for name, text in parameters.items():
        if name_fault(name) is not None:
            yield f"parameters: {name[:80]!r} is not a name ({NAME_RULE})"
        if len(text) > MAX_PARAMETER:
            yield f"parameters.{name[:64]}: {len(text)} characters, at most {MAX_PARAMETER}"
        if text_fault(text) is not None:
            yield f"parameters.{name[:64]}: {text[:80]!r} is not one line of printable text"


def require_fault(require: HealthRule | None) -> str | None:
    """What is wrong with what a deployment requires of a device's status."""
    fault = None if require is None else rule_fault(require)
    return None if fault is None else f"require: {fault}"
