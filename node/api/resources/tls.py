"""A node's certificates: whom it trusts, its files read anew; and those that nobody accepts."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import Field
from starlette.responses import Response

from stationkeep.cluster.certificates import SERIAL
from stationkeep.cluster.commands import RevokeCertificate
from stationkeep.node.api.bodies import Input, Reason
from stationkeep.node.api.consistency import Reading
from stationkeep.node.api.openapi import answers, outcomes
from stationkeep.node.api.submission import Submit
from stationkeep.node.http.problems import Kind, Problem
from stationkeep.node.security.contexts import Contexts
from stationkeep.node.views import tls as views

router = APIRouter()


class RevokeInput(Input):
    """`serial`: hexadecimal, as `stationkeep certs list` shows it."""

    serial: Annotated[str, Field(pattern=f"^{SERIAL.pattern}$")]
    reason: Reason = ""


async def contexts_of(request: Request) -> Contexts:
    """Dependency of what a node without certificates does not have."""
    contexts: Contexts | None = request.app.state.tls
    if contexts is None:
        raise Problem(Kind.NOT_FOUND, "this node has no certificates: `tls` is not in its file")
    return contexts


Certified = Annotated[Contexts, Depends(contexts_of)]


@router.get("/v1/tls/ca", responses=answers(views.CaView, 404))
async def get_ca(read: Reading, tls: Certified) -> Response:
    """The cluster's CA. Anybody may ask; believe it if its pin is the one that you were told by
    another way."""
    return read.answer(views.ca_view(tls.current))


@router.post("/v1/tls/reload", responses=answers(views.CertificateView, 404, 409))
async def reload(read: Reading, tls: Certified) -> Response:
    """Reads this node's certificate files now, as it does by itself within seconds. Refused: they
    do not fit together, and what was in use stays in use."""
    if not tls.reload():
        raise Problem(Kind.REFUSED, tls.rejected or "", rule="certificate_rejected")
    return read.answer(views.certificate_view(tls.current))


@router.post("/v1/tls/renew", responses=answers(views.CertificateView, 404, 409))
async def renew(read: Reading, tls: Certified) -> Response:
    """Has the asked node issue itself another certificate, with another key, and use it. Nothing is
    interrupted. Refused: it has not the CA's key, or its disk is full."""
    why = tls.renew()
    if why is not None:
        raise Problem(Kind.REFUSED, f"not renewed: {why}", rule="not_renewed")
    return read.answer(views.certificate_view(tls.current))


@router.get("/v1/tls/revocations", responses=answers(views.RevokedList))
async def list_revoked(read: Reading) -> Response:
    """Certificates that no member accepts any more."""
    return read.answer(views.revoked_list(read.state.revoked))


@router.post("/v1/tls/revocations", responses=outcomes())
async def revoke(submit: Submit, body: RevokeInput) -> Response:
    """Revokes a node's certificate for good, on all members. A node that issues its own has a new
    one within seconds."""
    return await submit(RevokeCertificate(body.serial), body.reason)
