"""Invitations: who may become a member by a word. Their secrets never come by: whoever invites
draws one, and says its SHA-256."""

import time
from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import Field
from starlette.responses import Response

from stationkeep.cluster.access import TOKEN_ID
from stationkeep.cluster.commands import Invite, RevokeInvitation
from stationkeep.cluster.invitations import LONGEST_LIFE
from stationkeep.cluster.settings import parse_duration
from stationkeep.cluster.state.state import MAX_MEMBERS
from stationkeep.node.api.bodies import DurationText, Input, NodeName, Reason, in_words
from stationkeep.node.api.consistency import Reading
from stationkeep.node.api.openapi import answers, outcomes
from stationkeep.node.api.submission import NO_REASON, Submit
from stationkeep.node.http.paging import DEFAULT_LIMIT, Cursor, Limit, decode_cursor, page
from stationkeep.node.http.problems import Kind, Problem
from stationkeep.node.security import certificates
from stationkeep.node.security.certificates import Authority, CertificateError
from stationkeep.node.security.registrar import Registrar
from stationkeep.node.views.invitations import InvitationList, invitation_view

router = APIRouter()
_ID = rf"^{TOKEN_ID.pattern}$"
InvitationId = Annotated[str, Path(pattern=_ID, max_length=8, description="Of an invitation.")]
Life = Annotated[
    DurationText | Annotated[float, Field(gt=0, le=LONGEST_LIFE / 1_000, allow_inf_nan=False)],
    in_words(LONGEST_LIFE),
]


class InvitationInput(Input):
    """`invitation` and `sha256`: its id, and of its 16 secret bytes the SHA-256 in hex. `node`: the
    only id under which one may come."""

    invitation: Annotated[str, Field(pattern=_ID, max_length=8)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", max_length=64)]
    uses: Annotated[int, Field(ge=1, le=MAX_MEMBERS)] = 1
    lifetime: Life = "1h"
    node: NodeName | None = None
    reason: Reason = ""


class RevokeInput(Input):
    reason: Reason = ""


def registrar_of(request: Request) -> Registrar:
    """Who takes in newcomers here; 409 at a node that has no certificates."""
    found: Registrar | None = request.app.state.registrar
    if found is None:
        raise Problem(Kind.REFUSED, "this node has no certificates: nobody joins by it", rule="tls")
    return found


def authority_of(registrar: Registrar) -> Authority:
    """The CA that issues here; 409 at a node that has not its key."""
    try:
        return registrar.authority()
    except CertificateError as error:
        detail = f"this node cannot issue certificates, ask another one: its ca.key {error}"
        raise Problem(Kind.REFUSED, detail, rule="ca_key") from error


@router.get("/v1/invitations", responses=answers(InvitationList))
async def list_invitations(
    request: Request, read: Reading, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Response:
    """All invitations, by id; those that have ended as long as they are remembered."""
    after = decode_cursor(cursor, str) if cursor is not None else ""
    known, wall = read.state.invitations, int(time.time() * 1_000)
    found = (known[id_] for id_ in sorted(known) if id_ > after)
    shown, more = page(found, limit, lambda each: each.id)
    items = [invitation_view(each, wall) for each in shown]
    try:
        ca = authority_of(registrar_of(request))
    except Problem:
        return read.answer(InvitationList(items, more, None, None))
    return read.answer(InvitationList(items, more, ca.uid, certificates.pin(ca.certificate)))


@router.post("/v1/invitations", responses=outcomes())
async def invite(request: Request, submit: Submit, body: InvitationInput) -> Response:
    """Makes an invitation good whose secret only the client knows."""
    authority_of(registrar_of(request))
    lifetime = parse_duration("lifetime", body.lifetime, LONGEST_LIFE)
    command = Invite(
        body.invitation, bytes.fromhex(body.sha256), body.uses, lifetime, body.node or ""
    )
    return await submit(command, body.reason)


@router.delete("/v1/invitations/{invitation}", responses=outcomes())
async def revoke(
    submit: Submit, invitation: InvitationId, body: RevokeInput | None = None
) -> Response:
    """Ends an invitation at once; who has come by it stays."""
    return await submit(RevokeInvitation(invitation), body.reason if body else NO_REASON)
