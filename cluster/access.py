"""Tokens: who has which rights in the cluster.

What is replicated of a token is the SHA-256 of its secret. The secret is drawn where the token is
asked for, so that neither the log, nor a snapshot, nor any node ever holds it. Secrets are of 256
random bits, which nobody guesses, so nothing is gained by a hash that is slow.

Tokens end by wall time, since people plan by the calendar: each node judges by its own clock when
it is shown one. Source: guide/access.md.
"""

import math
import re
from collections.abc import Iterable

from msgspec.structs import replace

from stationkeep.cluster.alarms import TOKEN_EXPIRING
from stationkeep.cluster.commands import CreateToken, NoteAccess, RevokeToken
from stationkeep.cluster.devices.table import MAX_DEVICES
from stationkeep.cluster.fleet.registration import properties_fault
from stationkeep.cluster.names import TEXT_RULE, party, text_fault
from stationkeep.cluster.operators import check_name
from stationkeep.cluster.settings import LONGEST
from stationkeep.cluster.state.decisions import Outcome, Reason
from stationkeep.cluster.state.state import (
    MAX_ADDRESSES,
    MAX_TOKENS,
    MAX_TOKENS_OF_ONE,
    Access,
    Token,
)
from stationkeep.cluster.state.step import Refused, Step
from stationkeep.cluster.suggestion import unknown

HASH_BYTES = 32
TOKEN_ID = re.compile(r"[a-z0-9]{8}")
TOKEN_ID_RULE = "8 of the characters a-z 0-9"  # noqa: S105 - a rule
SHORTEST_LIFE, LONGEST_LIFE = 60_000, 3_650 * LONGEST
"""Milliseconds for which a token may be good."""
LONGEST_OVERLAP = 7 * LONGEST
"""Milliseconds for which a token may go on beside the one that replaces it."""
MAX_NOTED, MAX_ADDRESS = 16, 64
"""Uses and guesses of one command, and characters of an address."""
NOTICE = 14 * LONGEST
"""Milliseconds before the end of a token at which somebody should know."""
OF_DEVICES = frozenset({Access.DEVICE, Access.ENROL})
"""Roles whose tokens are about devices."""
IDS = re.compile(r"[A-Za-z0-9._:@+-]{1,128}\*?|\*")
IDS_RULE = "the id of a device, or what ids begin with and a *"


def create_token(step: Step, command: CreateToken) -> dict[str, object]:
    """Enters a token. When there are `MAX_TOKENS`, the oldest that has ended makes room."""
    role = _checked(step, command)
    tokens = step.state.tokens
    old = _replaced(step, command, role) if command.replaces else None
    own = [t for t in tokens.values() if t.good(step.wall) and t is not old]
    if sum(party(t.created_by) == party(step.actor) for t in own) >= MAX_TOKENS_OF_ONE:
        detail = f"token: {MAX_TOKENS_OF_ONE} that this actor has created are good: revoke one"
        raise Refused(Reason.QUOTA, detail)
    _make_room(step)
    if old is not None:
        tokens[old.id] = _ending(step, old, command.overlap)
    expires = step.wall + command.lifetime if command.lifetime else None
    tokens[command.token] = Token(
        command.token, command.name, role, command.hash, step.now, step.wall, step.actor, expires,
        command.ids, person=_person(step, command.name), limit=command.limit,
        labels=command.labels,
    )  # fmt: skip
    _decide(
        step,
        tokens[command.token],
        "created",
        lifetime_ms=command.lifetime,
        replaces=command.replaces,
        overlap_ms=command.overlap,
    )
    return {
        "token": command.token,
        "expires_wall_ms": expires,
        "approves_as": tokens[command.token].person,
    }


def revoke_token(step: Step, command: RevokeToken) -> dict[str, object]:
    """Ends a token at once. Nothing is changed about one that was revoked before."""
    token = step.state.tokens.get(command.token)
    if token is None:
        raise Refused(Reason.UNKNOWN_TOKEN, unknown("token", command.token))
    if token.revoked_at is None:
        token = step.state.tokens[token.id] = replace(token, revoked_at=step.now)
        _decide(step, token, "revoked")
    return {"token": token.id, "name": token.name}


