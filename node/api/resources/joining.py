"""POST /v1/join: a machine that is no member yet proves an invitation, and becomes one.

Whoever reaches the port may ask, so nothing that costs anything is done before the secret is
proven; who fails is counted by address, as with tokens. The certificate is issued before the log is
written, and given away after: what cannot be issued changes nothing, and what is lost on the way is
asked for again, with the same key.
"""

from typing import Annotated

import structlog
from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from stationkeep.cluster.commands import AcceptInvitation, MemberSpec
from stationkeep.cluster.invitations import check_takes
from stationkeep.cluster.levels import LARGEST
from stationkeep.cluster.names import address_fault, is_loopback
from stationkeep.cluster.state.state import ClusterState, Invitation
from stationkeep.cluster.state.step import Refused
from stationkeep.node.api.actor import Asker, caller_of
from stationkeep.node.api.bodies import Address, Input, NodeName, following
from stationkeep.node.api.consistency import Reading, no_quorum
from stationkeep.node.api.openapi import answers
from stationkeep.node.api.resources.invitations import authority_of, registrar_of
from stationkeep.node.api.submission import NO_REASON, Submission
from stationkeep.node.http.access import Admission
from stationkeep.node.http.problems import Kind, Problem, invalid
from stationkeep.node.security import certificates
from stationkeep.node.security.certificates import CertificateError
from stationkeep.node.security.invitations import LENGTH, parse
from stationkeep.node.security.registrar import MAX_CSR
from stationkeep.node.security.tokens import TokenFault
from stationkeep.node.system.addresses import split_address
from stationkeep.node.views.invitations import AdmittedView, addresses_view

router = APIRouter()
PATH = "/v1/join"
Level = Annotated[int, Field(ge=1, le=LARGEST)]

log = structlog.get_logger("node.api")


class NewcomerInput(Input):
    """`word`: the invitation. `csr`: a request for a certificate in PEM; only its public key is
    used. `lowest`, `highest`: the levels that its release has."""

    word: Annotated[str, Field(max_length=2 * LENGTH)]
    node: NodeName
    raft: Annotated[Address, following(address_fault)]
    http: Annotated[Address, following(address_fault)]
    csr: Annotated[str, Field(max_length=MAX_CSR)]
    lowest: Level
    highest: Level


@router.post(PATH, responses=answers(AdmittedView, 409))
async def join(request: Request, read: Reading, body: NewcomerInput) -> Response:
    """Takes in whoever proves an invitation. Asked again with the same key, it answers the same."""
    address = caller_of(request).address
    invitation = _proven(read.state, body.word, address, request.app.state.admission)
    registrar = registrar_of(request)
    authority = authority_of(registrar)
    _check_reachable(read.state, body.raft)
    try:
        public = certificates.requested_key(body.csr.encode())
    except CertificateError as error:
        raise invalid("csr", "a text", str(error)) from error
    key = certificates.key_hash(public)
    _check_takes(read.state, invitation, body.node, key)
    hosts = [split_address(each)[0] for each in (body.raft, body.http)]
    try:
        papers = registrar.issue(authority, public, body.node, hosts)
    except CertificateError as error:
        raise Problem(Kind.REFUSED, f"no certificate: the CA {error}", rule="ca") from error
    command = AcceptInvitation(
        invitation.id, MemberSpec(body.node, body.raft, body.http), key, body.lowest, body.highest
    )
    submit = Submission(read.service, Asker(invitation.actor, "", address), None, None)
    if (await submit(command, NO_REASON)).status_code != 200:
        raise no_quorum("it may or may not be a member now; ask again")
    log.info("member_admitted", member=body.node, invitation=invitation.id, remote=address)
    state = read.state
    view = AdmittedView(
        body.node, state.cluster_id, state.uid, state.level, *papers, addresses_view(state)
    )
    return read.answer(view)


def _proven(state: ClusterState, word: str, address: str, admission: Admission) -> Invitation:
    """The invitation that a word proves, which may have ended."""
    try:
        shown = parse(word)
    except TokenFault as fault:
        raise admission.failed("malformed", f"word: {fault}", address) from None
    found = state.invitations.get(shown.id)
    if found is None or not shown.proves(found.hash):
        raise admission.failed("unknown", "word: no such invitation is known here", address)
    return found


def _check_takes(state: ClusterState, invitation: Invitation, node: str, key: bytes) -> None:
    """What has ended once has ended for good, so the log need not be asked: words that were good
    once are in files and histories, and must not let anybody write to it."""
    try:
        check_takes(invitation, node, key, state.wall)
    except Refused as refusal:
        raise Problem(Kind.REFUSED, refusal.detail, rule=refusal.reason) from None


def _check_reachable(state: ClusterState, raft: str) -> None:
    """Nobody on another machine reaches a member on its own loopback."""
    ours = {is_loopback(split_address(member.raft)[0]) for member in state.members.values()}
    if is_loopback(split_address(raft)[0]) not in ours:
        others = "the members are on" if True in ours else "no member is on"
        raise invalid(
            "raft", raft, f"an address at which members reach each other: {others} loopback"
        )
