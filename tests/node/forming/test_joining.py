"""`join`: against the real door of a node, without a socket in between, and killed everywhere."""

import asyncio
import contextlib
import ssl
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from stationkeep.cluster.commands import AnyCommand, Draft, Invite, MemberSpec, RemoveMember
from stationkeep.node.api.app import build
from stationkeep.node.client.exchange import Answer, Call, exchange
from stationkeep.node.config.node_config import load
from stationkeep.node.config.tls import OWN_FILE
from stationkeep.node.forming import joining
from stationkeep.node.forming.joining import KEY_FILE, Joined, join
from stationkeep.node.forming.place import FormingError, Place, alone_in
from stationkeep.node.ports import NotProposed
from stationkeep.node.security import certificates as made
from stationkeep.node.security.contexts import Contexts
from stationkeep.node.security.invitations import Word, draw
from stationkeep.node.security.registrar import Registrar
from tests.node.api.fake import FakeNode
from tests.node.forming.killed import Killed, killed_after
from tests.node.security.issuing import at, authority, files

THERE = "127.0.0.1:8701"
HOUR = 3_600_000
CA = authority()


class Cluster:
    """A node that takes others in, and what becomes of what is said to it. `requests`: what was
    said, and whether whoever heard it had proven to be of the cluster."""

    def __init__(self, folder: Path) -> None:
        self.node = FakeNode().with_primary()
        self.node.state.uid = CA.uid
        own = files(folder, "sat-001")
        key = folder / "ca.key"
        key.write_bytes(made.private_pem(CA.key))
        contexts, registrar = Contexts(own, "sat-001"), Registrar(own.ca, key)
        self.app: Any = build(self.node, certified=contexts, registrar=registrar)
        self.requests: list[tuple[Call, bool]] = []
        self.lose: Callable[[Call], bool] = lambda _: False

    def ask(self, address: str, call: Call, trusted: ssl.SSLContext) -> Answer:
        self.requests.append((call, trusted.verify_mode is ssl.CERT_REQUIRED))

        async def answered() -> Answer:
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport) as http:
                return await exchange(http, f"http://{address}", call)

        answer = asyncio.run(answered())
        if self.lose(call):
            raise joining.NotNowError("the answer was lost")
        problem = joining.problem_of(answer)
        if problem is None:
            return answer
        kind = joining.NotNowError if problem.status in (429, 503) else FormingError
        raise kind(problem.line)

    def order(self, command: AnyCommand) -> None:
        self.node.log(Draft(command, key=f"op-{self.node.state.index}", actor="ann"))

    def invite(self, **more: Any) -> Word:
        word = draw(CA.uid, made.pin(CA.certificate))
        given = {"uses": 1, "lifetime": HOUR} | more
        self.order(Invite(word.id, word.hash, **given))
        return word


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    found = Cluster(tmp_path / "cluster")
    monkeypatch.setattr(joining, "_asked", found.ask)
    monkeypatch.setattr(joining, "REST_SECONDS", 0.0)
    return found


def place(tmp_path: Path, node: str = "sat-009") -> Place:
    own = MemberSpec(node, "127.0.0.1:7709", "127.0.0.1:8709")
    return Place(tmp_path / node / "etc" / "node.yaml", tmp_path / node / "data", own)


def test_a_machine_becomes_a_node_that_starts(cluster: Cluster, tmp_path: Path) -> None:
    where, word = place(tmp_path), cluster.invite()
    assert join(where, THERE, word) == Joined(cluster.node.state.cluster_id)
    config = load(where.config, {})
    assert (config.node, config.uid, config.join, config.auth) == (
        "sat-009", CA.uid, True, "required",
    )  # fmt: skip
    assert {member.id for member in config.members} == set(cluster.node.state.members)
    for secret in (where.ca_key, where.data_dir / OWN_FILE):
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert stat.S_IMODE(where.data_dir.stat().st_mode) == 0o700
    assert not (where.data_dir / KEY_FILE).exists()
    written = [path for path in tmp_path.joinpath("sat-009").rglob("*") if path.is_file()]
    assert all(word.text.encode() not in path.read_bytes() for path in written)


def test_the_key_never_leaves_and_the_word_goes_only_to_who_has_proven_itself(
    cluster: Cluster, tmp_path: Path
) -> None:
    where, word = place(tmp_path), cluster.invite()
    join(where, THERE, word)
    key = made.key_in((where.data_dir / OWN_FILE).read_bytes())
    private = made.private_pem(key).splitlines()[1]
    for call, proven in cluster.requests:
        said = (call.body or b"") + repr(call.headers()).encode() + call.path.encode()
        assert private not in said
        assert proven or word.text.encode() not in said
    assert [(call.path, proven) for call, proven in cluster.requests] == [
        ("/v1/tls/ca", False), ("/v1/join", True),
    ]  # fmt: skip


