"""`certs rotate-ca`: no step before all nodes follow."""

from pathlib import Path
from typing import Any

import pytest

from stationkeep.node.security import certificates as made
from stationkeep.node.security.rotation import Phase, Rotation
from tests.node.cli.canned import CannedNode, Run

Json = dict[str, Any]


@pytest.fixture
def tls(tmp_path: Path, stationkeep: Run) -> Path:
    directory = tmp_path / "tls"
    assert not stationkeep("certs", "ca", "--cluster", "c", "--out", str(directory)).exit_code
    return directory


CA = "/v1/tls/ca"
Told = dict[int, dict[str, Json]]


@pytest.fixture
def told(canned: CannedNode) -> Told:
    """What each of three nodes says, by port; one that says nothing does not answer."""
    del canned.reads[CA]
    nothing: Json = {"uid": "", "pins": [], "issued_by": "", "pem": ""}
    canned.local = {port: {CA: nothing.copy()} for port in (8701, 8702, 8703)}
    return canned.local


def pins(tls: Path) -> list[str]:
    return [made.pin(ca) for ca in made.certificates_in((tls / "ca.pem").read_bytes())]


def say(told: Told, **said: object) -> None:
    for answers in told.values():
        answers[CA].update(said)


def test_from_one_ca_to_the_other(tls: Path, told: Told, stationkeep: Run) -> None:
    rotate = ("certs", "rotate-ca", "--dir", str(tls))
    assert stationkeep(*rotate, "start").exit_code == 0
    first, second = pins(tls)
    say(told, pins=[first], issued_by=first)
    told[8701][CA]["pins"] = [first, second]
    result = stationkeep(*rotate, "switch")
    assert (result.exit_code, Rotation(tls).phase) == (1, Phase.STARTED)
    assert "sat-002 does not trust the second CA; sat-003 does not trust" in result.stderr
    assert "sat-001" not in result.stderr
    say(told, pins=[first, second])
    assert stationkeep(*rotate, "switch").exit_code == 0
    result = stationkeep(*rotate, "finish")
    assert (result.exit_code, Rotation(tls).phase) == (1, Phase.SWITCHED)
    assert "sat-001 shows a certificate of another CA" in result.stderr
    say(told, issued_by=second)
    silent = told[8703].pop(CA)
    result = stationkeep(*rotate, "finish")
    assert (result.exit_code, "sat-003 does not answer" in result.stderr) == (1, True)
    told[8703][CA] = silent
    assert stationkeep(*rotate, "finish").exit_code == 0
    assert pins(tls) == [second]


def test_back_to_the_first_once_nobody_shows_the_second(
    tls: Path, told: Told, stationkeep: Run
) -> None:
    rotate = ("certs", "rotate-ca", "--dir", str(tls))
    stationkeep(*rotate, "start")
    first, second = pins(tls)
    say(told, pins=[first, second], issued_by=second)
    stationkeep(*rotate, "switch")
    assert stationkeep(*rotate, "abort").exit_code == 0
    result = stationkeep(*rotate, "abort")
    assert (result.exit_code, pins(tls)) == (1, [first, second])
    assert "shows a certificate of the second CA" in result.stderr
    say(told, issued_by=first)
    assert stationkeep(*rotate, "abort").exit_code == 0
    assert (pins(tls), Rotation(tls).phase) == ([first], Phase.NONE)


def test_by_force_a_step_is_taken_although_a_node_is_gone(
    tls: Path, told: Told, stationkeep: Run
) -> None:
    for answers in told.values():
        answers.clear()
    rotate = ("certs", "rotate-ca", "--dir", str(tls))
    assert stationkeep(*rotate, "start").exit_code == 0
    assert stationkeep(*rotate, "switch").exit_code == 1
    assert stationkeep(*rotate, "switch", "--force").exit_code == 0
    assert stationkeep(*rotate, "finish", "--force").exit_code == 0


def test_the_status_is_what_each_node_says(told: Told, stationkeep: Run) -> None:
    say(told, pins=["sha256:1", "sha256:2"], issued_by="sha256:1")
    del told[8702][CA]
    result = stationkeep("certs", "rotate-ca")
    line = "sat-001: certificate of sha256:1, trusts sha256:1 and sha256:2"
    assert (result.exit_code, line in result.stdout) == (0, True)
    assert "sat-002: no answer" in result.stderr


def test_where_no_ca_is_nothing_begins(tmp_path: Path, told: Told, stationkeep: Run) -> None:
    for step in ("start", "switch", "finish", "abort"):
        result = stationkeep("certs", "rotate-ca", step, "--dir", str(tmp_path))
        assert (result.exit_code, str(tmp_path) in result.stderr) == (1, True)
        assert list(tmp_path.iterdir()) == []
