"""What a node opens and makes."""

import os
from pathlib import Path

import pytest

from node.config import ConfigError, load
from node.files import private_directory, regular
from node.sensors import ReplayError, read_recording


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="not a regular file"):
        regular(str(pipe), os.O_RDONLY)
    with pytest.raises(ConfigError, match="not a regular file"):
        load(pipe, {})
    with pytest.raises(ReplayError, match="not a regular file"):
        read_recording(pipe)


def test_what_a_node_keeps_is_closed_to_others(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        for path in (tmp_path / "new", tmp_path / "old"):
            if path.name == "old":
                path.mkdir(mode=0o755)
            private_directory(path)
            assert path.stat().st_mode & 0o777 == 0o700
    finally:
        os.umask(old)
