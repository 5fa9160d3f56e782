"""Replicated settings: their names, defaults, profiles, and the relations that must hold.

Inside the cluster every duration is an integer of milliseconds and every ratio or risk an
integer of parts per million, so that all replicas compute with the same numbers. People write
`5s`, `200ms`, `0.3`: `parse` and `to_user` translate.
Source: roles.md, "Settings and defaults"; rings.md for the fleet's.
"""

import enum
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from stationkeep.cluster.suggestion import suggestion

PPM = 1_000_000
LEASE_DRIFT_PPM = 50_000
"""How much two monotonic clocks may disagree in speed: 5 % (roles.md, "Leases and handover")."""


class SettingsError(ValueError):
    """A settings value that is refused; names the field, the value and the rule broken."""

    def __init__(self, field: str, value: object, rule: str) -> None:
        super().__init__(f"{field}: {value!r} refused: {rule}")
        self.field = field
        self.value = value
        self.rule = rule


class Unit(enum.Enum):
    """How a field is written by people and stored by the cluster."""

    DURATION = "duration"  # stored: ms
    RATIO = "ratio"  # stored: ppm
    COUNT = "count"
    FLAG = "flag"
    CHOICE = "choice"  # one word of a few


class Redistribution(enum.StrEnum):
    """What a rebalance check may move inside the band (rings.md, "Rebalancing", 3)."""

    BUDGET = "budget"
    ROTATE = "rotate"
    RANDOM = "random"
    OFF = "off"


