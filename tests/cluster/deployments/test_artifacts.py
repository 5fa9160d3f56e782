"""What an artifact may look like, and that one version is one file."""

import base64

import pytest
from msgspec.structs import replace

from stationkeep.cluster.deployments.artifacts import (
    MAX_ARTIFACTS,
    Artifact,
    Artifacts,
    artifact_fault,
)

SIGNATURE = base64.b64encode(bytes(64)).decode()
GOOD = Artifact("2.1.0", "app", "https://h.example/f.bin", "0" * 64, 1_000, SIGNATURE, "release")


def test_a_whole_artifact_and_one_that_is_only_a_version_are_well_formed() -> None:
    assert artifact_fault(GOOD) is None
    assert artifact_fault(Artifact("2.1.0", "os")) is None


@pytest.mark.parametrize(
    "url",
    ["https://h/f", "https://h:8443/f?x=1", "http://127.0.0.1:9/f", "http://[::1]/f",
     "http://localhost/f", "file:///tmp/f"],
)  # fmt: skip
def test_files_are_fetched_from_such_addresses(url: str) -> None:
    assert artifact_fault(replace(GOOD, url=url)) is None


@pytest.mark.parametrize(
    "url",
    ["http://h.example/f", "ftp://h/f", "https://", "https:///f", "https://u:p@h/f", "https://[h/f",
     "https://h:x/f", "https://h/a b", "https://h/\u202e", "file://h/f", "file:f", "f",
     "https://h/" + "x" * 1_024],
)  # fmt: skip
def test_and_from_no_others(url: str) -> None:
    assert str(artifact_fault(replace(GOOD, url=url))).startswith(f"url: {url[:80]!r} is not ")


@pytest.mark.parametrize(
    ("field", "value"),
    [("component", "firmware"), ("version", "1 2"), ("sha256", "0" * 63), ("sha256", "G" * 64),
     ("size", 0), ("size", 2**40 + 1), ("signature", "AAAA"), ("signature", "é"), ("key", ""),
     ("key", "k" * 65), ("notes", "n" * 1_025), ("notes", "\x1b[2J")],
)  # fmt: skip
def test_a_fault_names_field_and_value(field: str, value: object) -> None:
    fault = artifact_fault(replace(GOOD, **{field: value}))
    assert str(fault).startswith(f"{field}: {value!r}"[:80])


def test_a_hash_without_an_address_is_about_nothing() -> None:
    assert "url: ''" in str(artifact_fault(Artifact("1", sha256="0" * 64)))


def test_the_same_version_with_another_hash_is_another_file() -> None:
    table = Artifacts()
    table.number(GOOD)
    other = replace(GOOD, sha256="1" * 64)
    assert table.differing(other) == GOOD
    assert table.differing(replace(GOOD, url="https://mirror/f.bin")) is None
    assert table.differing(replace(other, component="os")) is None
    assert table.differing(Artifact("2.1.0")) is None


def test_equal_artifacts_have_one_number_and_forgotten_ones_give_theirs_back() -> None:
    table = Artifacts()
    first, second = table.number(GOOD), table.number(replace(GOOD, version="2.2.0"))
    assert table.number(GOOD) == first != second
    table.keep_only({second})
    assert table.number(Artifact("3.0.0")) == first
    assert set(table.known) == {first, second}


def test_the_table_has_an_end() -> None:
    table = Artifacts({n: Artifact(f"1.0.{n}") for n in range(1, MAX_ARTIFACTS + 1)})
    assert table.has_room_for(Artifact("1.0.7"))
    assert not table.has_room_for(GOOD)