def test_somebody_else_is_told_nothing_and_nothing_is_written(
    cluster: Cluster, tmp_path: Path
) -> None:
    """In the middle, with a CA of its own that says to be the cluster's."""
    word = cluster.invite()
    forged = made.new_authority("c", at(0), uid=CA.uid)
    for other in (forged, authority("foreign")):
        meant = word._replace(pin=made.pin(other.certificate))
        with pytest.raises(FormingError, match="somebody else answers there"):
            join(place(tmp_path), THERE, meant)
    assert all(call.path == "/v1/tls/ca" for call, _ in cluster.requests)
    assert not (tmp_path / "sat-009").exists()


def test_a_second_ca_that_is_slipped_in_beside_the_right_one_is_not_trusted(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted: list[str] = []
    forged = made.public_pem([made.new_authority("c", at(0), uid=CA.uid).certificate]).decode()
    original = joining._read

    def slipped(answer: Answer, shape: type[Any]) -> Any:
        found = original(answer, shape)
        return joining._Ca(forged + found.pem) if shape is joining._Ca else found

    def noted(_server: bool, pem: str, *more: Any) -> ssl.SSLContext:
        trusted.append(pem)
        return made_context(_server, pem, *more)

    made_context = joining.context
    monkeypatch.setattr(joining, "_read", slipped)
    monkeypatch.setattr(joining, "context", noted)
    join(place(tmp_path), THERE, cluster.invite())
    assert trusted == [made.public_pem([CA.certificate]).decode()]


@pytest.mark.parametrize("writes", range(5))
def test_killed_at_any_write_it_is_run_again_and_is_one_member(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    where, word = place(tmp_path), cluster.invite()
    with killed_after(writes, monkeypatch):
        join(where, THERE, word)
    assert not where.config.exists()
    cluster.node.now += 2 * HOUR if writes > 1 else 0  # who was taken in may be late
    join(where, THERE, word)
    assert load(where.config, {}).uid == CA.uid
    assert len(cluster.node.state.invitations[word.id].taken) == 1
    assert [m for m in cluster.node.state.members if m == "sat-009"] == ["sat-009"]
    assert not (where.data_dir / KEY_FILE).exists()


def test_killed_between_the_answer_and_the_end_it_is_the_same_node(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cluster has taken it in, and it does not know."""
    where, word = place(tmp_path), cluster.invite()

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(joining, "_checked", killed)
        with pytest.raises(Killed):
            join(where, THERE, word)
    assert "sat-009" in cluster.node.state.members
    key = (where.data_dir / KEY_FILE).read_bytes()
    join(where, THERE, word)
    assert (where.data_dir / OWN_FILE).read_bytes().startswith(key)


def test_two_at_once_on_one_machine_are_one_after_the_other(
    cluster: Cluster, tmp_path: Path
) -> None:
    where, word = place(tmp_path), cluster.invite()
    with alone_in(where.data_dir / KEY_FILE.parent):
        assert "runs there already" in refused(where, word)
    assert all(call.path == "/v1/tls/ca" for call, _ in cluster.requests)

    def quicker(call: Call) -> bool:
        if call.path == "/v1/tls/ca" and not where.config.exists():
            cluster.lose = lambda _: False
            join(where, THERE, word)
        return False

    cluster.lose = quicker
    assert join(where, THERE, word).before
    assert len(cluster.node.state.invitations[word.id].taken) == 1


def test_run_once_more_after_its_end_it_asks_nobody(cluster: Cluster, tmp_path: Path) -> None:
    where, word = place(tmp_path), cluster.invite()
    join(where, THERE, word)
    before = len(cluster.requests)
    assert join(where, THERE, word).before
    assert len(cluster.requests) == before


def test_answers_that_are_lost_are_asked_for_again(cluster: Cluster, tmp_path: Path) -> None:
    where, word = place(tmp_path), cluster.invite()
    lost = iter([True, True, False])
    cluster.lose = lambda call: call.path == "/v1/join" and next(lost)
    told: list[str] = []
    join(where, THERE, word, told.append)
    assert told == ["the answer was lost; asking again"] * 2
    assert len(cluster.node.state.invitations[word.id].taken) == 1


def test_without_a_leader_it_waits_and_says_at_last_that_it_may_be_run_again(
    cluster: Cluster, tmp_path: Path
) -> None:
    where, word = place(tmp_path), cluster.invite()
    cluster.node.refuse = NotProposed("no_leader")
    with pytest.raises(FormingError, match="run it again: it goes on where it was"):
        join(where, THERE, word)
    assert len(cluster.requests) == 1 + joining.TRIES
    cluster.node.refuse = None
    join(where, THERE, word)


def test_a_full_disk_is_named_and_freed_it_goes_on(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where, word, write = place(tmp_path), cluster.invite(), made.write
    for full in (where.data_dir / KEY_FILE, where.ca, where.data_dir / OWN_FILE, where.config):

        def failing(path: Path, content: bytes, mode: int, full: Path = full) -> None:
            if path == full:
                raise OSError(28, "No space left on device", str(path))
            write(path, content, mode)

        with monkeypatch.context() as patched:
            patched.setattr(made, "write", failing)
            with pytest.raises(FormingError, match=f"{full}: No space left on device"):
                join(where, THERE, word)
    join(where, THERE, word)
    assert len(cluster.node.state.invitations[word.id].taken) == 1


def refused(where: Place, word: Word) -> str:
    with pytest.raises(FormingError) as caught:
        join(where, THERE, word)
    return str(caught.value)


def test_a_machine_of_another_cluster_is_not_made_one_of_this(
    cluster: Cluster, tmp_path: Path
) -> None:
    where, word = place(tmp_path), cluster.invite()
    where.tls_dir.mkdir(parents=True)
    where.ca.write_bytes(made.public_pem([authority("foreign").certificate]))
    assert "is there already, and is of another cluster" in refused(where, word)
    where.ca.write_bytes(b"nonsense")
    assert "is there already, and is no PEM" in refused(where, word)
    where.ca.unlink()
    (where.data_dir / "tls").mkdir(parents=True)
    (where.data_dir / "journal.db").touch()
    assert "has data of a node already: journal.db" in refused(where, word)
    assert cluster.requests == []


def test_a_node_of_one_id_is_not_made_another(cluster: Cluster, tmp_path: Path) -> None:
    where, word = place(tmp_path), cluster.invite(uses=2)
    join(where, THERE, word)
    other = where._replace(own=place(tmp_path, "sat-010").own)
    assert "it is sat-009 of " in refused(other, word)
    elsewhere = draw("0" * 16, word.pin)
    assert f"uid {CA.uid}" in refused(where, elsewhere)


def test_what_the_cluster_refuses_is_said(cluster: Cluster, tmp_path: Path) -> None:
    where, word = place(tmp_path), cluster.invite()
    join(where, THERE, word)
    second = place(tmp_path, "sat-010")
    second = second._replace(own=MemberSpec("sat-010", "127.0.0.1:7710", "127.0.0.1:8710"))
    assert "is used up" in refused(second, word)
    assert "no such invitation" in refused(second, draw(CA.uid, word.pin))
    assert not second.config.exists()
    cluster.order(RemoveMember("sat-009"))
    where.config.unlink()
    (where.data_dir / KEY_FILE).write_bytes((where.data_dir / OWN_FILE).read_bytes())
    assert "came by" in refused(where, word)


@pytest.mark.parametrize(
    "change",
    [
        {"ca_key": made.private_pem(made.new_key()).decode()},
        {"certificate": made.public_pem([CA.certificate]).decode()},
        {"certificate": ""},
        {"ca": made.public_pem([authority("foreign").certificate]).decode()},
    ],
    ids=["ca_key", "certificate", "none", "ca"],
)
def test_an_answer_that_does_not_fit_together_is_not_written(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, str]
) -> None:
    original = joining._read

    def altered(answer: Answer, shape: type[Any]) -> Any:
        found = original(answer, shape)
        return (
            joining.msgspec.structs.replace(found, **change) if shape is joining.Admitted else found
        )

    monkeypatch.setattr(joining, "_read", altered)
    where = place(tmp_path)
    assert "what the cluster answered" in refused(where, cluster.invite())
    assert not where.tls_dir.exists()
    assert not where.config.exists()


BESIDE = [made.private_pem(made.new_key()).decode(), "x" * made.MAX_FILE]


@pytest.mark.parametrize("field", ["certificate", "ca", "ca_key"])
@pytest.mark.parametrize("more", BESIDE, ids=["another key", "too large"])
def test_what_is_said_beside_what_was_checked_is_not_written(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, field: str, more: str
) -> None:
    """It would be in a file that no node can read, and in the way of the next try."""
    original = joining._read

    def altered(answer: Answer, shape: type[Any]) -> Any:
        found = original(answer, shape)
        if shape is not joining.Admitted:
            return found
        return joining.msgspec.structs.replace(found, **{field: getattr(found, field) + more})

    where, word = place(tmp_path), cluster.invite()
    with monkeypatch.context() as patched:
        patched.setattr(joining, "_read", altered)
        with contextlib.suppress(FormingError):
            join(where, THERE, word)
    join(where, THERE, word)
    for file in (where.ca, where.ca_key, where.data_dir / OWN_FILE):
        assert more.encode() not in file.read_bytes()
    made.key_in(made.read(where.data_dir / OWN_FILE))
