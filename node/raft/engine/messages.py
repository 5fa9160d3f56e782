"""Checks every Raft message from the network before the library sees it.

PySyncObj trusts its peers: a missing field is a KeyError in the tick, a wrong type corrupts the
log. Here a message is either turned into exactly the fields and types expected, or refused as a
whole with the reason (counted, never answered).
"""

# ruff: noqa: N818  (exceptions say what is the case)

from collections.abc import Callable, Mapping
from typing import Any

from stationkeep.cluster.numbers import CEILING, RESTORED
from stationkeep.cluster.state.codec import MAX_DRAFT_BYTES
from stationkeep.node.raft.engine import membership
from stationkeep.node.raft.storage.snapshot_store import CHUNK_BYTES

REGULAR = b"\x00"
NO_OP = b"\x01"
MEMBERSHIP = b"\x02"
_NO_OP = NO_OP[0]
MAX_INDEX = CEILING
MAX_ENTRIES = 4096
MAX_ENTRY_BYTES = MAX_DRAFT_BYTES + 1024
MAX_CHUNKS = 4096

Message = dict[str, Any]


class BadMessage(ValueError):
    """What is wrong with a message; short, for a counter and a log line."""


class TooFar(BadMessage):
    """A number that no honest sender can have reached since its last message."""

    def __init__(self, number: str, value: int, limit: int) -> None:
        super().__init__(f"{number} too far ahead")
        self.number, self.value, self.limit = number, value, limit


def _flag(message: Mapping[str, Any], field: str) -> bool:
    value = message.get(field)
    if type(value) is not bool:
        raise BadMessage(f"{field} is not a boolean")
    return value


def _numbers(*fields: str) -> Callable[[Mapping[str, Any]], Message]:
    def check(message: Mapping[str, Any]) -> Message:
        checked: Message = {}
        for field in fields:
            value = message.get(field)
            if type(value) is not int or not 0 <= value <= MAX_INDEX:
                raise BadMessage(f"{field} is not an index")
            checked[field] = value
        return checked

    return check


_append_numbers = _numbers("term", "seq", "commit_index")
_previous_numbers = _numbers("prevLogIdx", "prevLogTerm")
_term = _numbers("term")
_vote_numbers = _numbers("term", "last_log_index", "last_log_term")
_round_numbers = _numbers("term", "round")
_birth = _numbers("birth")
_reply_numbers = _numbers("term", "seq", "birth", "next_node_idx")


def _append(message: Mapping[str, Any]) -> Message:
    checked = _append_numbers(message)
    if checked["term"] == 0:
        raise BadMessage("nobody leads term 0")
    if "chunk" in message:
        return {**checked, "serialized": _chunk(message["chunk"], checked["term"])}
    if "prevLogIdx" not in message:
        return checked
    checked.update(_previous_numbers(message))
    previous, term = checked["prevLogIdx"], checked["prevLogTerm"]
    if term > checked["term"]:
        raise BadMessage("prevLogTerm is newer than term")
    checked["entries"] = _entries(message.get("entries"), previous, term, checked["term"])
    return checked


def _entries(entries: Any, previous: int, oldest: int, newest: int) -> list[tuple[bytes, int, int]]:
    """Entries that follow `previous` without a gap, terms rising from `oldest` to `newest`."""
    if not isinstance(entries, list | tuple) or len(entries) > MAX_ENTRIES:
        raise BadMessage("entries is not a short list")
    checked = []
    for entry in entries:
        if not isinstance(entry, list | tuple) or len(entry) != 3:
            raise BadMessage("an entry is not a triple")
        command, index, term = entry
        previous += 1
        if type(index) is not int or index != previous:
            raise BadMessage("entries are not contiguous")
        if type(term) is not int or not oldest <= term <= newest:
            raise BadMessage("the term of an entry is out of order")
        if type(command) is not bytes or not 0 < len(command) <= MAX_ENTRY_BYTES:
            raise BadMessage("an entry is not a short string of bytes")
        if command[0] > _NO_OP:  # what is neither a command nor a no-op
            _check_configuration(command)
        oldest = term
        checked.append((command, index, term))
    return checked


def _check_configuration(command: bytes) -> None:
    if command[:1] != MEMBERSHIP:
        raise BadMessage("an entry of unknown type")
    try:
        membership.decode(command[1:])
    except ValueError as error:
        raise BadMessage("an entry that is no configuration") from error


def _chunk(chunk: Any, newest: int) -> tuple[int, int, int, int, bytes]:
    """Of a snapshot that ends in the leader's term `newest`, or before."""
    if not isinstance(chunk, list | tuple) or len(chunk) != 5:
        raise BadMessage("a chunk has five parts")
    *numbers, data = chunk
    if any(type(n) is not int or not 0 <= n <= MAX_INDEX for n in numbers):
        raise BadMessage("a chunk is not numbered")
    index, term, number, total = numbers
    if not 0 <= number < total <= MAX_CHUNKS:
        raise BadMessage("a chunk out of range")
    if term > newest or max(index, term) > RESTORED:
        raise BadMessage("a chunk of no snapshot of this leader")
    if type(data) is not bytes or len(data) > CHUNK_BYTES:
        raise BadMessage("a chunk too large")
    return index, term, number, total, data


def _request_vote(message: Mapping[str, Any]) -> Message:
    checked = _vote_numbers(message)
    checked["transfer"] = _flag(message, "transfer")
    return checked


def _response_vote(message: Mapping[str, Any]) -> Message:
    return {**_term(message), **_worth(message)}


def _worth(message: Mapping[str, Any]) -> Message:
    flags = {"trusted": _flag(message, "trusted"), "lost": _flag(message, "lost")}
    return {**flags, **_birth(message)}


def _pre_vote_answer(message: Mapping[str, Any]) -> Message:
    granted = _flag(message, "granted")
    return {**_round_numbers(message), "granted": granted, **_worth(message)}


def _reply(message: Mapping[str, Any]) -> Message:
    checked = _reply_numbers(message)
    checked["reset"], checked["success"] = _flag(message, "reset"), _flag(message, "success")
    if checked["next_node_idx"] == 0:
        raise BadMessage("next_node_idx is 0")
    return checked


_CHECKS: dict[str, Callable[[Mapping[str, Any]], Message]] = {
    "request_vote": _request_vote,
    "response_vote": _response_vote,
    "pre_vote": _numbers("term", "round", "last_log_index", "last_log_term"),
    "pre_vote_answer": _pre_vote_answer,
    "stale_term": _term,
    "append_entries": _append,
    "next_node_idx": _reply,
    "snapshot_chunk": _numbers("term", "seq", "birth", "index", "snapshot_term", "wanted"),
    "timeout_now": _term,
}


def check(message: Mapping[str, Any]) -> Message:
    """The message with exactly the fields of its type; raises `BadMessage`."""
    kind = message.get("type")
    checker = _CHECKS.get(kind) if isinstance(kind, str) else None
    if checker is None:
        raise BadMessage("unknown type")
    checked = checker(message)
    checked["type"] = kind
    return checked
