"""`config validate`, `node run`, `snapshot …`: commands that are about files."""

import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from msgspec.structs import replace

from stationkeep.cluster.settings import Settings
from stationkeep.cluster.state.codec import encode_snapshot
from stationkeep.cluster.state.state import ClusterState, Member, Seat
from stationkeep.node.local.manifest import Manifest, NodeRecord, config_text
from stationkeep.node.raft.storage import snapshot_file as snapshot
from stationkeep.node.runtime import lean
from tests.node.cli.canned import CannedNode, Run

MEMBERS = ("sat-001", "sat-002")


def manifest(tmp_path: Path) -> Manifest:
    nodes = {
        name: NodeRecord(
            f"127.0.0.1:{7701 + n}", f"127.0.0.1:{8701 + n}", "", str(tmp_path / name), ""
        )
        for n, name in enumerate(MEMBERS)
    }
    return Manifest("stationkeep-local", "demo", 7701, 8701, nodes)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """The configuration files of two members."""
    paths = [tmp_path / f"{name}.yaml" for name in MEMBERS]
    for name, path in zip(MEMBERS, paths, strict=True):
        path.write_text(config_text(manifest(tmp_path), name, host_sensors=False))
    return paths


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A good snapshot file."""
    state = encode_snapshot(ClusterState(cluster_id="stationkeep-local", time=61_500))
    taken = snapshot.Snapshot("stationkeep-local", MEMBERS, (b"", 9, 3), (b"", 10, 3), state)
    path = tmp_path / "saved.snapshot"
    path.write_bytes(snapshot.encode(taken))
    return path


def broken(file: Path) -> Path:
    """The file with an impossible timing set."""
    body = yaml.safe_load(file.read_text()) | {"settings": {"primary_lease": "10s"}}
    file.write_text(yaml.safe_dump(body))
    return file


def test_not_more_faults_than_one_reads(stationkeep: Run, files: list[Path]) -> None:
    files[0].write_text("".join(f"key{n}: 1\n" for n in range(100)))
    result = stationkeep("config", "validate", str(files[0]))
    assert result.exit_code == 5
    *faults, more, page = result.output.splitlines()
    assert len(faults) == 21
    assert more == "  … and 44 more"  # of the 64 that are told at most
    assert page == "  see: stationkeep guide configuration"


def test_a_valid_file_is_said_to_be_valid(stationkeep: Run, files: list[Path]) -> None:
    result = stationkeep("config", "validate", str(files[0]))
    assert (result.exit_code, result.output) == (0, f"{files[0]}: valid\n")


@pytest.mark.parametrize("command", [["config", "validate"], ["node", "run", "--config"]])
def test_an_invalid_file_exits_5_and_names_the_rule(
    stationkeep: Run, files: list[Path], command: list[str]
) -> None:
    result = stationkeep(*command, str(broken(files[0])))
    assert result.exit_code == 5
    assert "primary_lease x 1.05 < failures_to_fail_primary" in result.output
    assert str(files[0]) in result.output


def test_a_missing_file_exits_5(stationkeep: Run, tmp_path: Path) -> None:
    assert stationkeep("config", "validate", str(tmp_path / "none.yaml")).exit_code == 5


PLAIN = ["node", "run", "--config"]
REST = ["--health-replay", "FILE", "--replay-speed", "60"]


@pytest.mark.parametrize(
    ("more", "lean_one", "durability", "speed"),
    [
        ([], True, "sync", None),
        (["--durability", "os"], True, "os", None),
        (REST, False, "sync", 60.0),
        (["--durability=os"], False, "os", None),
    ],
)
def test_node_run_runs_the_node_that_is_meant(  # noqa: PLR0917
    stationkeep: Run, files: list[Path], monkeypatch: pytest.MonkeyPatch,
    more: list[str], lean_one: bool, durability: str, speed: float | None,
) -> None:  # fmt: skip
    """Plain options without the command line, all others with it: the same node."""
    ran: list[tuple[Any, ...]] = []

    def run(config: Any, replay: Path | None = None, speed: float = 1.0) -> int:
        ran.append((config.node, config.durability, replay, speed))
        return 1

    monkeypatch.setitem(
        sys.modules, "stationkeep.node.runtime.node", types.SimpleNamespace(run=run)
    )
    for name in lean.UNWANTED:
        monkeypatch.setitem(sys.modules, name, sys.modules.get(name))
    command = [*PLAIN, str(files[0]), *(str(files[1]) if w == "FILE" else w for w in more)]
    assert lean.run_node(command) == (1 if lean_one else None)
    if not lean_one:
        assert stationkeep(*command).exit_code == 1
    replay = files[1] if speed else None
    assert ran == [("sat-001", durability, replay, speed or 1.0)]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "Missing option"),
        (["--config"], 2, "requires an argument"),
        (["--config", "none.yaml"], 5, "none.yaml"),
        (["--config", "node.yaml", "--config", "node.yaml"], 1, "no-directory"),
        (["--config", "node.yaml", "--durability", "perhaps"], 2, "perhaps"),
        (["--config", "node.yaml", "--help"], 0, "Runs one node"),
        (["--config", "node.yaml", "more"], 2, "more"),
    ],
)
def test_what_is_not_plain_is_answered_in_words(
    files: list[Path], tmp_path: Path, words: list[str], code: int, said: str
) -> None:
    done = in_a_foreign_folder(files, tmp_path, words)
    assert (done.returncode, said in done.stdout + done.stderr) == (code, True), done.stderr


def in_a_foreign_folder(
    files: list[Path], tmp_path: Path, words: list[str]
) -> subprocess.CompletedProcess[str]:
    """`stationkeep node run` in a directory of somebody's, with a package that happens to be called
    as ours; the file there is of a node whose data directory cannot be made."""
    foreign = tmp_path / "foreign"
    (foreign / "node").mkdir(parents=True)
    (foreign / "node" / "__init__.py").write_text("print('foreign')")
    content = yaml.safe_load(files[0].read_text()) | {"data_dir": str(files[1] / "no-directory")}
    (foreign / "node.yaml").write_text(yaml.safe_dump(content))
    command = "from stationkeep.node.__main__ import main; main()"
    return subprocess.run(
        [sys.executable, "-P", "-c", command, "node", "run", *words],
        cwd=foreign, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_a_node_is_not_what_lies_in_the_working_directory(
    files: list[Path], tmp_path: Path
) -> None:
    done = in_a_foreign_folder(files, tmp_path, ["--config", "node.yaml"])
    assert "foreign" not in done.stdout
    assert "no-directory" in done.stderr


def test_what_only_a_command_line_needs_is_no_part_of_a_node() -> None:
    """Megabytes that each node would carry for as long as it runs: `numpy.random` is for the leader
    that draws."""
    script = """
