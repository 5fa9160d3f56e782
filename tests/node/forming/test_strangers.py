"""`join` on real sockets, with whoever answers there instead of the cluster."""

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stationkeep.cluster.commands import MemberSpec
from stationkeep.node.forming import joining
from stationkeep.node.forming.joining import join
from stationkeep.node.forming.place import FormingError, Place
from stationkeep.node.security import certificates as made
from stationkeep.node.security.contexts import load_pair, read_pair
from stationkeep.node.security.handshake import context
from stationkeep.node.security.invitations import Word, draw
from tests.node.security.issuing import authority, files

CA = authority()
WORD = draw(CA.uid, made.pin(CA.certificate))
PEM = made.public_pem([CA.certificate]).decode()
TELLS_THE_CA = json.dumps({"uid": CA.uid, "pins": [WORD.pin], "pem": PEM}).encode()


def answer(body: bytes, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
    return head.encode() + body


class Stranger(threading.Thread):
    """Answers every request the same. `heard`: all that was said to it. `shows`: with which
    certificate; None: it speaks no TLS."""

    def __init__(self, shows: ssl.SSLContext | None, says: Callable[[], bytes]) -> None:
        super().__init__(daemon=True)
        self._shows, self._says = shows, says
        self.heard = b""
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"

    def run(self) -> None:
        while True:
            try:
                plain, _ = self._listening.accept()
            except OSError:
                return
            plain.settimeout(5)
            with plain:
                self._serve(plain)

    def _serve(self, plain: socket.socket) -> None:
        try:
            shown = self._shows and self._shows.wrap_socket(plain, server_side=True)
            with shown or plain as connection:
                while said := connection.recv(65_536):
                    self.heard += said
                    connection.sendall(self._says())
        except OSError:
            return

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.join(10)


Strangers = Callable[..., Stranger]


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[Strangers]:
    started: list[Stranger] = []

    def start(
        says: bytes = answer(TELLS_THE_CA), *, tls: bool = True, **of_certificate: Any
    ) -> Stranger:
        shown = context(True, "", None, "http/1.1") if tls else None
        if shown is not None:
            found = files(tmp_path / "shown", "sat-001", **of_certificate)
            load_pair(shown, read_pair(found.certificate, found.key))
        started.append(Stranger(shown, lambda: says))
        started[-1].start()
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "REST_SECONDS", 0.0)
    monkeypatch.setattr(joining, "TRIES", 2)
    monkeypatch.setattr(joining, "SILENCE", 0.5)


def refusal(tmp_path: Path, there: Stranger, word: Word = WORD) -> str:
    """Why nobody is joined. What proves the invitation was not said, and no file was written."""
    folder = tmp_path / "machine"
    own = MemberSpec("sat-009", "127.0.0.1:7709", "127.0.0.1:8709")
    place = Place(folder / "etc" / "node.yaml", folder / "data", own)
    with pytest.raises(FormingError) as caught:
        join(place, there.address, word)
    assert word.text.encode() not in there.heard
    assert b"skj_" not in there.heard
    assert not place.config.parent.exists()
    return str(caught.value)


@pytest.mark.parametrize(
    ("of_certificate", "why"),
    [
        ({"ca": authority("foreign")}, "is not trusted"),
        ({"kind": "device"}, "is not trusted"),
        ({"uid": "0" * 16}, "wrong_cluster"),
        ({"ends": -0.1}, "certificate_expired"),
        ({"ends": 90.5}, "clock"),
    ],
    ids=["foreign", "device", "other uid", "expired", "clock"],
)
def test_who_knows_the_ca_and_has_no_certificate_of_a_node_is_told_nothing(
    stranger: Strangers, tmp_path: Path, of_certificate: dict[str, Any], why: str
) -> None:
    """In the middle: the CA's certificate is no secret."""
    there = stranger(**of_certificate)
    assert why in refusal(tmp_path, there)
    assert b"/v1/tls/ca" in there.heard
    assert b"/v1/join" not in there.heard


@pytest.mark.parametrize(
    ("says", "why"),
    [
        (answer(b"{}"), "$.'pem' refused: required"),
        (answer(b"nonsense"), "is that a Stationkeep node?"),
        (answer(b'{"pem": "x"}'), "what it calls a CA is no PEM"),
        (answer(b"x" * (joining.MOST_BYTES + 1)), "too large"),
        (b"HTTP/1.1 307 Moved\r\nLocation: https://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", ""),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "404"),
        (answer(b"", 100), "no answer in time"),
    ],
    ids=["empty", "no JSON", "no PEM", "large", "elsewhere", "not there", "silent"],
)
def test_who_says_something_else_is_told_nothing(
    stranger: Strangers, tmp_path: Path, says: bytes, why: str
) -> None:
    assert why in refusal(tmp_path, stranger(says))


def test_who_speaks_no_tls_is_told_nothing(stranger: Strangers, tmp_path: Path) -> None:
    refusal(tmp_path, stranger(tls=False))


def test_a_node_that_answers_something_odd_is_not_believed(
    stranger: Strangers, tmp_path: Path
) -> None:
    """It has proven to be a node, and is broken: nothing is written."""
    own = MemberSpec("sat-009", "127.0.0.1:7709", "127.0.0.1:8709")
    place = Place(tmp_path / "etc" / "node.yaml", tmp_path / "data", own)
    there = stranger()
    with pytest.raises(FormingError, match="'cluster' refused: required"):
        join(place, there.address, WORD)
    assert b"skj_" in there.heard
    assert not place.config.parent.exists()
