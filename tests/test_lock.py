"""What is installed is what was tested, and nobody's machine is written into it."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from scripts import lock_file, lowest, verdict

ROOT = Path(__file__).parent.parent
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
RUN, _, REST = LOCK.partition(lock_file.EXTRAS)


def _pins(text: str) -> dict[str, list[str]]:
    """Name → versions: more than one where Pythons or platforms differ."""
    pins: dict[str, list[str]] = {}
    for package in lock_file.packages(text):
        requirement = Requirement(package.partition(" \\")[0])
        (exact,) = requirement.specifier
        assert exact.operator == "=="
        pins.setdefault(requirement.name, []).append(exact.version)
    return pins


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("declared", lowest.requirements())
def test_the_lock_satisfies_the_ranges(declared: str) -> None:
    requirement = Requirement(declared)
    versions = _pins(LOCK)[_canonical(requirement.name)]
    assert all(requirement.specifier.contains(version) for version in versions)


def test_what_runs_is_in_the_first_part() -> None:
    project = tomllib.loads(lowest.PYPROJECT.read_text(encoding="utf-8"))["project"]
    names = {_canonical(Requirement(declared).name) for declared in project["dependencies"]}
    assert names <= set(_pins(RUN))
    assert "pytest" in _pins(REST)


def test_every_package_has_hashes_and_no_line_names_a_host() -> None:
    for package in lock_file.packages(LOCK):
        pin, *hashes = package.replace("\\\n", "").split("--hash=")
        assert hashes, pin
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}\s*", one) for one in hashes)
    assert not re.search(r"://|^\s*--(?!hash)|@", LOCK, re.MULTILINE)


def test_every_bound_below_is_a_version_that_can_be_installed() -> None:
    assert all(re.fullmatch(r"[\w.-]+==[\d.]+", line) for line in lowest.constraints())


XML = """<testsuites><testsuite time="1.5">
<testcase classname="tests.test_a" file="tests/test_a.py" name="test_good"/>
<testcase classname="tests.test_a" file="tests/test_a.py" name="test_none"><skipped/></testcase>
<testcase classname="tests.test_a" file="tests/test_a.py" name="test_bad"><failure>E  assert 1
E  is not 2</failure></testcase>
</testsuite></testsuites>"""


def _run(folder: Path) -> tuple[int, list[str]]:
    command = [sys.executable, "scripts/verdict.py", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.splitlines()


def test_every_failure_is_told_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "some tests.xml").write_text(XML)
    (tmp_path / "failed").write_text("mypy\nsome tests\n")
    code, lines = _run(tmp_path)
    assert code == 1
    failed = lines.index("FAILED tests/test_a.py::test_bad (some tests)")
    assert lines[failed + 1 : failed + 3] == ["    E  assert 1", "    E  is not 2"]
    assert "FAILED mypy" in lines
    assert lines[-1].strip("= ") == "2 failed, 1 passed, 1 skipped in 1.50s"


def test_of_a_long_failure_what_it_says_first_is_told_too(tmp_path: Path) -> None:
    """A test that waited in vain for something shows the logs of all nodes after it."""
    said = ["def test():", ">   wait()", *(f"E  line {n} {'x' * 600}" for n in range(40))]
    (tmp_path / "all.xml").write_text(re.sub("(?s)E  assert.*not 2", "\n".join(said), XML))
    _, lines = _run(tmp_path)
    told = [line.split()[2] for line in lines if line.startswith("    E  line")]
    assert told == [str(n) for n in (0, 1, 2, 3, *range(28, 40))]
    assert max(map(len, lines)) < 600


def test_of_a_group_every_exception_is_told(tmp_path: Path) -> None:
    """Where one input of a property fails once and not again, both are in the group."""
    said = ["  + Exception Group Traceback (most recent call last):"]
    said += ["  | hypothesis.errors.FlakyFailure: unreliable (1 sub-exception)"]
    said += ["    | Traceback (most recent call last):", "    | OSError: strange"]
    said += ["    |   File"] * 20
    (tmp_path / "all.xml").write_text(re.sub("(?s)E  assert.*not 2", "\n".join(said), XML))
    _, lines = _run(tmp_path)
    told = [line.strip(" |") for line in lines if "| " in line and "File" not in line]
    assert told == [
        "hypothesis.errors.FlakyFailure: unreliable (1 sub-exception)",
        "OSError: strange",
    ]


def test_a_warning_is_told_and_fails_nothing(tmp_path: Path) -> None:
    warnings = tmp_path / "warnings"
    warnings.mkdir()
    (warnings / "newest.xml").write_text(XML)
    (tmp_path / "all.xml").write_text(re.sub("<failure>.*</failure>", "", XML, flags=re.S))
    code, lines = _run(tmp_path)
    assert code == 0
    assert "WARNING tests/test_a.py::test_bad (newest)" in lines
    assert lines[-1].strip("= ") == "2 passed, 1 skipped, 1 warnings in 1.50s"


def test_nothing_at_all_is_told_as_that(tmp_path: Path) -> None:
    assert verdict.verdict(tmp_path)[0][-1].strip("= ") == "nothing ran in 0.00s"
