"""Ring policies: which may be, and what each leaves to its devices."""

import pytest

from stationkeep.cluster.devices.policies import (
    NO_POLICY,
    RingPolicy,
    allowed,
    policy_fault,
    weights_within,
)
from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.devices.shares import Shares

PROD_ONLY = RingPolicy("vip", "channel=vip", (Ring.PROD,))


def test_a_policy_names_rings_or_gives_weights() -> None:
    assert allowed(PROD_ONLY) == 0b1000
    assert allowed(RingPolicy("all", "")) == 0b1111
    assert allowed(RingPolicy("w", "", (), (1, 0, 0, 1))) == 0b1001
    assert allowed(RingPolicy("both", "", (Ring.DEV, Ring.PROD), (1, 1, 0, 0))) == 0b0010


def test_without_weights_the_fleets_are_restricted_to_the_rings() -> None:
    low = RingPolicy("low", "", (Ring.CANARY, Ring.DEV))
    assert weights_within(low, (5, 10, 25, 60)) == (5, 10, 0, 0)
    assert weights_within(low, (0, 0, 1, 1)) == (1, 1, 0, 0)


def test_health_goes_before_policy() -> None:
    """Who may not stand in STAGE or PROD goes to CANARY or DEV whatever its policy says."""
    shares = Shares(policies=(PROD_ONLY, RingPolicy("dev", "", (Ring.DEV, Ring.PROD))))
    assert shares.eligible(0, fit=True) == 0b1000
    assert shares.eligible(0, fit=False) == 0b0011
    assert shares.eligible(1, fit=False) == 0b0010
    assert shares.eligible(NO_POLICY, fit=False) == 0b0011


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (RingPolicy("p", "os=="), "selector: character"),
        (RingPolicy("p", "health=healthy"), "a policy cannot go by health"),
        (RingPolicy("p", "id in (a, b)"), "a policy cannot go by id"),
        (RingPolicy("p", "", (Ring.DEV, Ring.DEV)), "named twice"),
        (RingPolicy("p", "", (), (0, 0, 0, 0)), "weights: at least one"),
        (RingPolicy("p", "", (), (-1, 0, 0, 1)), "between 0 and"),
        (RingPolicy("p", "", (Ring.DEV,), (1, 0, 1, 1)), "has weight 0"),
    ],
)
def test_a_policy_that_cannot_be_is_refused_with_the_field(policy: RingPolicy, words: str) -> None:
    assert words in (policy_fault(policy) or "")
