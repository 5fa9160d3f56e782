"""What deployments install, and what may not be rolled out."""

from collections.abc import Iterator
from operator import itemgetter
from typing import Annotated, Literal, NamedTuple

from fastapi import APIRouter, Path, Query
from pydantic import Field
from starlette.responses import Response

from stationkeep.cluster.commands import UnblockArtifact
from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.rollouts.rollout import Block
from stationkeep.cluster.state.state import ClusterState
from stationkeep.node.api.bodies import Input, Reason
from stationkeep.node.api.consistency import Reading
from stationkeep.node.api.openapi import answers, outcomes
from stationkeep.node.api.submission import Submit
from stationkeep.node.http.paging import DEFAULT_LIMIT, Cursor, Limit, decode_cursor, page
from stationkeep.node.views import deployments as views

router = APIRouter()
Component = Annotated[Literal["app", "os"], Path(description="Which version it changes.")]
Version = Annotated[str, Path(min_length=1, max_length=64, description="Of an artifact.")]
Key = tuple[int, int, str]


class UnblockInput(Input):
    """`sha256`: only this file of that version."""

    sha256: Annotated[str, Field(max_length=64)] = ""
    reason: Reason = ""


class Listed(NamedTuple):
    """An artifact, where it is in the list, who installs it, and why nobody may."""

    key: Key
    artifact: Artifact
    deployments: list[int]
    block: Block | None


@router.get("/v1/artifacts", responses=answers(views.ArtifactList))
async def list_artifacts(
    read: Reading,
    *,
    blocked: Annotated[
        bool | None, Query(description="Only those that are blocked, or that are not.")
    ] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response:
    """What the known deployments install; then what is blocked, and nobody installs any more."""
    after = decode_cursor(cursor, tuple[int, int, str]) if cursor is not None else (0, 0, "")
    listed = (each for each in _listed(read.state) if each.key > after)
    wanted = (each for each in listed if blocked is None or (each.block is not None) is blocked)
    found = sorted(wanted, key=itemgetter(0))
    shown, more = page(iter(found), limit, itemgetter(0))
    now = read.service.cluster_time()
    items = await read.render(
        shown, lambda each: views.artifact_view(each.artifact, each.deployments, each.block, now)
    )
    return read.answer(views.ArtifactList(items, more))


def _listed(state: ClusterState) -> Iterator[Listed]:
    book = state.deployments
    blocks = {_name(block.artifact): block for block in state.rollouts.blocks}
    users: dict[int, list[int]] = {}
    for number, deployment in book.known.items():
        for used in set(deployment.artifacts) - {0}:
            users.setdefault(used, []).append(number)
    for number, deployments in users.items():
        artifact = book.artifacts[number]
        yield Listed((0, number, ""), artifact, deployments, blocks.get(_name(artifact)))
    installed = {_name(book.artifacts[number]) for number in users}
    for name, block in blocks.items():
        if name not in installed:
            yield Listed((1, block.at, name), block.artifact, [], block)


def _name(artifact: Artifact) -> str:
    """As `same_artifact` tells them apart."""
    return f"{artifact.component} {artifact.version} {artifact.sha256}"


@router.post("/v1/artifacts/{component}/{version}:unblock", responses=outcomes())
async def unblock_artifact(
    submit: Submit, component: Component, version: Version, body: UnblockInput
) -> Response:
    """Lets what a gate was proven broken with be rolled out again."""
    return await submit(UnblockArtifact(component, version, body.sha256), body.reason)
