"""What a node does while another CA takes the place of the first, and whom it tells of its key."""

import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stationkeep.cluster.commands import FollowCa
from stationkeep.cluster.state.state import CaPhase, CaRotation, CaStep
from stationkeep.node.duty import RETRY, Workbench
from stationkeep.node.runtime.ca_follower import ANSWER_SECONDS, LOOK_SECONDS, MESSAGE, CaFollower
from stationkeep.node.security import certificates as made
from stationkeep.node.security.rotation import CaFiles, is_entitled
from tests.node.security.issuing import at, authority
from tests.node.security.test_rotation import machine, renewal

FIRST_PEM = made.public_pem([authority().certificate])


class Links:
    """Notes what is sent; all peers are there."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []

    def connected(self, peer: str) -> bool:
        return peer != "a"

    def send(self, peer: str, message: dict[str, Any]) -> bool:
        self.sent.append((peer, message))
        return True


class World:
    """Node `a` of the cluster `a`, `b`, `c`, in a directory."""

    def __init__(self, directory: Path) -> None:
        self.now, self.links = 100.0, Links()
        self.proposed: list[FollowCa] = []
        self.state = SimpleNamespace(
            members=dict.fromkeys("abc"), rotation=None, dropped={}, revoked={}
        )
        clock = SimpleNamespace(monotonic=lambda: self.now, wall=lambda: time.time() * 1_000)
        bench = Workbench(
            "a",
            SimpleNamespace(clock=clock),  # type: ignore[arg-type]
            SimpleNamespace(leader="b"),  # type: ignore[arg-type]
            SimpleNamespace(state=self.state),  # type: ignore[arg-type]
            lambda command, *_: self.proposed.append(command),  # type: ignore[arg-type]
        )
        self.renewal = renewal(machine(directory))
        self.files = CaFiles(directory / "ca.pem")
        self.follower = CaFollower(bench, self.renewal, self.links)  # type: ignore[arg-type]

    def turn(self, seconds: float = 0.0) -> None:
        self.now += seconds
        self.follower.turn()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "a")


@pytest.fixture
def elsewhere(tmp_path: Path) -> CaFiles:
    """Of the node at which the rotation was started."""
    return CaFiles(machine(tmp_path / "b") / "ca.pem")


def begin(world: World, files: CaFiles) -> CaRotation:
    rotation = world.state.rotation = CaRotation(*files.make(at(0), ()))
    return rotation


def key_of(files: CaFiles, rotation: CaRotation) -> dict[str, Any]:
    return {"kind": MESSAGE, "pin": rotation.pin, "key": files.key(rotation.pin)}


def question(files: CaFiles, node: str, rotation: CaRotation) -> dict[str, Any]:
    return {"kind": MESSAGE, "pin": rotation.pin, "claim": files.claim(node, rotation.pin)}


def test_where_nothing_is_replaced_nothing_is_done(world: World) -> None:
    world.turn()
    world.follower.receive("b", {"kind": MESSAGE, "pin": "sha256:1"})
    assert (world.proposed, world.links.sent, world.follower.rejected()) == ([], [], None)


def test_it_asks_all_for_the_key_until_it_has_it_and_says_how_far_it_is_until_that_is_known(
    world: World, elsewhere: CaFiles
) -> None:
    rotation = begin(world, elsewhere)
    world.turn()
    assert [peer for peer, _ in world.links.sent] == ["b", "c"]
    for _, question in world.links.sent:
        assert question["pin"] == rotation.pin
        assert is_entitled(question["claim"], "a", rotation)
    assert world.proposed == []  # without the key it could not renew
    world.turn(LOOK_SECONDS)
    assert len(world.links.sent) == 4
    world.follower.receive("b", key_of(elsewhere, rotation))
    world.turn()
    world.turn()
    assert world.proposed == [FollowCa("a", rotation.pin, "trusts")]
    world.turn(RETRY)
    assert len(world.proposed) == 2
    world.state.rotation = CaRotation(*rotation_of(rotation), reached={"a": CaStep.TRUSTS})
    world.turn(RETRY)
    assert len(world.proposed) == 2
    world.state.rotation = CaRotation(
        *rotation_of(rotation), CaPhase.ISSUING, reached={"a": CaStep.TRUSTS}
    )
    world.turn()
    assert world.proposed[-1] == FollowCa("a", rotation.pin, "shows")
    assert world.renewal.contexts.current.issued_by == rotation.pin


def rotation_of(rotation: CaRotation) -> tuple[str, str, tuple[str, ...]]:
    return rotation.pin, rotation.pem, rotation.first


def test_the_key_is_told_to_members_alone_and_no_other_key_to_anybody(
    world: World, elsewhere: CaFiles
) -> None:
    rotation = begin(world, world.files)
    first = made.pin(authority().certificate)
    for peer, pin in (
        ("d", rotation.pin),
        ("b", first),
        ("b", None),
        ("b", [rotation.pin]),
        ("b", elsewhere.make(at(0), ()).pin),
    ):
        claim = elsewhere.claim(peer, str(pin))
        world.follower.receive(peer, {"kind": MESSAGE, "pin": pin, "claim": claim})
        world.now += ANSWER_SECONDS
    world.follower.receive("b", {"kind": MESSAGE})
    assert world.links.sent == []
    for _ in range(5):
        world.follower.receive("b", question(elsewhere, "b", rotation))
    world.now += ANSWER_SECONDS
    world.follower.receive("c", question(elsewhere, "c", rotation))
    assert world.links.sent == [(peer, key_of(world.files, rotation)) for peer in "bc"]


@pytest.mark.parametrize("claim", ["none", "text", "nonsense", "foreign", "overheard", "other"])
def test_a_member_that_has_not_the_first_key_is_not_told_the_second(
    world: World, elsewhere: CaFiles, tmp_path: Path, claim: str
) -> None:
    """It was given its certificate, and could make nobody a member."""
    rotation = begin(world, world.files)
    made.write(tmp_path / "ca.key", made.private_pem(made.new_key()), made.PRIVATE)
    stranger = CaFiles(tmp_path / "ca.pem")
    said: dict[str, Any] = {
        "text": "please",
        "nonsense": b"-----BEGIN CERTIFICATE REQUEST-----",
        "foreign": stranger.claim("b", rotation.pin),
        "overheard": elsewhere.claim("c", rotation.pin),
        "other": elsewhere.claim("b", "sha256:1"),
    }
    message = {"claim": said[claim]} if claim in said else {}
    world.follower.receive("b", {"kind": MESSAGE, "pin": rotation.pin, **message})
    assert world.links.sent == []


@pytest.mark.parametrize("key", [b"", b"nonsense", "text", 7, ["x"], b"another", b"x" * 2**20])
def test_what_is_not_the_key_is_not_kept(world: World, elsewhere: CaFiles, key: Any) -> None:
    rotation = begin(world, elsewhere)
    world.turn()
    if key == b"another":
        key = made.private_pem(made.new_key())
    world.follower.receive("b", {"kind": MESSAGE, "pin": rotation.pin, "key": key})
    assert world.files.lacks(rotation.pin)
    assert world.follower.rejected() is None


def test_a_directory_that_cannot_be_written_to_is_named_until_somebody_else_has_done_it(
    world: World, elsewhere: CaFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rotation = begin(world, elsewhere)
    elsewhere.follow(rotation, (), at(0))

    def full(path: Path, *_: object) -> None:
        raise OSError(30, "Read-only file system", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(made, "write", full)
        world.turn()
        assert f"{tmp_path}/a/ca.pem: Read-only" in (world.follower.rejected() or "")
        assert world.proposed == []
        for name in ("ca.pem", "ca.next.key"):
            shutil.copy(tmp_path / "b" / name, tmp_path / "a" / name)
        world.turn(LOOK_SECONDS)
    assert world.follower.rejected() is None
    assert world.proposed == [FollowCa("a", rotation.pin, "trusts")]


def test_a_second_ca_that_would_not_do_here_is_not_trusted_and_that_is_said(world: World) -> None:
    ends = made.new_authority("c", at(1 - made.CA_DAYS), uid=authority().uid).certificate
    pem = made.public_pem([ends]).decode()
    first = (made.pin(authority().certificate),)
    world.state.rotation = CaRotation(made.pin(ends), pem, first)
    world.turn()
    assert "the second CA ends on" in (world.follower.rejected() or "")
    assert world.proposed == []


def test_one_that_comes_back_after_the_end_follows_and_has_nothing_to_say(
    world: World, elsewhere: CaFiles
) -> None:
    rotation = begin(world, elsewhere)
    world.turn()
    world.follower.receive("b", key_of(elsewhere, rotation))
    world.proposed.clear()
    world.state.rotation = CaRotation(*rotation_of(rotation), CaPhase.OVER)
    world.state.dropped = dict.fromkeys(rotation.first, 0)
    world.turn()
    assert world.proposed == []
    assert world.renewal.contexts.current.pins == [rotation.pin]
    assert not world.files.lacks(rotation.pin)


def test_files_of_before_that_somebody_puts_back_are_mended(
    world: World, elsewhere: CaFiles
) -> None:
    rotation = begin(world, elsewhere)
    world.turn()
    world.follower.receive("b", key_of(elsewhere, rotation))
    world.state.rotation = CaRotation(*rotation_of(rotation), CaPhase.OVER)
    world.state.dropped = dict.fromkeys(rotation.first, 0)
    world.renewal.contexts.dropped = lambda: world.state.dropped
    world.turn()
    before = world.renewal.contexts.current
    made.write(before_ca := world.renewal.contexts.files.ca, FIRST_PEM, made.PUBLIC)
    world.renewal.contexts.look()
    assert world.renewal.contexts.current is before
    world.turn(LOOK_SECONDS)
    assert before_ca.read_bytes() == made.public_pem(before.bundle)
    assert world.renewal.contexts.rejected is None
