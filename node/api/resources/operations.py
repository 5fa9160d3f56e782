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
    """What became of a write, by its operation id (its idempotency key): of the caller's own, or
    else of the newest that anyone has given this id."""
    operations = read.state.operations
    known = operations.find(actor, operation) or operations.newest(operation)
    if known is None:
        index = read.service.consensus.applied_index
        detail = f"no operation {operation} is remembered at index {index}: it was not applied"
        raise Problem(Kind.NOT_FOUND, f"{detail} so far, or is long past", operation=operation)
    return read.answer(records.operation_view(known))
