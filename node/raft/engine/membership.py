"""Who belongs to the cluster, as Raft sees it: configurations and the single steps between them.

A configuration is an entry of the log and is in force as soon as it stands there, committed or
not (dissertation, 4.1); when the entry is truncated, the one before it is in force again. An
entry names the whole configuration, never a difference: going back needs no inverse.

The wish comes from the replicated state (`StateMachine.members`), which alone decides who may
join or leave. The leader brings the configuration nearer to the wish, one server at a time, so
that any two majorities in force overlap: it adds as a learner, promotes a learner that has
caught up (4.2.1), and removes. It never removes itself but hands over first (3.10), so a leader
is always a voter. The next step waits until the last one is applied and the leader has committed
an entry of its own term (the correction of July 2015 to single-server changes).
"""

from collections.abc import Callable, Collection, Mapping

import msgspec

from stationkeep.cluster.unreadable import UNREADABLE, explain

MAX_VOTERS = 99
MAX_REMOVED = 64
"""Members that left are remembered up to this number, so that they are informed and otherwise
ignored."""


class Configuration(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Ids. Learners receive the log; they neither count nor stand for election."""

    voters: tuple[str, ...]
    learners: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    births: dict[str, int] = {}
    """Births of the voters' journals (`Journal.birth`); any other journal of a voter does not
    count."""

    @property
    def members(self) -> tuple[str, ...]:
        return self.voters + self.learners


class _Record(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    configuration: Configuration
    body: bytes


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Record)


def encode(configuration: Configuration, body: bytes) -> bytes:
    """The content of an entry; `body` is what the state machine applies with it, if anything."""
    return _encoder.encode(_Record(configuration, body))


def decode(content: bytes) -> tuple[Configuration, bytes]:
    """Configuration and body; raises `ValueError` when they make no sense."""
    try:
        record = _decoder.decode(content)
    except UNREADABLE as error:
        raise ValueError(f"not a configuration: {explain(error, 'msgpack')}") from error
    found = record.configuration
    names = (*found.members, *found.removed)
    if not 1 <= len(found.voters) <= MAX_VOTERS or len(found.learners) > MAX_VOTERS:
        raise ValueError("a configuration has 1 to 99 voters and no more learners")
    if len(found.removed) > MAX_REMOVED or len(set(names)) < len(names) or "" in names:
        raise ValueError("a configuration names each server once")
    if not found.births.keys() <= set(found.voters):
        raise ValueError("a configuration knows the births of voters only")
    return found, record.body


def next_step(
    present: Configuration,
    wanted: Collection[str],
    me: str,
    caught_up: Callable[[str], bool],
    births: Mapping[str, int],
) -> Configuration | None:
    """One step nearer to `wanted`, or None when there is none to take now. `births`: of the
    members' journals, as far as the leader knows them.

    Those who join are promoted before others leave: a replacement never passes through a
    smaller cluster than it must.
    """
    if wanted == present.voters and not present.learners:  # asked in every turn of a leader
        return None
    for name in present.learners:
        if name in wanted and caught_up(name):
            return _promoted(present, name, births[name])
    for name in sorted(set(wanted) - set(present.members)):
        return _taken_in(present, name)
    for name in present.members:
        if name not in wanted and name != me and _others(present.voters, name):
            return _left(present, name)
    return None


def admission(present: Configuration, births: Mapping[str, int]) -> Configuration | None:
    """The same voters with the journals that they have now (`births`); None when it is that.
    No majority is another one by that, so it waits for nothing."""
    if births == present.births:  # asked in every turn of a leader
        return None
    known = present.births | {name: births[name] for name in present.voters if name in births}
    return msgspec.structs.replace(present, births=known) if known != present.births else None


def _taken_in(present: Configuration, name: str) -> Configuration:
    """As a learner."""
    return msgspec.structs.replace(
        present,
        learners=tuple(sorted((*present.learners, name))),
        removed=_others(present.removed, name),
    )


def _promoted(present: Configuration, name: str, birth: int) -> Configuration:
    """To a voter, with the journal that has caught up."""
    return msgspec.structs.replace(
        present,
        voters=tuple(sorted((*present.voters, name))),
        learners=_others(present.learners, name),
        births=present.births | {name: birth},
    )


def _left(present: Configuration, name: str) -> Configuration:
    return Configuration(
        _others(present.voters, name),
        _others(present.learners, name),
        (*present.removed, name)[-MAX_REMOVED:],
        {other: birth for other, birth in present.births.items() if other != name},
    )


def _others(names: tuple[str, ...], name: str) -> tuple[str, ...]:
    return tuple(other for other in names if other != name)
