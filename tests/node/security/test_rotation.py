"""The files of a CA that another replaces: as the state says, interrupted anywhere, and back."""

import os
import stat
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from stationkeep.cluster.state.state import CaPhase, CaRotation
from stationkeep.node.security import certificates as made
from stationkeep.node.security.certificates import CertificateError
from stationkeep.node.security.contexts import Contexts, Files
from stationkeep.node.security.renewal import Issuer, Renewal
from stationkeep.node.security.rotation import CaFiles
from tests.node.security.issuing import at, authority

PHASES = (CaPhase.TRUSTING, CaPhase.ISSUING, CaPhase.OVER)
FIRST = made.pin(authority().certificate)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return machine(tmp_path)


def machine(directory: Path) -> Path:
    """A directory with the first CA and its key."""
    directory.mkdir(exist_ok=True)
    made.write(directory / "ca.pem", made.public_pem([authority().certificate]), made.PUBLIC)
    made.write(directory / "ca.key", made.private_pem(authority().key), made.PRIVATE)
    return directory


def renewal(directory: Path, name: str = "a") -> Renewal:
    """Of a node that has the CA's key."""
    file = directory / name / "node.pem"
    issuer = Issuer(directory / "ca.pem", directory / "ca.key", file, name, [])
    assert issuer.renew(time.time()), issuer.failed
    return Renewal(Contexts(Files(directory / "ca.pem", file, file), name), issuer)


def content(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.iterdir() if file.is_file()}


def begun(directory: Path) -> CaRotation:
    return CaRotation(*CaFiles(directory / "ca.pem").make(at(0), ()))


def follow(directory: Path, rotation: CaRotation, phase: CaPhase) -> None:
    dropped = {CaPhase.OVER: rotation.first, CaPhase.ABORTED: (rotation.pin,)}.get(phase, ())
    said = CaRotation(rotation.pin, rotation.pem, rotation.first, phase)
    CaFiles(directory / "ca.pem").follow(said, dropped, at(0))


def test_a_node_follows_and_never_shows_what_is_not_trusted(directory: Path) -> None:
    node, rotation = renewal(directory), begun(directory)
    seen = []
    for phase in PHASES:
        follow(directory, rotation, phase)
        node.look()
        assert node.contexts.rejected is None
        current = node.contexts.current
        seen.append((current.issued_by == FIRST, len(current.pins), current.uid))
    uid = authority().uid
    assert seen == [(True, 2, uid), (False, 2, uid), (False, 1, uid)]
    assert node.contexts.current.pins == [rotation.pin]
    assert sorted(content(directory)) == ["ca.key", "ca.pem"]
    (second,) = node.contexts.current.bundle
    assert second.subject == authority().certificate.subject
    assert stat.S_IMODE((directory / "ca.key").stat().st_mode) == 0o600


def test_each_step_is_taken_back_until_the_end(directory: Path) -> None:
    node, before = renewal(directory), content(directory)
    rotation = begun(directory)
    for phase in (CaPhase.TRUSTING, CaPhase.ISSUING, CaPhase.TRUSTING):
        follow(directory, rotation, phase)
        node.look()
        assert node.contexts.rejected is None
    assert node.contexts.current.issued_by == FIRST
    assert len(node.contexts.current.pins) == 2
    follow(directory, rotation, CaPhase.ABORTED)
    assert content(directory) == before


def test_who_slept_through_all_of_it_catches_up_in_one_step(
    directory: Path, tmp_path: Path
) -> None:
    rotation = begun(machine(tmp_path / "other"))
    node = renewal(directory)
    key = CaFiles(tmp_path / "other" / "ca.pem").key(rotation.pin)
    assert key is not None
    CaFiles(directory / "ca.pem").take(key, rotation.pin)
    follow(directory, rotation, CaPhase.OVER)
    node.look()
    assert node.contexts.current.pins == [rotation.pin] == [node.contexts.current.issued_by]


def test_who_lacks_the_key_trusts_both_and_goes_on_issuing_by_the_first(directory: Path) -> None:
    files = CaFiles(directory / "ca.pem")
    rotation = begun(directory)
    (directory / "ca.next.key").unlink()
    assert files.lacks(rotation.pin)
    for phase in (CaPhase.TRUSTING, CaPhase.ISSUING):
        follow(directory, rotation, phase)
    assert made.authority(*map(made.read, (directory / "ca.pem", directory / "ca.key"))).uid
    assert len(made.certificates_in((directory / "ca.pem").read_bytes())) == 2


def test_a_node_that_is_given_certificates_needs_no_key(directory: Path) -> None:
    rotation = begun(directory)
    for name in ("ca.key", "ca.next.key"):
        (directory / name).unlink()
    assert not CaFiles(directory / "ca.pem").lacks(rotation.pin)
    for phase in (CaPhase.TRUSTING, CaPhase.ISSUING, CaPhase.OVER):
        follow(directory, rotation, phase)
    assert sorted(content(directory)) == ["ca.pem"]
    (only,) = made.certificates_in((directory / "ca.pem").read_bytes())
    assert made.pin(only) == rotation.pin


def test_a_second_ca_that_was_begun_is_taken_up_again_unless_it_was_given_up(
    directory: Path,
) -> None:
    files = CaFiles(directory / "ca.pem")
    one = files.make(at(0), ())
    assert files.make(at(1), ()).pin == one.pin
    assert files.make(at(1), (one.pin,)).pin != one.pin
    assert one.first == (FIRST,)


