"""What became of a write."""

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from stationkeep.node.api.actor import Who
from stationkeep.node.api.consistency import Reading
from stationkeep.node.api.openapi import answers
from stationkeep.node.http.problems import Kind, Problem
from stationkeep.node.views import records

router = APIRouter()


@router.get("/v1/operations/{operation:path}", responses=answers(records.OperationView, 404))
async def get_operation(
    read: Reading, actor: Who, operation: Annotated[str, Path(min_length=1, max_length=128)]
) -> Response:
    """What became of a write of the caller's own, by its operation id (its idempotency key)."""
    known = read.state.operations.find(actor, operation)
    if known is None:
        index = read.service.consensus.applied_index
        detail = f"no operation {operation} of {actor} is remembered at index {index}"
        more = "it was not applied so far, or is long past"
        raise Problem(Kind.NOT_FOUND, f"{detail}: {more}", operation=operation)
    return read.answer(records.operation_view(known))
