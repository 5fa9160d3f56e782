"""`doctor`: what it finds, and that it says what to do."""

import json
import shutil
import time
from pathlib import Path

import httpx
import pytest
import yaml

from stationkeep.cluster.settings import PROFILES, to_user
from stationkeep.node.cli import examination
from stationkeep.node.cli.examination import WAYS
from stationkeep.node.ports import NOT_THERE, Obstacle
from tests.node.cli.canned import CLUSTER, READS, CannedNode, Json, Run, link, listed, node

WELL = {"settings": to_user(PROFILES["lan"]), "profile_hint": "lan"}
LEVEL = READS["/v1/level"]


@pytest.fixture
def well(canned: CannedNode) -> CannedNode:
    """Three nodes that lack nothing."""
    names = ("sat-001", "sat-002", "sat-003")
    canned.reads["/v1/cluster"] = CLUSTER | {"verdict": "ok", "needs": []}
    canned.reads["/v1/nodes"] = listed(*(node(n, "STANDBY", 0.1) for n in (1, 2, 3)))
    canned.reads["/v1/config"] = WELL
    canned.reads["/v1/level"] = LEVEL | {
        "obstacles": [],
        "members": [{"node": name, "release": "0.2", "highest": 2} for name in names],
    }
    del canned.reads["/v1/links"]
    canned.local = {
        8_700 + n: {"/v1/links": {"node": me, "links": [link(o) for o in names if o != me]}}
        for n, me in enumerate(names, 1)
    }
    return canned


def findings(stationkeep: Run, *more: str) -> list[Json]:
    told = stationkeep("doctor", "--format", "json", *more)
    assert told.exit_code == 0, told.output
    found: list[Json] = json.loads(told.stdout)
    assert all(bool(one["remedy"]) == (one["level"] != "ok") for one in found)
    return [one for one in found if one["level"] != "ok"]


def test_a_cluster_that_lacks_nothing_is_well(well: CannedNode, stationkeep: Run) -> None:
    assert findings(stationkeep) == []
    assert stationkeep("doctor", "--check").exit_code == 0


def test_what_the_cluster_needs_is_found(well: CannedNode, stationkeep: Run) -> None:
    well.reads["/v1/cluster"] = CLUSTER | {"wall_ms": int((time.time() - 600) * 1_000)}
    said = [one["found"] for one in findings(stationkeep)]
    assert said[:2] == [need["sentence"] for need in CLUSTER["needs"]]
    assert "this machine's clock is +600 s off the leader's" in said
    told = stationkeep("doctor", "--check")
    assert (told.exit_code, "3 things are to be done" in told.stderr) == (1, True)


def test_links_are_found_that_are_cut_lossy_or_without_datagrams(
    well: CannedNode, stationkeep: Run
) -> None:
    well.local[8_701]["/v1/links"]["links"] = [
        link("sat-002", connected=False, error="connection_refused"),
        link("sat-003", heard=200),
    ]
    well.local[8_702]["/v1/links"]["links"] = [link("sat-001", in_doubt=True)]
    del well.local[8_703]
    found = {
        one["found"]: one["remedy"] for one in findings(stationkeep) if one["about"] != "settings"
    }
    assert (
        found.pop("sat-001 does not hear sat-002: connection_refused") == WAYS["connection_refused"]
    )
    assert "plan --measured" in found.pop("sat-001 hears sat-003, and loses 50%")
    assert "UDP" in found.pop("sat-002 hears sat-001 by TCP alone: no datagrams arrive")
    (gone,) = found
    assert gone.startswith("sat-003 does not answer: ")


def test_releases_and_settings_that_do_not_fit_are_found(
    well: CannedNode, stationkeep: Run
) -> None:
    well.reads["/v1/level"] = LEVEL
    for local in well.local.values():
        for one in local["/v1/links"]["links"]:
            one |= {"heard": 120, "sent": 400}
    found = {one["about"]: one["found"] for one in findings(stationkeep)}
    assert {"releases", "settings", "links"} <= found.keys()
    assert "needless failover every" in found["settings"]


def test_a_file_with_faults_and_a_full_disk_are_found(
    well: CannedNode, stationkeep: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "node.yaml"
    members = {"sat-001": {"raft": "127.0.0.1:7701", "http": "127.0.0.1:8701"}}
    own = {"cluster": "x", "node": "sat-001", "data_dir": str(tmp_path), "members": members}
    file.write_text(yaml.safe_dump(own))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 95, 5))
    found = findings(stationkeep, "--config", str(file))
    assert [one["about"] for one in found] == ["disk"], found
    file.write_text("node: 7")
    (first, *_) = findings(stationkeep, "--config", str(file))
    assert first["about"] == "file"


def test_when_nobody_answers_the_file_is_looked_at_all_the_same(
    canned: CannedNode, stationkeep: Run, tmp_path: Path
) -> None:
    canned.answer = httpx.ConnectError("refused")
    file = tmp_path / "node.yaml"
    file.write_text("node: 7")
    told = stationkeep("doctor", "--config", str(file))
    assert told.exit_code == 4
    assert "guide configuration" in told.stdout


def test_what_cannot_be_examined_is_a_finding(well: CannedNode, stationkeep: Run) -> None:
    well.raw = {"/v1/level": b"<html>"}
    (found,) = findings(stationkeep)
    assert found["about"] == "releases"
    assert "could not be examined" in found["found"]


def test_every_way_is_about_an_obstacle_that_there_is() -> None:
    assert {*WAYS} <= {*Obstacle}
    assert {*WAYS} & NOT_THERE
    assert all(way for way in WAYS.values())
    assert examination.MOST_LOSS < 1
