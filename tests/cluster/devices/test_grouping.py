"""Devices are grouped by what policies ask of them, however many kinds of them there are."""

from hypothesis import given
from hypothesis import strategies as st

from stationkeep.cluster.devices.fleet import absent, groups_of
from stationkeep.cluster.devices.policies import NO_POLICY, RingPolicy
from stationkeep.cluster.devices.selector import matches, parse
from stationkeep.cluster.devices.table import Kind

_pairs = st.dictionaries(st.sampled_from(["a", "b", "c", "os"]), st.sampled_from("xy")).map(
    lambda pairs: tuple(sorted(pairs.items()))
)
_kinds = st.builds(Kind, st.sampled_from("xy"), st.sampled_from("xy"), _pairs, _pairs)
_policies = st.sampled_from(["a=x", "b!=x", "os=x, app=y", "c in (x, y), a!=y", "", "z=x"]).map(
    lambda selector: RingPolicy("p", selector)
)


@given(st.lists(st.none() | _kinds, max_size=12), st.lists(_policies, max_size=5))
def test_each_kind_is_in_the_group_of_the_first_policy_that_matches(
    kinds: list[Kind | None], policies: list[RingPolicy]
) -> None:
    expected = [
        next(
            (
                n
                for n, policy in enumerate(policies)
                if kind is not None and matches(parse(policy.selector), kind.value_of)
            ),
            NO_POLICY,
        )
        for kind in kinds
    ]
    assert groups_of(kinds, policies).tolist() == (expected or [NO_POLICY])


def test_a_key_that_no_device_has_is_absent() -> None:
    kinds = [None, Kind("14", "1", (("deployment", "true"),), (("model", "x"),))]
    assert absent(["os", "model", "deployment", "site"], kinds) == {"site"}