import sys
import stationkeep.node.__main__
from stationkeep.node.runtime import lean
lean._leave_out()
import stationkeep.node.runtime.node, stationkeep.node.api.app
unwanted = ("typer", "rich", "pygments", "watchfiles", "numpy.random", "httpx")
print([name for name in unwanted if sys.modules.get(name)])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr


def test_a_snapshot_is_saved_and_verified(
    canned: CannedNode, stationkeep: Run, saved: Path, tmp_path: Path
) -> None:
    canned.answer = httpx.Response(200, content=saved.read_bytes())
    copy = tmp_path / "copy.snapshot"
    result = stationkeep("snapshot", "save", str(copy))
    assert (result.exit_code, copy.read_bytes()) == (0, saved.read_bytes())
    assert "log index 10" in result.output
    assert stationkeep("snapshot", "save", str(copy)).exit_code == 2
    assert stationkeep("snapshot", "save", str(copy), "--force").exit_code == 0
    verified = stationkeep("snapshot", "verify", str(copy))
    assert verified.exit_code == 0
    assert "members sat-001, sat-002, log index 10, term 3" in verified.output


def test_a_damaged_answer_is_not_saved(
    canned: CannedNode, stationkeep: Run, saved: Path, tmp_path: Path
) -> None:
    canned.answer = httpx.Response(200, content=saved.read_bytes()[:-1])
    result = stationkeep("snapshot", "save", str(tmp_path / "copy"))
    assert result.exit_code == 1
    assert not (tmp_path / "copy").exists()


def test_verify_tells_damage(stationkeep: Run, saved: Path, tmp_path: Path) -> None:
    saved.write_bytes(saved.read_bytes()[:-1] + b"?")
    damaged = stationkeep("snapshot", "verify", str(saved))
    assert damaged.exit_code == 1
    assert "checksum" in damaged.output
    assert stationkeep("snapshot", "verify", str(tmp_path / "none")).exit_code == 1