def revoked_on_the_way(step: Step) -> str:
    """What is wrong with an order that a node took which did not know yet that the token had been
    revoked; "" for nothing."""
    token = step.state.tokens.get(step.actor.partition("#")[2])
    if token is None or token.revoked_at is None:
        return ""
    return f"the token {step.actor} has been revoked"


def note_access(step: Step, command: NoteAccess) -> dict[str, object]:
    """Keeps from where a token was used, and tells of each address that is new. What has used up
    its addresses within a day moves about, and of that nothing more is told."""
    texts = [*(use.address for use in command.uses), *command.guesses]
    if len(texts) > MAX_NOTED:
        raise Refused(Reason.INVALID, f"uses: {len(texts)}, at most {MAX_NOTED}")
    if any(len(text) > MAX_ADDRESS or text_fault(text) for text in texts):
        raise Refused(Reason.INVALID, f"address: not {TEXT_RULE}, or more than {MAX_ADDRESS}")
    for use in command.uses:
        token = step.state.tokens.get(use.token)
        if token is not None:
            _note_use(step, token, use.address)
    for address in command.guesses:
        step.decide("token", Outcome.NOTED, (), facts={"change": "guessed", "address": address})
    return {}


def _note_use(step: Step, token: Token, address: str) -> None:
    seen = dict(token.seen)
    before = seen.pop(address, None)
    if before is None and len(seen) >= MAX_ADDRESSES:
        oldest = min(seen, key=lambda one: seen[one])
        if step.wall - seen[oldest] < LONGEST:
            return
        del seen[oldest]
    seen[address] = step.wall
    step.state.tokens[token.id] = replace(token, seen=seen)
    if before is None:
        _decide(step, token, "used", Outcome.NOTED, address=address)


def watch_tokens(step: Step) -> None:
    """Raises an alarm while tokens end soon; anew when these are others, since whoever acknowledged
    it has not seen those."""
    found = _expiring(step.state.tokens.values(), step.wall)
    raised = step.state.alarms.get(TOKEN_EXPIRING)
    detail = ""
    if found:
        more = f", and {len(found) - 1} more" if found[1:] else ""
        detail = f"{found[0].actor} ({found[0].role}) ends within 14 days{more}"
    if raised is not None and raised.detail != detail:
        step.clear_alarm(TOKEN_EXPIRING)
    if detail:
        step.raise_alarm(TOKEN_EXPIRING, detail)


def ends_soon(token: Token, wall: int) -> bool:
    """Whether a token that was made for long ends within `NOTICE`."""
    expires = token.expires_wall
    return expires is not None and expires - wall <= NOTICE and expires - token.wall > 2 * NOTICE


def _expiring(tokens: Iterable[Token], wall: int) -> list[Token]:
    """Those that end soon and that no other of the same name and role outlasts: whoever has it was
    not given another one. The first to end comes first. Devices are none of ours to rotate."""
    last: dict[tuple[str, Access], Token] = {}
    for token in tokens:
        if token.good(wall) and token.role not in OF_DEVICES:
            before = last.setdefault((token.name, token.role), token)
            if _end(before) < _end(token):
                last[token.name, token.role] = token
    return sorted((t for t in last.values() if ends_soon(t, wall)), key=_end)


def _end(token: Token) -> float:
    return math.inf if token.expires_wall is None else token.expires_wall


