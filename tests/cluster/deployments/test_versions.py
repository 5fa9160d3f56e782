"""Which of two versions is newer, where that can be said: tasks.md, "Versions"."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationkeep.cluster.deployments.versions import compare, is_newer, version_fault

RISING = (
    "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2",
    "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "1.9.9", "1.10.0", "2.0.0-rc.1", "2.0.0",
)  # fmt: skip
"""The example of semver.org, and those of the specification."""


def test_semantic_versions_follow_their_precedence() -> None:
    for n, older in enumerate(RISING):
        for newer in RISING[n + 1 :]:
            assert (compare(newer, older), compare(older, newer)) == (1, -1), (older, newer)


@pytest.mark.parametrize(
    ("older", "newer"),
    [("1.9", "1.10"), ("9", "10"), ("1.2", "1.2.1"), ("v3", "v21"), ("r2024.01", "r2024.02")],
)
def test_others_are_compared_by_their_runs_of_digits(older: str, newer: str) -> None:
    assert (compare(newer, older), compare(older, newer)) == (1, -1)


@pytest.mark.parametrize(
    ("one", "other"),
    [("blue", "2.0.0"), ("blue", "green"), ("1.2", "1.2-rc1"), ("1.2.", "1.2"), ("", "1.0"),
     ("1.x", "1.2"), ("²", "1"), ("1²", "1.5")],
)  # fmt: skip
def test_what_neither_can_compare_is_different_and_not_newer(one: str, other: str) -> None:
    assert compare(one, other) is None
    assert not is_newer(one, other)
    assert not is_newer(other, one)


def test_build_metadata_is_as_new() -> None:
    assert compare("1.0.0+a", "1.0.0+b") == 0
    assert compare("007", "7") == 0


_versions = st.sampled_from(RISING) | st.text("0123456789.-+~ab²", max_size=12)


@given(_versions, _versions)
def test_two_versions_are_never_each_newer_than_the_other(one: str, other: str) -> None:
    there, back = compare(one, other), compare(other, one)
    assert (there is None) == (back is None)
    assert there is None or back is None or there == -back
    assert compare(one, one) == 0


@pytest.mark.parametrize("version", ["", " 1", "1/2", "1" * 65, "1.0\n", "é"])
def test_an_artifact_cannot_have_such_a_version(version: str) -> None:
    assert version_fault(version) is not None
