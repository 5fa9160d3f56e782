"""Numbers that only grow and that others send: how far one message may raise each.

If a node believed every number that only grows, one message could silence a participant: after it
nothing that an honest one sends would be new. So one message may raise a number only to a limit,
`Number.limit`: freely up to a base, which honest numbers reach by themselves (a boot and a session
begin at the wall clock), and beyond it by a step. A number beyond the limit is refused and counted,
and the node that refused it raises the alarm `implausible_number`.

An honest participant may be far ahead all the same, after years, or because of an earlier lie. It
must get through. So a node that refuses a number for its distance follows by at most a step (terms,
boots, cluster time), or answers with what it knows, and the other continues above that (boots,
sessions). A message gains one step, and the ceiling is a hundred million steps away: four million
for a device's session, which has 32 bits, and each session begins its sequences again.

`TABLE` lists them all, also those that need no step; node/raft/README.md shows it.
"""

from typing import NamedTuple

U32 = (1 << 32) - 1
"""The greatest number of a column of 32 bits."""
CEILING = 1 << 53
"""Exact in a float, so in JavaScript too, and far below the 64 bits of SQLite and msgpack."""
DAY = 86_400_000


class Number(NamedTuple):
    """One such number. `base`: it may be raised to this at once; `step`: how far beyond."""

    name: str
    base: int
    step: int
    ceiling: int = CEILING

    def limit(self, known: int) -> int:
        """The highest value that is accepted when `known` is the present one."""
        return min(self.ceiling, max(known, self.base) + self.step)

    def stride(self, known: int) -> int:
        """How far to follow a value beyond the limit: half a step, so that others that know as much
        as we do, or a little less, accept the value that we send then."""
        return min(self.ceiling, max(known, self.base) + self.step // 2)


TERM = Number("term", 0, 1 << 16)
"""A cluster that elects once a second for a year is ahead by a thousand half steps, so by a
thousand heartbeats."""
BOOT = Number("boot", CEILING, 1 << 20, 1 << 62)
"""A new journal begins at Unix seconds << 20, which reaches the base in 2242, and below the base
for good. A node continues above any accepted claim about it, and the step leaves room for that."""
SESSION = Number("session of a device", 3 << 30, 1 << 8, U32)
"""Of a device: Unix seconds at its agent's start, at the base from 2072 on."""
SEQUENCE = Number("sequence of a device's words", 3 << 30, 1 << 16, U32)
"""Within a session. A device that numbers by seconds reaches the base in 2072."""
TIME = Number("cluster time", 0, DAY)
"""Milliseconds. Leaders append far more often than once a day."""

RESTORED = CEILING >> 1
"""Limit of terms, indexes and cluster time in a snapshot: a state that begins there must have room
to continue."""


class Row(NamedTuple):
    """`who` may raise a number, by how much with one message, and what happens `beyond` that."""

    numbers: str
    who: str
    most: str
    beyond: str


def _stepped(number: Number, who: str, beyond: str) -> Row:
    free = f"to {number.base:,}, beyond it " if number.base else ""
    return Row(
        number.name, who, f"{free}by {number.step:,}; never above {number.ceiling:,}", beyond
    )


TABLE: tuple[Row, ...] = (
    _stepped(
        TERM,
        "a member that leads, asks for a vote or tells its term",
        "refused; a message that would have raised it raises it by half a step",
    ),
    Row(
        "log index, and commit index",
        "the leader of our term, by entries that follow our log; what it says is committed counts "
        "as far as it has verified our log",
        "by the entries of one message (4,096)",
        "refused, or nothing is concluded from it",
    ),
    Row(
        "match and next index of a follower",
        "the follower, by its answer to a request of this leadership",
        "to the end of the leader's log",
        "ignored",
    ),
    Row(
        "number of a Raft request, and of a round of pre-votes",
        "the node that asks; an answer only repeats it",
        "by 1",
        "an answer to what was never asked is ignored",
    ),
    Row(
        "index of a snapshot",
        "a leader that has committed so much, or a file",
        f"to {RESTORED:,}",
        "refused",
    ),
    Row(
        "index of a removal (farewell)",
        "a member that is dialled",
        "any index; void when a leader speaks to us, or after five minutes",
        "the hello is refused",
    ),
    Row(
        "birth of a journal, life of a process, name of a session",
        "nobody: they are random, and compared for equality only",
        "–",
        "of two births of a follower the one counts that answers newer requests",
    ),
    Row(
        "ticket of a forwarded draft, and the oldest that waits",
        "the follower; the oldest is no newer than what it comes with",
        "any ticket",
        "who still waits for a lower one is told so, and counts anew under another life",
    ),
    _stepped(
        BOOT,
        "the node itself; others tell what they heard of it, and the log what the leader heard",
        "refused, and the limit moves by a step; a node goes on above what is known of it",
    ),
    Row(
        "sequence of a node's reports",
        "the node itself",
        f"to {CEILING:,} within a boot",
        "a node begins another boot above what is known of it",
    ),
    _stepped(
        SESSION,
        "whoever may speak for the device",
        "the registration is refused; an agent that starts goes on above what is known",
    ),
    _stepped(
        SEQUENCE,
        "whoever may speak for the device, in the session that is registered",
        "the word is refused; an agent whose words are old in its own session begins another",
    ),
    _stepped(
        TIME,
        "the leader, with each entry",
        "passes by a step; the rest with the next entries",
    ),
    Row(
        "revision, epoch, evaluations, proposals, decisions, row births and ring revisions",
        "nobody: applying a command counts them",
        "by 1, or one for each device",
        "a command that names another value than the state's is refused",
    ),
    Row(
        "version of a table of peers",
        "nobody: it is compared with our own applied index, and not kept",
        "–",
        "–",
    ),
    Row(
        "number and counter of a link's messages",
        "the peer, within a session under a key of its own",
        "by 1,048,576",
        "the datagram is dropped, the stream ended; a fresh one counts anew",
    ),
)


def table() -> str:
    """The table in Markdown."""
    lines = ["| number | raised by | by one word | beyond that |", "|---|---|---|---|"]
    lines += [f"| {row.numbers} | {row.who} | {row.most} | {row.beyond} |" for row in TABLE]
    return "\n".join(lines)
