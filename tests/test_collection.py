"""Workers that share the tests must find the same ones: `scripts/collect_twice.py`."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts" / "collect_twice.py"
TEST = """
import secrets

import pytest

@pytest.mark.parametrize("value", {values})
def test_something(value):
    pass
"""


def twice(folder: Path, values: str) -> subprocess.CompletedProcess[str]:
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_it.py").write_text(TEST.format(values=values))
    command = [sys.executable, str(SCRIPT)]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


def test_names_that_stay_the_same_are_let_through(tmp_path: Path) -> None:
    done = twice(tmp_path, '["one", "two", secrets.token_bytes]')
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "values",
    ["[secrets.token_hex(8)]", 'set("abcdefgh")'],
    ids=["a random value", "the order of a set"],
)
def test_names_that_another_worker_would_not_find_are_told(tmp_path: Path, values: str) -> None:
    done = twice(tmp_path, values)
    assert done.returncode == 1
    assert "-test_it.py::test_something[" in done.stderr
    assert "+test_it.py::test_something[" in done.stderr


def test_what_cannot_be_collected_is_no_success(tmp_path: Path) -> None:
    done = twice(tmp_path, "[nobody]")
    assert done.returncode == 1
    assert "name 'nobody' is not defined" in done.stderr
