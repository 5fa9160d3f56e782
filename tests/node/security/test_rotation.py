"""Another CA in the place of the first, step by step, interrupted anywhere, and back."""

import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stationkeep.node.security import certificates as made
from stationkeep.node.security.certificates import CertificateError
from stationkeep.node.security.contexts import Contexts, Files
from stationkeep.node.security.renewal import Issuer, Renewal
from stationkeep.node.security.rotation import Phase, Rotation
from tests.node.security.issuing import at, authority


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made.write(tmp_path / "ca.pem", made.public_pem([authority().certificate]), made.PUBLIC)
    made.write(tmp_path / "ca.key", made.private_pem(authority().key), 0o640)
    return tmp_path


def renewal(directory: Path, name: str = "a") -> Renewal:
    """Of a node that has the CA's key."""
    file = directory / name / "node.pem"
    issuer = Issuer(directory / "ca.pem", directory / "ca.key", file, name, [])
    assert issuer.renew(time.time()), issuer.failed
    return Renewal(Contexts(Files(directory / "ca.pem", file, file), name), issuer)


def state(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.iterdir() if file.is_file()}


def test_a_node_follows_by_itself_and_never_shows_what_is_not_trusted(directory: Path) -> None:
    node, rotation = renewal(directory), Rotation(directory)
    first = made.pin(authority().certificate)
    seen = []
    for step in (lambda: rotation.start(at(0)), rotation.switch, rotation.finish):
        step()
        node.look()
        assert node.contexts.rejected is None
        current = node.contexts.current
        seen.append((current.issued_by == first, len(current.pins), current.uid))
    uid = authority().uid
    assert seen == [(True, 2, uid), (False, 2, uid), (False, 1, uid)]
    assert node.contexts.current.pins == [node.contexts.current.issued_by]
    assert sorted(state(directory)) == ["ca.key", "ca.pem"]
    assert rotation.phase is Phase.NONE
    (second,) = node.contexts.current.bundle
    assert made.subject_of(second) == "ca"
    assert second.subject == authority().certificate.subject


def test_each_step_is_taken_back_by_abort_until_the_end(directory: Path) -> None:
    node, rotation = renewal(directory), Rotation(directory)
    before = state(directory)
    rotation.start(at(0))
    started = state(directory)
    rotation.switch()
    node.look()
    rotation.abort()
    assert state(directory) == started
    node.look()
    assert node.contexts.current.issued_by == made.pin(authority().certificate)
    rotation.abort()
    assert state(directory) == before
    node.look()
    assert node.contexts.rejected is None
    assert len(node.contexts.current.pins) == 1


def test_who_may_read_the_key_may_read_the_next_one(directory: Path) -> None:
    """The node is not always run by who rotates."""
    Rotation(directory).start(at(0))
    key, after = (directory / "ca.key").stat(), (directory / "ca.next.key").stat()
    assert stat.S_IMODE(after.st_mode) == 0o640
    assert (after.st_uid, after.st_gid) == (key.st_uid, key.st_gid)


@pytest.mark.parametrize("step", ["switch", "finish", "abort"])
def test_what_has_not_begun_has_no_further_steps(directory: Path, step: str) -> None:
    before = state(directory)
    with pytest.raises(CertificateError, match="no rotation has been started"):
        getattr(Rotation(directory), step)()
    assert state(directory) == before


def test_the_order_of_steps_is_kept(directory: Path) -> None:
    rotation = Rotation(directory)
    rotation.start(at(0))
    with pytest.raises(CertificateError, match="`switch` is next"):
        rotation.finish()
    rotation.switch()
    with pytest.raises(CertificateError, match="`finish` is next"):
        rotation.start(at(0))


class Died(BaseException):
    """The process ends here."""


def dies_at(patch: pytest.MonkeyPatch, number: int) -> Callable[[], int]:
    """Before so many changes of a directory; how many there were is what is returned."""
    count = 0

    def counted(original: Callable[..., object]) -> Callable[..., object]:
        def instead(*args: object, **kwargs: object) -> object:
            nonlocal count
            if count == number:
                raise Died
            count += 1
            return original(*args, **kwargs)

        return instead

    patch.setattr(Path, "replace", counted(Path.replace))
    patch.setattr(Path, "unlink", counted(Path.unlink))
    patch.setattr(os, "chown", counted(os.chown))
    return lambda: count


STEPS = ("start", "switch", "finish")


def take(rotation: Rotation, step: str) -> None:
    if step == "start":
        rotation.start(at(0))
    else:
        getattr(rotation, step)()


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_was_interrupted_anywhere_is_repeated_and_the_node_goes_on(
    directory: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The node looks after its files at the worst moment as well."""
    node, rotation = renewal(directory), Rotation(directory)
    for done in STEPS[: STEPS.index(step)]:
        take(rotation, done)
        node.look()
    kept = state(directory)
    for number in range(32):
        for name in state(directory).keys() - kept.keys():
            (directory / name).unlink()
        for name, content in kept.items():
            (directory / name).write_bytes(content)
        with monkeypatch.context() as patch:
            counted = dies_at(patch, number)
            try:
                take(rotation, step)
            except Died:
                pass
            else:
                assert counted() == number > 0
                return
        node.look()
        assert node.contexts.rejected is None
        take(Rotation(directory), step)
        after = {"start": Phase.STARTED, "switch": Phase.SWITCHED, "finish": Phase.NONE}
        assert rotation.phase is after[step]
        node.look()
        assert node.contexts.rejected is None
    raise AssertionError("it never ends")


def test_an_abort_that_was_interrupted_leaves_a_key_that_issues(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, rotation = renewal(directory), Rotation(directory)
    rotation.start(at(0))
    rotation.switch()
    with monkeypatch.context() as patch:
        dies_at(patch, 1)
        with pytest.raises(Died):
            rotation.abort()
    assert rotation.phase is Phase.STARTED
    node.look()
    rotation.switch()
    node.look()
    rotation.finish()
    node.look()
    assert node.contexts.rejected is None
    assert len(node.contexts.current.pins) == 1


def test_a_key_that_is_gone_makes_nobody_renew(directory: Path) -> None:
    node = renewal(directory)
    (directory / "ca.key").unlink()
    before = node.contexts.current
    node.look()
    assert node.contexts.current is before
    assert node.expiring() is None


def test_an_end_that_was_interrupted_has_no_way_back_and_leaves_a_ca(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two steps back from there would have trusted nobody."""
    rotation = Rotation(directory)
    rotation.start(at(0))
    rotation.switch()
    with monkeypatch.context() as patch:
        dies_at(patch, 2)
        with pytest.raises(Died):
            rotation.finish()
    before = state(directory)
    for _ in range(2):
        with pytest.raises(CertificateError, match="`finish` is next"):
            rotation.abort()
    assert state(directory) == before
    rotation.finish()
    assert len(made.certificates_in((directory / "ca.pem").read_bytes())) == 1


def test_a_key_of_no_ca_here_takes_away_none(directory: Path) -> None:
    """As one of another directory, copied for a start that was never made in this one."""
    made.write(directory / "ca.next.key", made.private_pem(made.new_key()), made.PRIVATE)
    before = (directory / "ca.pem").read_bytes()
    Rotation(directory).abort()
    assert (directory / "ca.pem").read_bytes() == before
    (directory / "ca.next.key").write_bytes((directory / "ca.key").read_bytes())
    with pytest.raises(CertificateError, match=r"ca\.next\.key"):
        Rotation(directory).abort()
    assert (directory / "ca.pem").read_bytes() == before
