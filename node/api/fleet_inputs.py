"""Bodies of writes about the fleet; strict like the others (`inputs`)."""

from typing import Annotated, Literal

from pydantic import Field

from stationkeep.cluster.devices.policies import (
    MAX_RING_POLICIES,
    RingPolicy,
    policy_fault,
    weights_fault,
)
from stationkeep.cluster.devices.rings import MAX_WEIGHT, RINGS, Four, Ring
from stationkeep.cluster.devices.selector import MAX_SELECTOR
from stationkeep.cluster.devices.status import HealthRule, RuleError, parse_rule
from stationkeep.cluster.devices.table import MAX_DEVICES
from stationkeep.cluster.names import TEXT_PATTERN
from stationkeep.cluster.settings import LONGEST_PIN, parse_duration
from stationkeep.node.api.inputs import (
    DurationText,
    Input,
    Label,
    Reason,
    in_words,
)
from stationkeep.node.http.patterns import VERSION_PATTERN
from stationkeep.node.http.problems import invalid

RingName = Literal["canary", "dev", "stage", "prod"]
Weight = Annotated[int, Field(ge=0, le=MAX_WEIGHT)]
Cap = Annotated[int, Field(ge=0, le=MAX_DEVICES)]
Selector = Annotated[
    str,
    Field(
        max_length=MAX_SELECTOR,
        pattern=TEXT_PATTERN,
        examples=["os=Android 14, model in (Pixel 8, Pixel 9)"],
    ),
]
Lifetime = Annotated[
    DurationText | Annotated[float, Field(ge=0, le=LONGEST_PIN / 1_000, allow_inf_nan=False)],
    in_words(LONGEST_PIN),
]


class ReasonInput(Input):
    reason: Reason = ""


class AssignInput(Input):
    ring: RingName
    lifetime: Annotated[Lifetime | None, Field(description="The pin ends then; null: never.")] = (
        None
    )
    reason: Reason = ""

    def milliseconds(self) -> int:
        """Of the lifetime; 0: the pin has no end."""
        if self.lifetime is None:
            return 0
        return parse_duration("lifetime", self.lifetime, LONGEST_PIN)


class ByRing(Input):
    """A figure for each ring."""

    def four(self) -> Four:
        """The figures in the order of the rings."""
        canary, dev, stage, prod = (int(getattr(self, ring.value)) for ring in RINGS)
        return canary, dev, stage, prod


class Weights(ByRing):
    """Target shares of the four rings, in any unit."""

    canary: Weight
    dev: Weight
    stage: Weight
    prod: Weight


class SomeWeights(ByRing):
    """Weights of a policy's rings; a ring that is left out gets none."""

    canary: Weight = 0
    dev: Weight = 0
    stage: Weight = 0
    prod: Weight = 0


class Caps(Input):
    """The most devices that a ring takes; 0: as many as come; null, or left out: as it stands."""

    canary: Cap | None = None
    dev: Cap | None = None
    stage: Cap | None = None
    prod: Cap | None = None

    def given(self) -> tuple[int | None, int | None, int | None, int | None]:
        """In the order of the rings."""
        return self.canary, self.dev, self.stage, self.prod


class SharesInput(Input):
    weights: Weights
    caps: Caps = Caps()
    reason: Reason = ""

    def weights_given(self) -> Four:
        """400 when every ring has weight 0."""
        weights = self.weights.four()
        fault = weights_fault(weights)
        if fault is not None:
            raise invalid("weights", list(weights), fault)
        return weights


class HealthRuleInput(Input):
    rule: Annotated[
        str,
        Field(
            max_length=1_024,
            pattern=TEXT_PATTERN,
            examples=["battery > 20 and cpu < 80 and memory < 85 and temperature < 70"],
        ),
    ]
    charging_excuses_battery: bool = False
    unreported: Annotated[
        bool,
        Field(
            description="Also when no device has reported a metric that the rule names; every "
            "device meets such a condition."
        ),
    ] = False
    reason: Reason = ""

    def parsed(self) -> HealthRule:
        """The rule; 400 naming the clause at fault."""
        try:
            return parse_rule(self.rule, charging_excuses_battery=self.charging_excuses_battery)
        except RuleError as error:
            raise invalid("rule", self.rule, str(error)) from error


class RingPolicyInput(Input):
    name: Label
    selector: Selector
    rings: list[RingName] = Field(default_factory=list, max_length=len(RINGS))
    weights: SomeWeights | None = None

    def policy(self) -> RingPolicy:
        weights = None if self.weights is None else self.weights.four()
        return RingPolicy(self.name, self.selector, tuple(map(Ring, self.rings)), weights)


class PoliciesInput(Input):
    """All ring policies, in the order in which they are tried."""

    policies: Annotated[list[RingPolicyInput], Field(max_length=MAX_RING_POLICIES)]
    version: Annotated[
        str,
        Field(
            pattern=VERSION_PATTERN,
            description="The `policies_version` of the list that this one is to replace; refused "
            "when another stands by then. Left out: whatever stands is replaced.",
        ),
    ] = ""
    reason: Reason = ""

    def parsed(self) -> tuple[RingPolicy, ...]:
        """The policies; 400 naming the first at fault and its field."""
        policies = tuple(given.policy() for given in self.policies)
        names = [policy.name for policy in policies]
        for place, name in enumerate(names):
            if name in names[:place]:
                raise invalid(f"policies.{place}.name", name, "each name once")
        for place, policy in enumerate(policies):
            fault = policy_fault(policy)
            if fault is not None:
                field, _, rule = fault.partition(": ")
                given = getattr(self.policies[place], field)
                raise invalid(f"policies.{place}.{field}", given, rule)
        return policies