HEADS: list[dict[str, Any]] = [
    {"previous": (b"", -2, 3), "last": (b"", -1, 3)},
    {"previous": (b"", 0, 0), "last": (b"", 1, 0)},
    {"previous": (b"", 2**63 - 1, 3), "last": (b"", 2**63, 3)},
    {"previous": (b"", 2**53 - 1, 3), "last": (b"", 2**53, 3)},
    {"last": (b"", 10, 2**63)},
    {"last": (b"", 10, 2**53)},
    {"previous": (b"", 9, -1)},
    {"configured": -5},
    {"configured": 11},
    {"members": ("sat-001", "\x1b[2J\x1b]0;x\x07")},
    {"members": ("../../etc",)},
    {"learners": ("[/b]",)},
    {"births": {"sat-001": -1}},
    {"births": {"sat-001": 2**60}},
]
STATES: list[dict[str, Any]] = [
    {"time": 2**62},
    {"time": 2**53 - 1},
    {"time": -1},
    {"index": 11},
    {"revision": -1},
    {"decisions_made": 2**63},
    {"seat": Seat(epoch=2**62)},
    {"seat": Seat(holder="sat-009")},
    {"members": {"sat-001": Member("sat-001", "a:1", "b:1", boot=2**63)}},
    {"members": {"sat-001": Member("sat-001", "a:1", "b:1", boot=1, seq=2**54)}},
    {"members": {"sat-001": Member("sat-001", "a:1", "b:1", last_heard=2**50)}},
    {"settings": replace(Settings(), primary_lease=0)},
    {"settings": replace(Settings(), evaluation_interval=-1)},
]


@pytest.mark.parametrize(("head", "state"), [(h, {}) for h in HEADS] + [({}, s) for s in STATES])
def test_numbers_from_which_nobody_could_go_on_are_no_snapshot(
    stationkeep: Run, saved: Path, files: list[Path], head: dict[str, Any], state: dict[str, Any]
) -> None:
    """Whatever its checksum: neither verified nor restored."""
    fields = {"cluster_id": "stationkeep-local", "time": 61_500} | state
    state_bytes = encode_snapshot(ClusterState(**fields))
    parts: dict[str, Any] = {
        "members": MEMBERS, "previous": (b"", 9, 3), "last": (b"", 10, 3),
    }  # fmt: skip
    taken = snapshot.Snapshot("stationkeep-local", state=memoryview(state_bytes), **(parts | head))
    saved.write_bytes(snapshot.encode(taken))
    for command in (["verify", str(saved)], ["restore", str(saved), *map(str, files)]):
        result = stationkeep("snapshot", *command)
        assert result.exit_code == 1, result.output
        assert "not a usable snapshot" in result.output
        assert "\x1b" not in result.output
    assert not [path for path in saved.parent.iterdir() if path.name in MEMBERS]


def test_restore_prepares_every_member(
    stationkeep: Run, saved: Path, files: list[Path], tmp_path: Path
) -> None:
    configs = [str(file) for file in files]
    result = stationkeep("snapshot", "restore", str(saved), *configs)
    assert result.exit_code == 0, result.output
    for name in MEMBERS:
        assert f"{name}: starts from log index 10" in result.output
        assert snapshot.read_snapshot(tmp_path / name / snapshot.FILE).index == 10
    again = stationkeep("snapshot", "restore", str(saved), *configs)
    assert again.exit_code == 1
    assert "not empty" in again.output


def test_restore_wants_all_members(stationkeep: Run, saved: Path, files: list[Path]) -> None:
    result = stationkeep("snapshot", "restore", str(saved), str(files[0]))
    assert result.exit_code == 2
    assert "missing: sat-002" in result.output


def test_restore_refuses_an_invalid_file(stationkeep: Run, saved: Path, files: list[Path]) -> None:
    broken(files[0])
    result = stationkeep("snapshot", "restore", str(saved), str(files[0]))
    assert result.exit_code == 5


def test_the_command_line_starts_without_the_server() -> None:
    heavy = {
        *("fastapi", "uvicorn", "pysyncobj", "httpx", "psutil", "sqlite3", "structlog", "numpy"),
        *("rich", "yaml", "cryptography"),
    }
    code = f"import sys, stationkeep.node.cli.main; print(*sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
