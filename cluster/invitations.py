"""Invitations: a secret for a short time, by which a machine becomes a member.

What is replicated is the SHA-256 of the secret, as of a token's. The node that is shown a secret
compares it, and then says so (`AcceptInvitation`); that one is taken in, and that the invitation is
used, is one entry of the log. So two who come at once with the same secret, at two nodes, are not
both taken in; and one whose answer was lost comes again with its key, and is the same one, until it
has run: by then it has the answer.

Nobody becomes a member under an id that is taken: a secret that leaks adds a node, and never takes
the place of another one. Source: guide/forming.md.
"""

from msgspec.structs import replace

from stationkeep.cluster.access import HASH_BYTES, TOKEN_ID, TOKEN_ID_RULE
from stationkeep.cluster.commands import (
    AcceptInvitation,
    AddMember,
    Invite,
    MoveMember,
    RevokeInvitation,
)
from stationkeep.cluster.membership import add_member, move_member
from stationkeep.cluster.names import party
from stationkeep.cluster.operators import check_name
from stationkeep.cluster.state.decisions import Outcome, Reason
from stationkeep.cluster.state.state import (
    MAX_INVITATIONS,
    MAX_INVITATIONS_OF_ONE,
    MAX_MEMBERS,
    OVER,
    Invitation,
)
from stationkeep.cluster.state.step import Refused, Step
from stationkeep.cluster.suggestion import unknown

SHORTEST_LIFE, LONGEST_LIFE = 60_000, 7 * 86_400_000
"""Milliseconds for which an invitation may be good."""


def invite(step: Step, command: Invite) -> dict[str, object]:
    """Enters an invitation. When there are `MAX_INVITATIONS`, the oldest that has ended makes
    room."""
    _check(step, command)
    known = step.state.invitations
    own = (i for i in known.values() if i.open(step.wall))
    if sum(party(i.created_by) == party(step.actor) for i in own) >= MAX_INVITATIONS_OF_ONE:
        detail = f"invitation: {MAX_INVITATIONS_OF_ONE} of this actor are open: revoke one"
        raise Refused(Reason.QUOTA, detail)
    _make_room(step)
    expires = step.wall + command.lifetime
    known[command.invitation] = Invitation(
        command.invitation, command.hash, command.uses, command.node, step.now, step.wall,
        step.actor, expires,
    )  # fmt: skip
    _decide(
        step,
        command.invitation,
        "created",
        uses=command.uses,
        node=command.node,
        lifetime_ms=command.lifetime,
    )
    return {"invitation": command.invitation, "expires_wall_ms": expires}


def accept_invitation(step: Step, command: AcceptInvitation) -> dict[str, object]:
    """Takes a newcomer in, once."""
    found, spec = _existing(step, command.invitation), command.member
    _check_levels(step, command)
    if len(command.key) != HASH_BYTES:
        raise Refused(Reason.INVALID, f"key: {len(command.key)} bytes, a SHA-256 has 32")
    check_takes(found, spec.id, command.key, step.wall)
    if spec.id in found.taken:
        return _repeated(step, command)
    if found.node not in ("", spec.id):
        raise Refused(Reason.INVALID, f"node: {found.id} is for {found.node} alone")
    answer = add_member(step, AddMember(spec))
    taken = found.taken | {spec.id: command.key}
    step.state.invitations[found.id] = replace(found, taken=taken)
    return answer


def check_takes(found: Invitation, node: str, key: bytes, wall: int) -> None:
    """Raises `Refused` where an invitation takes in nobody as `node` with this key, and never will
    again: a door may say so without asking the log. `wall`: Unix ms."""
    if found.revoked_at is not None:
        raise Refused(Reason.CLOSED, f"invitation: {found.id} was revoked")
    if node in found.taken:
        _check_same(found, node, key)
    elif found.expired(wall):
        raise Refused(Reason.CLOSED, f"invitation: {found.id} has expired")
    elif found.used_up:
        raise Refused(Reason.CLOSED, f"invitation: {found.id} is used up")


def revoke_invitation(step: Step, command: RevokeInvitation) -> dict[str, object]:
    """Ends an invitation at once. Nothing is changed about one that was revoked before."""
    found = _existing(step, command.invitation)
    if found.revoked_at is None:
        step.state.invitations[found.id] = replace(found, revoked_at=step.now)
        _decide(step, found.id, "revoked")
    return {"invitation": found.id, "taken": list(found.taken)}


def _check(step: Step, command: Invite) -> None:
    if not TOKEN_ID.fullmatch(command.invitation):
        detail = f"invitation: {command.invitation[:64]!r} is not {TOKEN_ID_RULE}"
        raise Refused(Reason.INVALID, detail)
    if command.invitation in step.state.invitations:
        detail = f"invitation: {command.invitation} is or was another one"
        raise Refused(Reason.DUPLICATE, detail)
    if len(command.hash) != HASH_BYTES:
        raise Refused(Reason.INVALID, f"hash: {len(command.hash)} bytes, a SHA-256 has 32")
    if command.node:
        check_name("node", command.node)
    most = 1 if command.node else MAX_MEMBERS
    if not 1 <= command.uses <= most:
        raise Refused(Reason.INVALID, f"uses: {command.uses} is not between 1 and {most}")
    if not SHORTEST_LIFE <= command.lifetime <= LONGEST_LIFE:
        rule = f"{command.lifetime} is not between {SHORTEST_LIFE} and {LONGEST_LIFE}"
        raise Refused(Reason.INVALID, f"lifetime: {rule}")


def _existing(step: Step, invitation: str) -> Invitation:
    found = step.state.invitations.get(invitation)
    if found is None:
        raise Refused(Reason.UNKNOWN_INVITATION, unknown("invitation", invitation))
    return found


def _check_levels(step: Step, command: AcceptInvitation) -> None:
    """A release that cannot apply the log would stop at its first entry."""
    level = step.state.level
    if command.lowest <= level <= command.highest:
        return
    install = f"{step.state.release} has it" if level > command.highest else "an older one has it"
    detail = f"level: the cluster is at {level}, which this release has not; {install}"
    raise Refused(Reason.LEVEL, detail)


def _check_same(found: Invitation, node: str, key: bytes) -> None:
    """Who came by it may ask again until it runs; nobody else, and not after it has left."""
    if found.taken[node] == OVER:
        detail = f"{node} came by {found.id}, and has left, or has run since"
        raise Refused(Reason.CLOSED, f"invitation: {detail}")
    if found.taken[node] != key:
        raise Refused(Reason.DUPLICATE, f"node: {found.id} has taken in another {node}")


def _repeated(step: Step, command: AcceptInvitation) -> dict[str, object]:
    """Who was taken in asks again: its answer was lost, or it is to be reached elsewhere now."""
    spec = command.member
    move_member(step, MoveMember(spec))
    return {"node": spec.id, "members": list(step.state.members)}


def _make_room(step: Step) -> None:
    known = step.state.invitations
    if len(known) < MAX_INVITATIONS:
        return
    ended = next((i.id for i in known.values() if not i.open(step.wall)), None)
    if ended is None:
        raise Refused(Reason.LIMIT, f"invitation: {MAX_INVITATIONS} are open: revoke one")
    del known[ended]


def _decide(step: Step, invitation: str, change: str, **more: object) -> None:
    facts = {"invitation": invitation, "change": change} | more
    step.decide("invitation", Outcome.DONE, (), facts=facts)
