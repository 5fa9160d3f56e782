"""The directory that a device's tasks survive in."""

import os
from pathlib import Path

import pytest

from stationkeep.node.agent.tasks.spool import MAX_BOOK_BYTES, Spool, SpoolError, present_moment


def test_what_was_saved_is_there_at_the_next_start(tmp_path: Path) -> None:
    place = tmp_path / "state" / "phone"
    with Spool(place) as spool:
        assert spool.load() is None
        spool.save(b"one")
        spool.save(b"two")
    with Spool(place) as spool:
        assert spool.load() == b"two"
    assert place.stat().st_mode & 0o077 == 0


def test_two_agents_share_no_spool(tmp_path: Path) -> None:
    with Spool(tmp_path), pytest.raises(SpoolError, match="another agent uses it"):
        Spool(tmp_path)
    Spool(tmp_path).close()


def test_where_others_may_write_nothing_is_safe(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(SpoolError, match="others may write there"):
        Spool(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    with pytest.raises(SpoolError, match="belongs to another user"):
        Spool(tmp_path)
    os.chown(tmp_path, 0, 0)


def test_what_is_no_directory_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for place in (file, file / "below"):
        with pytest.raises(SpoolError, match=r"file.*: "):
            Spool(place)


def test_a_book_without_end_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "tasks.json").write_bytes(b" " * (MAX_BOOK_BYTES + 1))
    with Spool(tmp_path) as spool, pytest.raises(OSError, match="more than"):
        spool.load()


def test_time_passes_and_the_boot_stays() -> None:
    first, second = present_moment(), present_moment()
    assert first.boot == second.boot
    assert second.since(first) >= 0


def test_nobody_else_may_read_or_write_what_is_kept(tmp_path: Path) -> None:
    former = os.umask(0)
    try:
        with Spool(tmp_path) as spool:  # of an operator who lets others look into the directory
            spool.save(b"{}")
    finally:
        os.umask(former)
    modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
    assert modes == {"tasks.json": 0o600, "lock": 0o600}


def test_a_book_that_is_a_pipe_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "tasks.json")
    with Spool(tmp_path) as spool, pytest.raises(OSError, match="not a regular file"):
        spool.load()
