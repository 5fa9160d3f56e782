"""Tokens: who may do what here. Their secrets never come by: whoever wants a token draws one, and
says the SHA-256 of its secret."""

import time
from typing import Annotated, Literal

from fastapi import APIRouter, Path
from pydantic import Field
from starlette.responses import Response

from stationkeep.cluster.access import IDS, LONGEST_LIFE, LONGEST_OVERLAP, TOKEN_ID
from stationkeep.cluster.commands import CreateToken, RevokeToken
from stationkeep.cluster.devices.table import MAX_DEVICES
from stationkeep.cluster.fleet.registration import MAX_PROPERTIES
from stationkeep.cluster.settings import parse_duration
from stationkeep.cluster.suggestion import unknown
from stationkeep.node.api.bodies import DurationText, Input, Label, Reason, in_words
from stationkeep.node.api.consistency import Reading
from stationkeep.node.api.openapi import answers, outcomes
from stationkeep.node.api.submission import NO_REASON, Submit
from stationkeep.node.http.paging import DEFAULT_LIMIT, Cursor, Limit, decode_cursor, page
from stationkeep.node.http.problems import Kind, Problem
from stationkeep.node.views.tokens import TokenList, TokenView, token_view

router = APIRouter()
_ID = rf"^{TOKEN_ID.pattern}$"
TokenId = Annotated[str, Path(pattern=_ID, max_length=8, description="Of a token.")]
Id = Annotated[str, Field(pattern=_ID, max_length=8)]
Life = Annotated[
    DurationText | Annotated[float, Field(ge=0, le=LONGEST_LIFE / 1_000, allow_inf_nan=False)],
    in_words(LONGEST_LIFE),
]


class TokenInput(Input):
    """`token` and `sha256`: its id, and of its secret as text the SHA-256 in hex. `lifetime`: none
    is until it is revoked. `ids`: of a token for devices, for which it speaks or which it
    enrols, `limit` of them at most, with `labels`. `replaces`: the token that ends `overlap`
    later."""

    token: Id
    name: Label
    role: Literal["viewer", "operator", "admin", "metrics", "device", "enrol"]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", max_length=64)]
    lifetime: Life | None = None
    ids: Annotated[str, Field(max_length=129, pattern=rf"^({IDS.pattern})?$")] = ""
    limit: Annotated[int, Field(ge=1, le=MAX_DEVICES)] | None = None
    labels: Annotated[dict[str, str], Field(max_length=MAX_PROPERTIES)] | None = None
    replaces: Id | None = None
    overlap: Life | None = None
    reason: Reason = ""


class RevokeInput(Input):
    reason: Reason = ""


@router.get("/v1/tokens", responses=answers(TokenList))
async def list_tokens(
    read: Reading, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Response:
    """All tokens, by id; those that have ended as long as they are remembered."""
    after = decode_cursor(cursor, str) if cursor is not None else ""
    tokens, wall = read.state.tokens, int(time.time() * 1_000)
    found = (tokens[id_] for id_ in sorted(tokens) if id_ > after)
    shown, more = page(found, limit, lambda each: each.id)
    return read.answer(TokenList([token_view(each, wall) for each in shown], more))


@router.get("/v1/tokens/{token}", responses=answers(TokenView, 404))
async def get_token(read: Reading, token: TokenId) -> Response:
    """One token."""
    found = read.state.tokens.get(token)
    if found is None:
        raise Problem(Kind.NOT_FOUND, unknown("token", token, read.state.tokens))
    return read.answer(token_view(found, int(time.time() * 1_000)))


@router.post("/v1/tokens", responses=outcomes())
async def create_token(submit: Submit, body: TokenInput) -> Response:
    """Makes a token good whose secret only the client knows."""
    lifetime = _milliseconds("lifetime", body.lifetime, LONGEST_LIFE)
    overlap = _milliseconds("overlap", body.overlap, LONGEST_OVERLAP)
    command = CreateToken(
        body.token, body.name, body.role, bytes.fromhex(body.sha256), lifetime, body.ids,
        body.replaces or "", overlap, body.limit or 0, body.labels or {},
    )  # fmt: skip
    return await submit(command, body.reason)


@router.delete("/v1/tokens/{token}", responses=outcomes())
async def revoke_token(submit: Submit, token: TokenId, body: RevokeInput | None = None) -> Response:
    """Ends a token on every node at once; what is open by it ends, too."""
    return await submit(RevokeToken(token), body.reason if body else NO_REASON)


def _milliseconds(field: str, value: str | float | None, longest: int) -> int:
    return 0 if value is None else parse_duration(field, value, longest)
