"""`stationkeep audit verify` on files that nodes wrote."""

import json
from pathlib import Path

import pytest

from stationkeep.node.audit import chain
from tests.node.audit.test_chain import alter, write
from tests.node.cli.canned import Run


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    """The data directory of two nodes."""
    for node in ("sat-001", "sat-002"):
        write(tmp_path / node, node)
    return tmp_path


def test_intact_files_of_all_local_nodes(cluster: Path, stationkeep: Run) -> None:
    result = stationkeep("audit", "verify", "--data-dir", str(cluster))
    assert result.exit_code == 0, result.output
    for node in ("sat-001", "sat-002"):
        assert f"{node}: intact, 9 decisions (1 to 9)" in result.output
    assert result.output.count("head ") == 2


def test_one_node_or_one_file(cluster: Path, stationkeep: Run) -> None:
    file = cluster / "sat-001" / chain.NAME
    for where in (["--data-dir", str(file.parent)], [str(file)]):
        result = stationkeep("audit", "verify", *where, "--format", "json")
        told = json.loads(result.output)
        assert (result.exit_code, told["intact"]) == (0, True)
        assert [node["node"] for node in told["nodes"]] == ["sat-001"]
        head = told["nodes"][0]["head"]
        assert stationkeep("audit", "verify", str(file), "--head", head).exit_code == 0


def test_tampering_is_told_with_file_and_line(cluster: Path, stationkeep: Run) -> None:
    file = cluster / "sat-002" / chain.NAME
    alter(file)
    result = stationkeep("audit", "verify", "--data-dir", str(cluster))
    assert result.exit_code == 1
    assert "sat-001: intact" in result.output
    assert "sat-002: BROKEN" in result.output
    assert f"{file}:2: its hash does not follow from the line before it" in result.stderr


def test_a_hash_that_is_not_there(cluster: Path, stationkeep: Run) -> None:
    file = str(cluster / "sat-001" / chain.NAME)
    result = stationkeep("audit", "verify", file, "--head", "f" * 64)
    assert result.exit_code == 1
    assert "not in the chain" in result.stderr
    several = stationkeep("audit", "verify", "--data-dir", str(cluster), "--head", "f" * 64)
    assert several.exit_code == 2


def test_where_there_is_nothing(tmp_path: Path, stationkeep: Run) -> None:
    result = stationkeep("audit", "verify", "--data-dir", str(tmp_path))
    assert result.exit_code == 1
    assert "no audit file here" in result.stderr
    missing = stationkeep("audit", "verify", str(tmp_path / "audit.jsonl"))
    assert missing.exit_code == 1
    assert "No such file" in missing.stderr