def _checked(step: Step, command: CreateToken) -> Access:
    """The role of a token that may be created."""
    if not TOKEN_ID.fullmatch(command.token):
        raise Refused(Reason.INVALID, f"token: {command.token[:64]!r} is not {TOKEN_ID_RULE}")
    if command.token in step.state.tokens:
        raise Refused(Reason.DUPLICATE, f"token: {command.token} is or was another one")
    check_name("name", command.name)
    if command.role not in list(Access):
        one_of = ", ".join(Access)
        raise Refused(Reason.INVALID, f"role: {command.role[:64]!r} is none of {one_of}")
    if len(command.hash) != HASH_BYTES:
        raise Refused(Reason.INVALID, f"hash: {len(command.hash)} bytes, a SHA-256 has 32")
    role = Access(command.role)
    if (role in OF_DEVICES) is not bool(command.ids):
        rule = "a token for devices says for which ids it is, and no other does"
        raise Refused(Reason.INVALID, f"ids: {rule}")
    if command.ids and not IDS.fullmatch(command.ids):
        raise Refused(Reason.INVALID, f"ids: {command.ids[:80]!r} is not {IDS_RULE}")
    if not (1 <= command.limit <= MAX_DEVICES if role is Access.ENROL else command.limit == 0):
        rule = f"how many devices an enrolment token takes, 1 to {MAX_DEVICES}; no other has one"
        raise Refused(Reason.INVALID, f"limit: {command.limit} is not {rule}")
    if command.labels and role is not Access.ENROL:
        raise Refused(Reason.INVALID, "labels: an enrolment token has them, and no other does")
    fault = properties_fault("labels", command.labels)
    if fault is not None:
        raise Refused(Reason.INVALID, fault)
    if command.lifetime and not SHORTEST_LIFE <= command.lifetime <= LONGEST_LIFE:
        rule = f"{command.lifetime} is neither 0 nor between {SHORTEST_LIFE} and {LONGEST_LIFE}"
        raise Refused(Reason.INVALID, f"lifetime: {rule}")
    if not 0 <= command.overlap <= LONGEST_OVERLAP:
        rule = f"{command.overlap} is not between 0 and {LONGEST_OVERLAP}"
        raise Refused(Reason.INVALID, f"overlap: {rule}")
    return role


def _person(step: Step, name: str) -> str:
    maker = step.state.tokens.get(step.actor.partition("#")[2])
    return name if maker is None else maker.person


def _replaced(step: Step, command: CreateToken, role: Access) -> Token:
    old = step.state.tokens.get(command.replaces)
    if old is None:
        raise Refused(Reason.UNKNOWN_TOKEN, f"replaces: {unknown('token', command.replaces)}")
    if not old.good(step.wall):
        raise Refused(Reason.CLOSED, f"replaces: {old.id} has ended")
    if (old.name, old.role, old.ids) != (command.name, role, command.ids):
        rule = f"{old.id} is {old.name} with the role {old.role}, and so is what replaces it"
        raise Refused(Reason.INVALID, f"replaces: {rule}")
    return old


def _ending(step: Step, old: Token, overlap: int) -> Token:
    """A token that goes on for `overlap` ms, and no longer than it was good for."""
    if not overlap:
        return replace(old, revoked_at=step.now)
    until = step.wall + overlap
    return replace(old, expires_wall=min(old.expires_wall or until, until))


def _make_room(step: Step) -> None:
    tokens = step.state.tokens
    if len(tokens) < MAX_TOKENS:
        return
    needed = _of_approvals(step)
    ended = (t.id for t in tokens.values() if not t.good(step.wall) and t.id not in needed)
    if (oldest := next(ended, None)) is None:
        raise Refused(Reason.LIMIT, f"token: {MAX_TOKENS} are good: revoke one")
    del tokens[oldest]


def _of_approvals(step: Step) -> set[str]:
    """Tokens of those who planned and approved rollouts: by these it is known who is whom."""
    rollouts = step.state.rollouts.known.values()
    actors = (
        actor for one in rollouts for actor in (one.author, *(a.actor for a in one.approvals))
    )
    return {actor.partition("#")[2] for actor in actors}


def _decide(
    step: Step, token: Token, change: str, outcome: Outcome = Outcome.DONE, **more: object
) -> None:
    facts = {"token": token.id, "name": token.name, "role": token.role.value, "change": change}
    step.decide("token", outcome, (), facts=facts | more)
