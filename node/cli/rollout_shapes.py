"""The shapes of answers about rollouts that the command line relies on, as `shapes` has them."""

from typing import Any, TypedDict

from stationkeep.node.cli.shapes import Count, Failure, Figure, Seconds, Share, Wall


class Exit(TypedDict):
    becomes: str
    reason: str
    in_s: Seconds | None


class Hold(TypedDict):
    reason: str
    until_s: Seconds | None
    sentence: str


class Held(TypedDict):
    until_s: Seconds | None
    sentence: str
    when: str
    holds: list[Hold]


class Gate(TypedDict):
    name: str
    value: Share | None
    limit: Share | None
    evidence: Figure | None
    needed: Figure | None
    verdict: str | None
    sentence: str


class Twins(TypedDict):
    updated: Count
    bad: Count
    twins: Count
    bad_twins: Count


class Stage(TypedDict):
    """A stage in a list of rollouts."""

    name: str
    ring: str | None
    share: Share
    state: str
    reason: str
    since_s: Seconds | None
    exit: Exit | None
    held: Held | None
    members: Count
    tallies: dict[str, Count]
    gates: list[Gate]
    twins: Twins | None
    promoted: bool


class TurnedBad(TypedDict):
    device: str
    ring: str | None


class StageDetail(Stage):
    turned_bad: list[TurnedBad]
    failures: list[Failure]


class Approval(TypedDict):
    actor: str
    stage: str | None
    age_s: Seconds


class WayBack(TypedDict):
    deployment: Count | None
    back: Count
    pending: Count
    failed: Count
    stranded: Count


class Head(TypedDict):
    """What is said of every rollout."""

    rollout: str
    state: str
    reason: str
    why: str
    since_s: Seconds
    exit: Exit | None
    held: Held | None
    revision: Count
    digest: str
    author: str
    comment: str
    age_s: Seconds
    component: str
    versions: list[str]
    priority: Count
    on_fail: str
    needed: Count
    approvals: list[Approval]
    members: Count
    updated: Count
    in_flight: Count
    rollback: WayBack | None
    orders: list[str]


class Summary(Head):
    stages: list[Stage]


class Moment(TypedDict):
    wall_ms: Wall
    stage: str | None
    state: str
    sentence: str


class Rollout(Head):
    """`/v1/rollouts/NAME`"""

    stages: list[StageDetail]
    plan: dict[str, Any]
    timeline: list[Moment]


class Timeline(TypedDict):
    items: list[Moment]


class Freeze(TypedDict):
    freeze: str
    rings: list[str]
    selector: str
    actor: str
    reason: str
    age_s: Seconds
    ends_s: Seconds


class Explained(TypedDict):
    """`/v1/rollouts/NAME/explain`"""

    rollout: str
    summary: list[str]


class Interval(TypedDict):
    ratio: Figure | None
    low: Figure | None
    high: Figure | None


class Quartiles(TypedDict):
    metric: str
    low: Figure
    median: Figure
    high: Figure


class Arm(TypedDict):
    name: str
    version: str
    share: Share
    assigned: Count
    reached: Count
    succeeded: Count
    failed: Count
    watched: Count
    turned_bad: Count
    device_hours: Figure
    odds: Interval | None
    bad_odds: Interval | None
    hazard: Interval | None
    metrics: list[Quartiles]


class Report(TypedDict):
    """`/v1/rollouts/NAME/report`"""

    rollout: str
    state: str
    variants: list[Arm]
    controls: list[str]
    hazard: Interval | None
    conclusions: list[str]
    withheld: str | None


class Power(TypedDict):
    ill: Share
    stopped: Share
    doubted: Share


class StagePreview(TypedDict):
    name: str
    ring: str | None
    members: Count | None
    already: Count
    newer: Count
    offline: Count
    first: Count
    soak_s: Seconds
    at_least_s: Seconds
    gates: list[str]
    power: list[Power]
    note: str


class Overlap(TypedDict):
    rollout: str
    state: str
    priority: Count
    devices: Count
    sentence: str


class FrozenNow(TypedDict):
    freeze: str
    ends_s: Seconds
    devices: Count


class Window(TypedDict):
    hours: str
    timezone: str
    opens_s: Seconds | None


class Preview(TypedDict):
    """`/v1/rollouts:validate`"""

    rollout: str
    component: str
    versions: list[str]
    digest: str
    devices: Count
    scope: Count
    incapable: Count
    stages: list[StagePreview]
    overlaps: list[Overlap]
    freezes: list[FrozenNow]
    window: Window | None
    refusals: list[str]
