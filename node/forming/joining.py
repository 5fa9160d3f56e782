"""One more node of a cluster: a word proves it to the cluster, and the cluster to it.

1. Whoever answers is asked for the cluster's CA, and not believed: only a CA whose key has the
   word's pin is trusted from then on. If there is none, somebody else answers, and is told nothing.
2. A key is made, and is on disk before it is used; it never leaves the machine.
3. The word, this node's id and addresses and a request for a certificate go to whoever proves, by
   that CA, to be a node of the cluster. What comes back is checked.
4. It is written, the node's own file last: with that file the machine is a node.

Killed at any point, it is run again: the cluster knows the key, and answers the same.
"""

import asyncio
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import httpx
import msgspec

from stationkeep.cluster.commands import MemberSpec
from stationkeep.cluster.levels import HIGHEST, LOWEST
from stationkeep.node.client.errors import AnswerError
from stationkeep.node.client.exchange import Answer, Call, actor, exchange, open_http
from stationkeep.node.client.problems import problem_of
from stationkeep.node.client.results import understood
from stationkeep.node.config.node_config import ConfigError, load
from stationkeep.node.config.tls import OWN_FILE
from stationkeep.node.forming.place import FormingError, Place, alone_in, failed, save
from stationkeep.node.security import certificates as made
from stationkeep.node.security.certificates import CertificateError, Key
from stationkeep.node.security.handshake import context, judge
from stationkeep.node.security.identity import Door
from stationkeep.node.security.inspection import curious
from stationkeep.node.security.invitations import Word
from stationkeep.node.wire.unreached import untrusted, why

SILENCE = 30.0
"""Seconds without an answer; longer than a node waits for a commit."""
MOST_BYTES = 1 << 20
"""Of an answer: two bundles of CAs, a key, and the addresses of all members."""
TRIES, REST_SECONDS = 10, 2.0
"""While the cluster has no leader, or an answer is lost: how often it is asked, and in between."""
KEY_FILE = OWN_FILE.with_name("joining.key")
"""In the data directory, until the node's certificate is there."""

T = TypeVar("T")


class Member(msgspec.Struct, frozen=True):
    id: str
    raft: str
    http: str


class Admitted(msgspec.Struct, frozen=True):
    """What a new member is told."""

    cluster: str
    certificate: str
    ca: str
    ca_key: str
    members: list[Member]


class _Ca(msgspec.Struct, frozen=True):
    pem: str


class Joined(NamedTuple):
    """`before`: whether it was a node of the cluster already."""

    cluster: str
    before: bool = False


def join(
    place: Place, address: str, word: Word, tell: Callable[[str], None] = lambda _: None
) -> Joined:
    """Makes this machine a node of the cluster that `word` invites into, and that a node of it at
    `address`, `host:port`, answers for. `tell`: is given what is waited for. Raises
    `FormingError`."""
    before = _joined_before(place, word)
    if before is not None:
        return before
    _check_place(place, word)
    ca = _proven_ca(address, word)
    with alone_in(place.data_dir / KEY_FILE.parent):
        before = _joined_before(place, word)  # by whoever was quicker
        if before is not None:
            return before
        key = _key(place.data_dir / KEY_FILE)
        ask = _asking(place, address, word, ca, key)
        admitted = _patiently(ask, tell)
        _write(place, _checked(admitted, place.own, word, key), key)
    return Joined(admitted.cluster)


# -- what is here already


def _joined_before(place: Place, word: Word) -> Joined | None:
    """The node's file is written last: with it, all else is there."""
    if not place.config.exists():
        return None
    try:
        config = load(place.config, {})
    except ConfigError as error:
        raise FormingError(f"{place.config} is there already, and is refused: {error}") from error
    if (config.uid, config.node, config.join) != (word.uid, place.own.id, True):
        whose = f"it is {config.node} of {config.cluster}, uid {config.uid or 'unknown'}"
        raise FormingError(f"{place.config} is there already: {whose}")
    _forget(place.data_dir / KEY_FILE)
    return Joined(config.cluster, before=True)


def _check_place(place: Place, word: Word) -> None:
    """Refuses to mix two clusters, and to put a new node on the data of an old one."""
    place.check_unused(besides=OWN_FILE.parent.name)
    if not place.ca.exists():
        return
    try:
        uids = {_uid(ca) for ca in made.certificates_in(made.read(place.ca))}
    except CertificateError as error:
        raise FormingError(f"{place.ca} is there already, and {error}") from error
    if uids != {word.uid}:
        raise FormingError(f"{place.ca} is there already, and is of another cluster")


def _uid(ca: Any) -> str:
    identity = made.facts_of(ca).identity
    return identity.uid if identity else ""


def _key(file: Path) -> Key:
    """This machine's key: the one of an earlier try, by which the cluster knows it."""
    try:
        if file.exists():
            return made.key_in(made.read(file))
    except CertificateError as error:
        raise FormingError(f"{file} {error}") from error
    key = made.new_key()
    save(file, made.private_pem(key), made.PRIVATE)
    return key


