"""`/guide/`: the pages of the guide, each made when it is first asked for.

On a thread, for parsing takes long by the measure of the event loop, and with it the parser is
imported: a node that nobody asks for the guide has none of it in memory.
"""

from collections.abc import Callable
from importlib import resources

from fastapi import APIRouter, Request
from starlette.responses import Response

from stationkeep.node.api import pages
from stationkeep.node.api.consistency import Serving
from stationkeep.node.guide.pages import INDEX, PACKAGE, UnknownTopicError, find
from stationkeep.node.http.problems import Kind, Problem
from stationkeep.node.http.worker import Worker

STYLE = "style.css"


class Shelf:
    """The pages that were made. Only what exists is kept, and one is made at a time; whoever reads
    does not wait for work on the state, such as a snapshot, which has a worker of its own."""

    def __init__(self) -> None:
        self._made: dict[str, pages.File] = {}
        self._worker = Worker()

    async def get(self, name: str, make: Callable[[str], pages.File]) -> pages.File:
        """What was made before, or is made now."""
        if name not in self._made:
            self._made[name] = await self._worker.run(
                lambda: lambda: self._made.get(name) or make(name)
            )
        return self._made[name]


def shelf_of(request: Request) -> Shelf:
    shelf: Shelf = request.app.state.guide
    return shelf


router = APIRouter(include_in_schema=False)


@router.api_route("/guide", methods=["GET", "HEAD"])
@router.api_route("/guide/", methods=["GET", "HEAD"])
async def index(request: Request, service: Serving) -> Response:
    return pages.answer(request, service, await shelf_of(request).get(INDEX, _page))


@router.api_route(f"/guide/{STYLE}", methods=["GET", "HEAD"])
async def style(request: Request, service: Serving) -> Response:
    return pages.answer(request, service, await shelf_of(request).get(STYLE, _style))


@router.api_route("/guide/{topic}", methods=["GET", "HEAD"])
async def page(request: Request, service: Serving, topic: str) -> Response:
    try:
        return pages.answer(request, service, await shelf_of(request).get(topic, _page))
    except UnknownTopicError as error:
        raise Problem(Kind.NOT_FOUND, str(error)) from error


def _page(topic: str) -> pages.File:
    found = find(topic)
    from stationkeep.node.guide.rendering import document  # noqa: PLC0415

    return pages.made(document(found), pages.MEDIA_TYPES[".html"])


def _style(name: str) -> pages.File:
    content = (resources.files(PACKAGE) / name).read_bytes()
    return pages.made(content, pages.MEDIA_TYPES[".css"])
