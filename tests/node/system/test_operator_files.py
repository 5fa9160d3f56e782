"""What a node opens and makes."""

import os
import stat
from pathlib import Path

import pytest

from stationkeep.node.config.node_config import ConfigError, load
from stationkeep.node.health.replay import ReplayError, read_recording
from stationkeep.node.system.operator_files import private_directory, read_small, regular


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="not a regular file"):
        regular(str(pipe), os.O_RDONLY)
    with pytest.raises(ConfigError, match="not a regular file"):
        load(pipe, {})
    with pytest.raises(OSError, match="not a regular file"):
        read_small(pipe, 1)
    with pytest.raises(ReplayError, match="not a regular file"):
        read_recording(pipe)


def test_a_file_is_read_up_to_its_limit_and_no_further(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"1234")
    assert read_small(file, 4) == b"1234"
    with pytest.raises(OSError, match="has more than 3 bytes"):
        read_small(str(file), 3)


def test_what_a_node_makes_is_closed_to_others_and_no_more(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    before = os.umask(0)
    try:
        shared.mkdir(mode=0o755)
        private_directory(tmp_path / "new")
    finally:
        os.umask(before)
    private_directory(shared)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    assert shared.stat().st_mode & 0o777 == 0o755, "others may need it"


def test_what_is_made_on_the_way_to_a_directory_is_as_private(tmp_path: Path) -> None:
    """As of a node that stores its certificate before its journal."""
    private_directory(tmp_path / "data" / "tls")
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    private_directory(tmp_path / "data")
    (tmp_path / "file").touch()
    for below in ("file", "file/below"):
        with pytest.raises(OSError, match=r"exists|Not a directory"):
            private_directory(tmp_path / below)