def test_a_key_of_another_ca_is_not_kept(directory: Path) -> None:
    rotation, before = begun(directory), content(directory)
    for key in (made.private_pem(made.new_key()), b"", b"nonsense"):
        with pytest.raises(CertificateError):
            CaFiles(directory / "ca.pem").take(key, rotation.pin)
    assert content(directory) == before


def test_nobody_is_made_to_trust_the_ca_of_another_cluster(directory: Path) -> None:
    before = content(directory)
    foreign = authority("foreign").certificate
    pem = made.public_pem([foreign]).decode()
    with pytest.raises(CertificateError, match="is of uid"):
        CaFiles(directory / "ca.pem").given(pem, at(0))
    with pytest.raises(CertificateError, match="is of uid"):
        follow(directory, CaRotation(made.pin(foreign), pem, (FIRST,)), CaPhase.TRUSTING)
    assert content(directory) == before


@pytest.mark.parametrize(
    ("made_on", "why"),
    [(1 - made.CA_DAYS, "ends on"), (-1 - made.CA_DAYS, "ends on"), (30, "is not valid before")],
)
def test_a_ca_that_would_not_do_for_long_takes_the_place_of_none(
    directory: Path, made_on: float, why: str
) -> None:
    """Once it issued, no member would accept another, and nothing could be ordered any more."""
    second = made.new_authority("c", at(made_on), uid=authority().uid).certificate
    pem, before = made.public_pem([second]).decode(), content(directory)
    with pytest.raises(CertificateError, match=why):
        CaFiles(directory / "ca.pem").given(pem, at(0))
    with pytest.raises(CertificateError, match=why):
        follow(directory, CaRotation(made.pin(second), pem, (FIRST,)), CaPhase.TRUSTING)
    assert content(directory) == before


def test_a_ca_that_does_not_say_of_which_cluster_may_follow_another_such(directory: Path) -> None:
    first, second = (nameless(at(-days)) for days in (2_000, 1))
    made.write(directory / "ca.pem", made.public_pem([first]), made.PUBLIC)
    (directory / "ca.key").unlink()
    given = CaFiles(directory / "ca.pem").given(made.public_pem([second]).decode(), at(0))
    follow(directory, CaRotation(*given), CaPhase.TRUSTING)
    assert made.certificates_in((directory / "ca.pem").read_bytes()) == [first, second]


def nameless(now: datetime) -> x509.Certificate:
    """A CA that a company has for everything."""
    key, name = made.new_key(), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Root")])
    return (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=made.CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())  # type: ignore[arg-type]
    )


def test_a_clock_that_is_wrong_for_sure_judges_no_date(directory: Path) -> None:
    second = made.new_authority("c", at(0), uid=authority().uid).certificate
    rotation = CaRotation(made.pin(second), made.public_pem([second]).decode(), (FIRST,))
    CaFiles(directory / "ca.pem").follow(rotation, (), datetime.fromtimestamp(0, UTC))
    assert len(made.certificates_in((directory / "ca.pem").read_bytes())) == 2


@pytest.mark.parametrize("pem", ["", "PEM", "both", "leaf"])
def test_what_is_no_ca_is_refused(directory: Path, pem: str) -> None:
    ca = authority().certificate
    both = made.public_pem([ca, ca]).decode()
    leaf = made.public_pem([renewal(directory).contexts.current.pair.leaf]).decode()
    with pytest.raises(CertificateError):
        CaFiles(directory / "ca.pem").given({"both": both, "leaf": leaf}.get(pem, pem), at(0))


def test_whatever_is_dropped_somebody_stays_trusted(directory: Path) -> None:
    before = content(directory)["ca.pem"]
    rotation = begun(directory)
    CaFiles(directory / "ca.pem").follow(rotation, (FIRST, rotation.pin), at(0))
    assert content(directory)["ca.pem"] == before


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
    patch.setattr(os, "fchmod", counted(os.fchmod))
    return lambda: count


@pytest.mark.parametrize("step", [*PHASES, "back", CaPhase.ABORTED])
def test_what_was_interrupted_anywhere_is_repeated_and_the_node_goes_on(
    directory: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The node looks after its files at the worst moment as well."""
    node, rotation = renewal(directory), begun(directory)
    before = {"back": PHASES[:2], CaPhase.ABORTED: PHASES[:1]}
    done = before.get(step) or PHASES[: PHASES.index(CaPhase(step))]
    for phase in done:
        follow(directory, rotation, phase)
        node.look()
    target = CaPhase.TRUSTING if step == "back" else CaPhase(step)
    kept = content(directory)
    for number in range(64):
        for name in content(directory).keys() - kept.keys():
            (directory / name).unlink()
        for name, was in kept.items():
            (directory / name).write_bytes(was)
        with monkeypatch.context() as patch:
            counted = dies_at(patch, number)
            try:
                follow(directory, rotation, target)
            except Died:
                pass
            else:
                assert counted() == number > 0
                return
        node.look()
        assert node.contexts.rejected is None
        follow(directory, rotation, target)
        node.look()
        assert node.contexts.rejected is None
        wanted = rotation.pin if target in (CaPhase.ISSUING, CaPhase.OVER) else FIRST
        assert node.contexts.current.issued_by == wanted
        assert len(node.contexts.current.pins) == (1 if target not in PHASES[:2] else 2)
    raise AssertionError("it never ends")


def test_a_key_that_is_gone_makes_nobody_renew(directory: Path) -> None:
    node = renewal(directory)
    (directory / "ca.key").unlink()
    before = node.contexts.current
    node.look()
    assert node.contexts.current is before
    assert node.expiring() is None
