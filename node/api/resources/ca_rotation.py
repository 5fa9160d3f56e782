"""Another CA in the place of the first: started, watched, finished and taken back by orders."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from stationkeep.cluster.commands import AbortCa, SwitchCa, TrustCa
from stationkeep.cluster.devices.table import MAX_DEVICES
from stationkeep.cluster.state.state import MAX_CA_PEM
from stationkeep.node.api.bodies import Input, Reason
from stationkeep.node.api.consistency import Reading
from stationkeep.node.api.openapi import answers, outcomes
from stationkeep.node.api.resources.tls import Certified
from stationkeep.node.api.submission import NO_REASON, Submit
from stationkeep.node.http.problems import Kind, Problem, invalid
from stationkeep.node.security.certificates import CertificateError
from stationkeep.node.security.rotation import CaFiles, Second
from stationkeep.node.views import ca_rotation as views

router = APIRouter()


class StartInput(Input):
    """`pem`: the certificate of a second CA that was made elsewhere; by default this node makes
    one."""

    pem: Annotated[str, Field(max_length=MAX_CA_PEM)] = ""
    reason: Reason = ""


class FinishInput(Input):
    """`leave_behind`: so many devices may not have been told of the second CA."""

    leave_behind: Annotated[int, Field(ge=0, le=MAX_DEVICES)] = 0
    reason: Reason = ""


class AbortInput(Input):
    """One step back."""

    reason: Reason = ""


@router.get("/v1/tls/rotation", responses=answers(views.RotationView))
async def get_rotation(read: Reading) -> Response:
    """How far the replacement of the CA is, and for whom it waits."""
    return read.answer(views.rotation_view(read.state))


@router.post("/v1/tls/rotation/start", responses=outcomes())
async def start(
    submit: Submit, read: Reading, tls: Certified, body: StartInput | None = None
) -> Response:
    """A second CA: all members trust it beside the first, and tell their devices. Its key goes from
    member to member over their links. Repeated, it changes nothing."""
    body = body or StartInput()
    rotation = read.state.rotation
    if rotation is not None and rotation.under_way and not body.pem:
        second = Second(rotation.pin, rotation.pem, rotation.first)
    else:
        second = _second(CaFiles(tls.files.ca), body.pem, read)
    return await submit(TrustCa(*second), body.reason)


def _second(files: CaFiles, pem: str, read: Reading) -> Second:
    now = datetime.now(UTC).replace(microsecond=0)
    try:
        if pem:
            return files.given(pem, now)
        if not files.issues:
            why = "this node has no ca.key: ask another one, or bring a CA that was made elsewhere"
            raise Problem(Kind.REFUSED, why, rule="no_ca_key")
        return files.make(now, read.state.dropped)
    except CertificateError as error:
        if pem:
            raise invalid(
                "pem", pem[:80], f"a CA's certificate that can be used: it {error}"
            ) from error
        raise Problem(Kind.REFUSED, str(error), rule="ca_files") from error
    except OSError as error:
        where = f"{error.filename or 'the directory of ca.pem'}: {error.strerror}"
        raise Problem(Kind.REFUSED, where, rule="ca_files") from error


@router.post("/v1/tls/rotation/finish", responses=outcomes())
async def finish(submit: Submit, body: FinishInput | None = None) -> Response:
    """The second CA issues from now on, and when every member shows a certificate of it, the first
    is trusted no more. Refused while a member does not trust it, or devices have not been told."""
    body = body or FinishInput()
    return await submit(SwitchCa(leave_behind=body.leave_behind), body.reason)


@router.post("/v1/tls/rotation/abort", responses=outcomes())
async def abort(submit: Submit, body: AbortInput | None = None) -> Response:
    """One step back: the first CA issues again; and then the second is trusted no more."""
    return await submit(AbortCa(), body.reason if body else NO_REASON)