Stored = int | bool | str
"""A settings value as the cluster stores it: ms, ppm, a count, a flag or a word."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """One validated set. Durations in ms, ratios in ppm. The words under each field are those of
    the reference, node/guide/configuration.md (`scripts/reference.py`)."""

    report_interval: int = 5_000
    """How often a node reports its health to every other node."""
    evaluation_interval: int = 30_000
    """How often the leader takes a sample of every member and judges the roles."""
    unhealthy_above: int = 300_000
    """A sample with a higher risk is unhealthy, and so is a missed one."""
    promotable_below: int = 200_000
    """Recovery begins with a sample of a lower risk, and starts anew at any other sample."""
    promotion_hold: int = 90_000
    """How long all samples must be below `promotable_below` before a node is promoted again: from
    SAFE_MODE to STANDBY, from STANDBY to BACKUP."""
    backup_ceiling: int = 250_000
    """A node is a candidate for PRIMARY only while its latest risk is lower."""
    failures_to_fail_primary: int = 3
    """Unhealthy samples in a row after which a PRIMARY is replaced."""
    failures_to_safe_mode: int = 2
    """Unhealthy samples in a row after which a BACKUP or STANDBY is isolated in SAFE_MODE."""
    hysteresis_window: int = 300_000
    """Cool-down: for so long after a change of its role no automatic rule changes a node's role
    again, with two exemptions. Also the span of the health history, and how long a node other than
    the PRIMARY may be unable to do its part before that counts as unhealthy."""
    heartbeat_timeout: int = 90_000
    """A member that was not heard for longer is not alive: it has no vote on proposals and is no
    candidate."""
    proposal_timeout: int = 5_000
    """How long the votes on a proposal may take; after that it has timed out."""
    action_deadline: int = 30_000
    """How long the targets of an action or of a change of role have to acknowledge it."""
    compliance_threshold: int = 900_000
    """Share of the targets that must have acknowledged an action with success at its deadline;
    below it the missing ones are escalated."""
    primary_lease: int = 75_000
    """How long a PRIMARY may act after it sent the newest of its reports that a committed entry
    echoes. The leader renews leases at a fifth of this."""
    backup_count: int = 1
    """How many healthy BACKUPs the leader keeps."""
    swarm_mode: bool = True
    """Whether roles change automatically at all. Orders of operators are obeyed either way."""
    safety_weight: int = 700_000
    """Weight of the scores of policies with priority safety, among each other."""
    performance_weight: int = 200_000
    """Weight of the scores of policies with priority performance."""
    availability_weight: int = 100_000
    """Weight of the scores of policies with priority availability."""
    raft_heartbeat: int = 500
    """How often the Raft leader sends a heartbeat to each follower."""
    election_timeout_min: int = 3_000
    """A follower that hears no leader waits at least this long before it stands for election. A
    leader that hears no quorum for twice this time steps down."""
    election_timeout_max: int = 6_000
    """And at most this long; the time is drawn anew for each wait."""
    device_status_interval: int = 10_000
    """How often a device sends its status, varied a little from device to device."""
    device_offline_after: int = 60_000
    """A device that was silent for so long is offline. It keeps its ring."""
    unhealthy_statuses: int = 2
    """Unhealthy statuses in a row that make a device unhealthy."""
    healthy_statuses: int = 3
    """Healthy statuses in a row that make an unhealthy device healthy again."""
    rebalance_interval: int = 30_000
    """How often the leader checks which devices belong into another ring."""
    ring_band: int = 20_000
    """How far a ring may be off its quota, as a share of the devices under the same policy, before
    devices are moved for that; at least one device."""
    ring_dwell: int = 300_000
    """How long a device stays in a ring before a move that is not a must."""
    recovery_hold: int = 300_000
    """How long a device must have been healthy before it returns to STAGE or PROD."""
    redistribution: str = Redistribution.BUDGET.value
    """What a check may move inside the band: `budget` sometimes part of the surplus, `rotate` a
    part of the fleet at a time, `random` any device, `off` nothing."""
    redistribution_fraction: int = 100_000
    """How much: the chance of a check and the share of the surplus (`budget`), the share of the
    devices (`rotate`, `random`)."""
    storm_brake: int = 550_000
    """Automatic moves stop when more than this share of the online devices turns unhealthy within
    one check."""
    offer_timeout: int = 60_000
    """How long a device has to answer the offer of a task, but never less than three times
    `device_status_interval`; after that the offer is made again, later and later. Half of it is
    the first wait before another attempt."""
    progress_timeout: int = 600_000
    """How long a device that carries out a task may say nothing of it before the task has timed
    out."""
    task_timeout: int = 3_600_000
    """How long one attempt at a task may take in all. No wait for another attempt is longer."""
    deployment_deadline: int = 86_400_000
    """How long a deployment tries to reach a device, unless it says otherwise itself."""
    max_in_flight: int = 500
    """Tasks of one deployment that are offered or in progress at a time, unless it says otherwise
    itself."""
    task_retries: int = 2
    """Further attempts at a task that failed for a reason that another may mend, unless its
    deployment says otherwise itself."""
    rollout_check: int = 10_000
    """How often the stages of rollouts are judged: no device may turn ill and well again in
    between, so never less often than a device needs statuses to be healthy again."""
    settle: int = 30_000
    """How long after an installation a device is not judged yet, but never less than it needs
    statuses to be unhealthy."""
    soak: int = 60_000
    """How long updated devices are watched after that, unless their stage says otherwise."""
    level_hold: int = 0
    """The level above which the cluster is not raised, so that members can go back to an older
    release; 0: it is raised 10 minutes after the last member was upgraded."""

    @property
    def history_length(self) -> int:
        """Samples kept per node: one hysteresis window of them."""
        return max(1, self.hysteresis_window // self.evaluation_interval)

    @property
    def lease_renewal(self) -> int:
        """Milliseconds between two lease renewals that the leader commits."""
        return self.primary_lease // 5

    @property
    def answer_time(self) -> int:
        """Milliseconds that an offer waits for its answer. No relation of the two settings: those
        of a cluster that is older than tasks must go on to hold."""
        return max(self.offer_timeout, 3 * self.device_status_interval)

    @property
    def looking(self) -> int:
        """Milliseconds between two looks at the devices of rollouts; no relation of the settings,
        as with `answer_time`."""
        return min(self.rollout_check, self.healthy_statuses * self.device_status_interval)

    @property
    def settling(self) -> int:
        """Milliseconds from an installation on in which nothing is made of how a device does."""
        return max(self.settle, self.unhealthy_statuses * self.device_status_interval)

    @property
    def step_down_after(self) -> int:
        """A leader that heard no quorum for this long steps down: twice the election timeout."""
        return 2 * self.election_timeout_min


_RATIOS = frozenset({
    "unhealthy_above", "promotable_below", "backup_ceiling", "compliance_threshold",
    "safety_weight", "performance_weight", "availability_weight", "ring_band",
    "redistribution_fraction", "storm_brake",
})  # fmt: skip
_COUNTS = {
    "failures_to_fail_primary": (1, 100),
    "failures_to_safe_mode": (1, 100),
    "backup_count": (0, 100),
    "unhealthy_statuses": (1, 8),
    "healthy_statuses": (1, 8),
    "max_in_flight": (1, 1_048_576),
    "task_retries": (0, 10),
    "level_hold": (0, 255),
}
_CHOICES: dict[str, tuple[str, ...]] = {"redistribution": tuple(Redistribution)}
SHORTEST, LONGEST = 10, 24 * 3_600_000
"""ms of any duration that is not said to have other bounds."""
LONGEST_PIN = 366 * LONGEST
"""ms for which an operator may pin a device to a ring, unless without end."""


def unit_of(field: str) -> Unit:
    """The unit of a settings field."""
    if field == "swarm_mode":
        return Unit.FLAG
    if field in _COUNTS:
        return Unit.COUNT
    if field in _CHOICES:
        return Unit.CHOICE
    return Unit.RATIO if field in _RATIOS else Unit.DURATION


def counts_of(field: str) -> tuple[int, int]:
    """The lowest and the highest value of a field of unit COUNT."""
    return _COUNTS[field]


def choices_of(field: str) -> tuple[str, ...]:
    """The words that a field of unit CHOICE may be."""
    return _CHOICES[field]


PROFILES: dict[str, Settings] = {
    "orbit": Settings(),
    "ground": Settings(
        report_interval=200,
        evaluation_interval=2_200,
        failures_to_fail_primary=5,
        failures_to_safe_mode=5,
        promotion_hold=11_000,
        hysteresis_window=33_000,
        heartbeat_timeout=11_000,
        proposal_timeout=2_000,
        action_deadline=10_000,
        primary_lease=10_000,
        raft_heartbeat=150,
        election_timeout_min=2_000,
        election_timeout_max=4_000,
        device_status_interval=2_000,
        device_offline_after=12_000,
        rebalance_interval=5_000,
        ring_dwell=60_000,
        recovery_hold=60_000,
        offer_timeout=12_000,
        progress_timeout=120_000,
        task_timeout=600_000,
        deployment_deadline=3_600_000,
        rollout_check=2_000,
        settle=6_000,
        soak=20_000,
    ),
    "lan": Settings(
        report_interval=1_000,
        evaluation_interval=5_000,
        promotion_hold=15_000,
        hysteresis_window=50_000,
        heartbeat_timeout=15_000,
        proposal_timeout=3_000,
        action_deadline=10_000,
        primary_lease=12_500,
        raft_heartbeat=150,
        election_timeout_min=1_000,
        election_timeout_max=2_000,
        device_status_interval=2_000,
        device_offline_after=12_000,
        rebalance_interval=5_000,
        ring_dwell=60_000,
        recovery_hold=60_000,
        offer_timeout=12_000,
        progress_timeout=120_000,
        task_timeout=600_000,
        deployment_deadline=3_600_000,
        rollout_check=2_000,
        settle=6_000,
        soak=20_000,
    ),
    "demo": Settings(
        report_interval=200,
        evaluation_interval=1_000,
        promotion_hold=3_000,
        hysteresis_window=10_000,
        heartbeat_timeout=3_000,
        proposal_timeout=2_000,
        action_deadline=3_000,
        primary_lease=2_500,
        raft_heartbeat=100,
        election_timeout_min=500,
        election_timeout_max=1_000,
        device_status_interval=500,
        device_offline_after=3_000,
        rebalance_interval=1_000,
        ring_dwell=10_000,
        recovery_hold=10_000,
        offer_timeout=3_000,
        progress_timeout=15_000,
        task_timeout=60_000,
        deployment_deadline=300_000,
        rollout_check=1_000,
        settle=2_000,
        soak=5_000,
    ),
}
DEFAULT_PROFILE = "ground"
"""What a configuration file gets that names no profile. Chosen with `plan`: the quickest failover
that 20 % loss, independent or in bursts of 2 s, does not set off once in 1,000 years on 5 nodes
whose links lose each on its own. `orbit` has the defaults of `Settings` (roles.md)."""

_DURATION = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|min|h|d)?\s*")
_MILLISECONDS = {
    "ms": 1, "s": 1_000, "m": 60_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000, None: 1_000,
}  # fmt: skip


def parse_duration(field: str, value: object, longest: int = LONGEST) -> int:
    """Milliseconds of `5`, `2.5` (seconds), `"5s"`, `"200ms"`, `"10m"`, `"1h"`, `"1d"`; `longest`
    in whole hours."""
    rule = "a duration such as 5s, 200ms, 10m or a number of seconds"
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise SettingsError(field, value, rule)
    hours = longest // 3_600_000
    range_rule = f"a duration between 10ms and {f'{hours // 24}d' if hours > 24 else f'{hours}h'}"
    if not isinstance(value, str) and not 0 <= value <= longest:
        raise SettingsError(field, value, range_rule)  # also NaN, and too long to be written out
    match = _DURATION.fullmatch(value if isinstance(value, str) else repr(value))
    if match is None:
        raise SettingsError(field, value, rule)
    milliseconds = float(match[1]) * _MILLISECONDS[match[2]]  # inf for very many digits
    if not SHORTEST <= milliseconds <= longest:
        raise SettingsError(field, value, range_rule)
    return round(milliseconds)


def format_duration(milliseconds: int) -> str:
    """`5000` → `"5s"`, `200` → `"200ms"`, `2500` → `"2.5s"`; exact, so that it can be parsed."""
    if milliseconds % 1_000 == 0:
        return f"{milliseconds // 1_000}s"
    if milliseconds < 1_000:
        return f"{milliseconds}ms"
    return f"{milliseconds / 1_000:.3f}".rstrip("0") + "s"


def _parse_ratio(field: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise SettingsError(field, value, "a number between 0 and 1")
    return round(value * PPM)


def _parse_count(field: str, value: object) -> int:
    low, high = _COUNTS[field]
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise SettingsError(field, value, f"a whole number between {low} and {high}")
    return value


def _parse_flag(field: str, value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in {"on", "true", "off", "false"}:
        return value.lower() in {"on", "true"}
    raise SettingsError(field, value, "on or off")


def _parse_choice(field: str, value: object) -> str:
    """A word must be one that the field knows. YAML reads a bare `off` as false."""
    word = "off" if value is False else value
    if isinstance(word, str) and word in _CHOICES[field]:
        return str(word)
    raise SettingsError(field, value, f"one of {', '.join(_CHOICES[field])}")


_PARSERS: dict[Unit, Callable[[str, object], Stored]] = {
    Unit.DURATION: parse_duration,
    Unit.RATIO: _parse_ratio,
    Unit.COUNT: _parse_count,
    Unit.FLAG: _parse_flag,
    Unit.CHOICE: _parse_choice,
}


def parse_changes(changes: Mapping[str, Any]) -> dict[str, Stored]:
    """Translates what a person wrote, field by field; raises `SettingsError` at a fault."""
    parsed: dict[str, Stored] = {}
    for field, value in changes.items():
        if field not in Settings.__struct_fields__:
            near = suggestion(field, Settings.__struct_fields__)
            raise SettingsError(field, value, f"no such setting{near}")
        parsed[field] = _PARSERS[unit_of(field)](field, value)
    return parsed


def _check_stored(field: str, value: Stored) -> None:
    """What `parse_changes` guarantees, checked again for values that came over the wire."""
    if field not in Settings.__struct_fields__:
        raise SettingsError(field, value, "no such setting")
    unit = unit_of(field)
    if unit is Unit.CHOICE:
        if value not in _CHOICES[field]:
            raise SettingsError(field, value, f"one of {', '.join(_CHOICES[field])}")
        return
    if isinstance(value, str) or isinstance(value, bool) is not (unit is Unit.FLAG):
        raise SettingsError(field, value, "on or off" if unit is Unit.FLAG else "a number")
    if unit is Unit.DURATION and not SHORTEST <= value <= LONGEST:
        raise SettingsError(field, value, f"{SHORTEST} to {LONGEST} milliseconds")
    if unit is Unit.RATIO and not 0 <= value <= PPM:
        raise SettingsError(field, value, "parts per million between 0 and 1000000")
    if unit is Unit.COUNT:
        _parse_count(field, value)


def merge(base: Settings, changes: Mapping[str, Stored]) -> Settings:
    """`base` with already parsed `changes` (ms, ppm); raises `SettingsError` when a value is out
    of its range or the resulting set breaks a relation."""
    for field, value in changes.items():
        _check_stored(field, value)
    merged = msgspec.structs.replace(base, **changes)
    broken = broken_relation(merged)
    if broken is not None:
        raise broken
    return merged


def parse(changes: Mapping[str, Any], base: Settings | None = None) -> Settings:
    """A full validated set from what a person wrote on top of `base` (default: orbit)."""
    return merge(base or PROFILES["orbit"], parse_changes(changes))


def to_user(settings: Settings) -> dict[str, str | float | int | bool]:
    """The set as people write it; `parse(to_user(s)) == s`."""
    return {
        name: as_written(name, value) for name, value in msgspec.structs.asdict(settings).items()
    }


def as_written(field: str, stored: Any) -> str | float | int | bool:
    """One stored value as people write it: `5s` for 5000 ms, 0.3 for 300000 ppm."""
    match unit_of(field):
        case Unit.DURATION:
            return format_duration(stored)
        case Unit.RATIO:
            return float(stored / PPM)
        case _:
            value: str | float | int | bool = stored
            return value


def check(settings: Settings) -> SettingsError | None:
    """The first fault of a set whose values nobody has checked yet, or None."""
    for field, value in msgspec.structs.asdict(settings).items():
        try:
            _check_stored(field, value)
        except SettingsError as error:
            return error
    return broken_relation(settings)


class Relation(NamedTuple):
    """Something that must hold between settings; `field` is the one that a refusal names."""

    field: str
    rule: str
    holds: Callable[[Settings], bool]


def _lease_ends_first(s: Settings) -> bool:
    """Else a failed PRIMARY could still hold its lease when its successor takes over."""
    with_drift = s.primary_lease * (PPM + LEASE_DRIFT_PPM) // PPM
    return with_drift < s.failures_to_fail_primary * s.evaluation_interval


def _history_covers_failures(s: Settings) -> bool:
    failing = s.failures_to_fail_primary * s.evaluation_interval
    return s.hysteresis_window >= failing and s.history_length <= 1_000


def _weights_sum_to_one(s: Settings) -> bool:
    return s.safety_weight + s.performance_weight + s.availability_weight == PPM


RELATIONS = (
    Relation(
        "primary_lease",
        "primary_lease x 1.05 < failures_to_fail_primary x evaluation_interval",
        _lease_ends_first,
    ),
    Relation(
        "report_interval",
        "report_interval x 3 <= evaluation_interval",
        lambda s: s.report_interval * 3 <= s.evaluation_interval,
    ),
    Relation(
        "report_interval",
        "report_interval x 4 <= primary_lease (a lease is renewed by reports)",
        lambda s: s.report_interval * 4 <= s.primary_lease,
    ),
    Relation(
        "election_timeout_min",
        "leader step-down (2 x election_timeout_min) < primary_lease / 2",
        lambda s: s.step_down_after < s.primary_lease / 2,
    ),
    Relation(
        "raft_heartbeat",
        "raft_heartbeat x 3 < election_timeout_min",
        lambda s: s.raft_heartbeat * 3 < s.election_timeout_min,
    ),
    Relation(
        "election_timeout_max",
        "election_timeout_min < election_timeout_max",
        lambda s: s.election_timeout_min < s.election_timeout_max,
    ),
    Relation(
        "promotable_below",
        "promotable_below <= unhealthy_above",
        lambda s: s.promotable_below <= s.unhealthy_above,
    ),
    Relation(
        "backup_ceiling",
        "backup_ceiling <= unhealthy_above (a candidate must not be unhealthy)",
        lambda s: s.backup_ceiling <= s.unhealthy_above,
    ),
    Relation(
        "hysteresis_window",
        "failures_to_fail_primary <= hysteresis_window / evaluation_interval <= 1000",
        _history_covers_failures,
    ),
    Relation(
        "failures_to_safe_mode",
        "failures_to_safe_mode <= hysteresis_window / evaluation_interval",
        lambda s: s.history_length >= s.failures_to_safe_mode,
    ),
    Relation(
        "promotion_hold",
        "promotion_hold <= hysteresis_window (the history must cover it)",
        lambda s: s.promotion_hold <= s.hysteresis_window,
    ),
    Relation(
        "heartbeat_timeout",
        "heartbeat_timeout > evaluation_interval",
        lambda s: s.heartbeat_timeout > s.evaluation_interval,
    ),
    Relation(
        "proposal_timeout",
        "raft_heartbeat x 4 <= proposal_timeout (votes must have time to arrive)",
        lambda s: s.raft_heartbeat * 4 <= s.proposal_timeout,
    ),
    Relation(
        "action_deadline",
        "raft_heartbeat x 4 <= action_deadline (answers must have time to arrive)",
        lambda s: s.raft_heartbeat * 4 <= s.action_deadline,
    ),
    Relation(
        "proposal_timeout",
        "proposal_timeout <= 10 x evaluation_interval",
        lambda s: s.proposal_timeout <= 10 * s.evaluation_interval,
    ),
    Relation(
        "device_offline_after",
        "device_status_interval x 3 <= device_offline_after (two statuses may be lost)",
        lambda s: s.device_status_interval * 3 <= s.device_offline_after,
    ),
    Relation(
        "ring_dwell",
        "rebalance_interval <= ring_dwell (else each check could move a device again)",
        lambda s: s.rebalance_interval <= s.ring_dwell,
    ),
    Relation(
        "progress_timeout",
        "offer_timeout <= progress_timeout <= task_timeout <= deployment_deadline",
        lambda s: s.offer_timeout <= s.progress_timeout <= s.task_timeout <= s.deployment_deadline,
    ),
    Relation(
        "safety_weight",
        "safety_weight + performance_weight + availability_weight = 1",
        _weights_sum_to_one,
    ),
)


def broken_relation(settings: Settings) -> SettingsError | None:
    """The first relation that this set breaks, or None; every value must be within its range."""
    for relation in RELATIONS:
        if not relation.holds(settings):
            shown = to_user(settings)[relation.field]
            return SettingsError(relation.field, shown, relation.rule)
    return None
