"""GET /v1/me: what the one who asks may do here, so that a page offers nothing it would refuse.

A write carries the origin of its page, a read of the page's own node does not: then the page is
known by the address under which it was asked for. Where nobody is asked for a token, the only
question is whether that page is one of the cluster's own (`origin.py`).
"""

from fastapi import APIRouter, Request
from starlette.responses import Response

from stationkeep.node.api.actor import Who, caller_of
from stationkeep.node.api.consistency import Reading
from stationkeep.node.api.openapi import answers
from stationkeep.node.http.origin import refusal_of
from stationkeep.node.views.nodes import MeView

router = APIRouter()


@router.get("/v1/me", responses=answers(MeView))
async def get_me(request: Request, read: Reading, actor: Who) -> Response:
    """Who the caller is taken for, and with which rights; `because` says why not with more."""
    caller = caller_of(request)
    if caller.role is None:
        return read.answer(MeView("", "none", caller.because))
    if caller.name:
        return read.answer(MeView(caller.name, caller.role.value, ""))
    page = request.headers.get("origin")
    if page is None and (host := request.headers.get("host")):
        page = f"{request.url.scheme}://{host}"
    members = [member.http for member in read.state.members.values()]
    refusal = refusal_of(page, members)
    if refusal is not None:
        return read.answer(MeView(actor, "viewer", refusal.detail))
    return read.answer(MeView(actor, "admin", ""))
