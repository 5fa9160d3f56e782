"""What a node opens and makes."""

import os
from pathlib import Path

import pytest

from stationkeep.node.config.node_config import ConfigError, load
from stationkeep.node.health.replay import ReplayError, read_recording
from stationkeep.node.system.operator_files import private_directory, regular


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="not a regular file"):
        regular(str(pipe), os.O_RDONLY)
    with pytest.raises(ConfigError, match="not a regular file"):
        load(pipe, {})
    with pytest.raises(ReplayError, match="not a regular file"):
        read_recording(pipe)


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
