"""What is installed: `stationkeep` alone, beside other people's `cluster` and `node`."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parent.parent
THEIRS = ("cluster", "node")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the unpacked wheel, and packages of others by our folders' names."""
    directory = tmp_path_factory.mktemp("wheel")
    [wheel] = WheelBuilder(str(ROOT)).build(directory=str(directory), versions=["standard"])
    installed = directory / "site"
    with ZipFile(wheel) as archive:
        archive.extractall(installed)
    for name in THEIRS:
        (installed / name).mkdir()
        (installed / name / "__init__.py").write_text("THEIRS = True\n")
    return installed


def python(site: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-I", "-c", _LAUNCH, str(site), *arguments],
        cwd=site,
        env={**os.environ, "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


_LAUNCH = f"""
import sys
site, *words = sys.argv[1:]
sys.path[:] = [p for p in sys.path if not p.endswith("scripts/package")]
sys.path[:0] = [site, {sysconfig.get_path("purelib")!r}]
if words[0] == "-c":
    exec(words[1])
else:
    import runpy
    sys.argv = ["stationkeep", *words]
    runpy.run_module("stationkeep", run_name="__main__")
"""


def test_nothing_is_installed_beside_our_package(site: Path) -> None:
    found = {entry.name for entry in site.iterdir() if not entry.name.endswith(".dist-info")}
    assert found == {"stationkeep", *THEIRS}
    assert (site / "stationkeep" / "py.typed").exists()


def test_the_source_archive_makes_the_same_wheel(site: Path, tmp_path: Path) -> None:
    [archive] = SdistBuilder(str(ROOT)).build(directory=str(tmp_path))
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    [source] = (entry for entry in tmp_path.iterdir() if entry.is_dir())
    [wheel] = WheelBuilder(str(source)).build(directory=str(tmp_path), versions=["standard"])
    theirs = {f"{name}/__init__.py" for name in THEIRS}
    from_checkout = {p.relative_to(site).as_posix() for p in site.rglob("*") if p.is_file()}
    assert set(ZipFile(wheel).namelist()) == from_checkout - theirs


def test_it_lives_beside_others_and_is_public(site: Path) -> None:
    script = (
        "import cluster, node, stationkeep; assert cluster.THEIRS and node.THEIRS;"
        "from stationkeep import DeviceAgent; print(DeviceAgent.__module__, stationkeep.__file__)"
    )
    module, file = python(site, "-c", script).split()
    assert module == "stationkeep.node.agent.client"
    assert Path(file).is_relative_to(site)


def test_it_says_which_release_it_is(site: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert python(site, "--version") == f"stationkeep {project['version']}\n"


def test_pages_and_documents_are_in_it(site: Path) -> None:
    assert python(site, "guide", "start").startswith("# ")
    assert (site / "stationkeep" / "node" / "dashboard" / "app.js").exists()