# -- the cluster


def _proven_ca(address: str, word: Word) -> str:
    """The CA that the word names, as whoever is at `address` has it, in PEM."""
    call = Call("GET", "/v1/tls/ca", actor(), SILENCE, most=MOST_BYTES)
    try:
        found = made.pinned(_read(_asked(address, call, curious()), _Ca).pem.encode(), [word.pin])
    except CertificateError as error:
        raise FormingError(f"{address}: what it calls a CA {error}") from error
    if not found:
        raise FormingError(
            f"{address}: somebody else answers there: it has no CA with the pin of the invitation, "
            f"{word.pin}; it was told nothing"
        )
    return made.public_pem(found).decode()


def _asking(place: Place, address: str, word: Word, ca: str, key: Key) -> Callable[[], Admitted]:
    """Says the word to whoever proves, by the CA, to be a node."""
    trusted = context(False, ca, judge(word.uid, Door.NODE, None), None)
    own = place.own
    body = {
        "word": word.text, "node": own.id, "raft": own.raft, "http": own.http,
        "csr": made.request(key, own.id).decode(), "lowest": LOWEST, "highest": HIGHEST,
    }  # fmt: skip
    content = msgspec.json.encode(body)
    call = Call("POST", "/v1/join", actor(), SILENCE, body=content, most=MOST_BYTES)
    return lambda: _read(_asked(address, call, trusted), Admitted)


def _patiently(ask: Callable[[], T], tell: Callable[[str], None]) -> T:
    """A change of leader, and an answer that is lost, are waited out."""
    for left in reversed(range(TRIES)):
        try:
            return ask()
        except NotNowError as error:
            if not left:
                raise FormingError(f"{error}; run it again: it goes on where it was") from error
            tell(f"{error}; asking again")
            time.sleep(REST_SECONDS)
    raise AssertionError("the last try returns or raises")


class NotNowError(FormingError):
    """It may be otherwise in a moment."""


def _asked(address: str, call: Call, trusted: ssl.SSLContext) -> Answer:
    """The answer of whoever proves what the context demands."""

    async def answered() -> Answer:
        async with open_http(verify=trusted) as http:
            return await exchange(http, f"https://{address}", call)

    try:
        answer = asyncio.run(answered())
    except httpx.HTTPError as error:
        if untrusted(error):
            what = f"knows the CA, and does not prove to be a node of it: {why(error)}"
            raise FormingError(f"{address} {what}; it was told nothing") from error
        raise NotNowError(f"{address}: {why(error)}") from error
    problem = problem_of(answer)
    if problem is None:
        return answer
    kind = NotNowError if problem.status in (429, 503) else FormingError
    raise kind(f"{address}: {problem.line}")


def _read(answer: Answer, shape: type[T]) -> T:
    try:
        return understood(answer, shape)
    except AnswerError as error:
        raise FormingError(str(error)) from error


def _checked(admitted: Admitted, own: MemberSpec, word: Word, key: Key) -> Admitted:
    """What was sent is believed to be of a node; that it fits together is not. What came beside
    what was checked is left out."""
    try:
        leaf, *_ = made.certificates_in(admitted.certificate.encode())
        bundle = made.certificates_in(admitted.ca.encode())
        identity = made.check_chain([leaf], bundle, own.id)
        authority = made.authority(admitted.ca.encode(), admitted.ca_key.encode())
    except CertificateError as error:
        raise FormingError(f"what the cluster answered cannot be used: it {error}") from error
    if {identity.uid, authority.uid} != {word.uid} or leaf.public_key() != key.public_key():
        raise FormingError("what the cluster answered is not for this node: uid or key differ")
    certificate, ca = made.public_pem([leaf]).decode(), made.public_pem(bundle).decode()
    ca_key = made.private_pem(authority.key).decode()
    return msgspec.structs.replace(admitted, certificate=certificate, ca=ca, ca_key=ca_key)


# -- what is written


def _write(place: Place, admitted: Admitted, key: Key) -> None:
    own = place.own
    others = [MemberSpec(m.id, m.raft, m.http) for m in admitted.members if m.id != own.id]
    pair = made.private_pem(key) + admitted.certificate.encode()
    save(place.ca, admitted.ca.encode(), made.PUBLIC)
    save(place.ca_key, admitted.ca_key.encode(), made.PRIVATE)
    save(place.data_dir / OWN_FILE, pair, made.PRIVATE)
    members = sorted([*others, own], key=lambda member: member.id)
    save(place.config, place.text("join", admitted.cluster, members, join=True), made.PUBLIC)
    _check_file(place)
    _forget(place.data_dir / KEY_FILE)


def _check_file(place: Place) -> None:
    """A file that no node would start with would be in the way of the next try."""
    try:
        load(place.config, {})
    except ConfigError as error:
        place.config.unlink()
        raise FormingError(f"what the cluster answered makes no node: {error}") from error


def _forget(file: Path) -> None:
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        raise failed(file, error) from error
