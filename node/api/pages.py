"""`/`: the dashboard, and `/docs`. Files of the package, read once and served from memory.

No file is changed by a build and none comes from elsewhere, so that the page works wherever the
node does. Its content security policy lets it run its own files only, and speak only with the
members of the cluster. For those that join later the page loads itself anew.
"""

import hashlib
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import PurePath

import msgspec
from fastapi import APIRouter, FastAPI, Request
from starlette.responses import Response

from stationkeep.node.api import docs
from stationkeep.node.api.consistency import Serving
from stationkeep.node.http.problems import Kind, Problem
from stationkeep.node.service.port import Service

PACKAGE = "stationkeep.node.dashboard"
INDEX = "index.html"
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; connect-src 'self'"
)
_PLAIN = re.compile(r"[A-Za-z0-9._-]+:[0-9]+|\[[0-9A-Fa-f:.]+\]:[0-9]+")
"""Addresses that mean nothing else in a policy; an operator may have given a node any name."""


class File(msgspec.Struct, frozen=True):
    """One file of the dashboard. `tag`: changes with its content."""

    content: bytes
    media_type: str
    tag: str


def load() -> dict[str, File]:
    """The files by name; what is no part of the page (this package's own code) is left out."""
    return {
        entry.name: made(entry.read_bytes(), MEDIA_TYPES[suffix])
        for entry in resources.files(PACKAGE).iterdir()
        if (suffix := PurePath(entry.name).suffix) in MEDIA_TYPES
    }


def made(content: bytes, media_type: str) -> File:
    """A file of content that was made here."""
    return File(content, media_type, _tag(content))


def _tag(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def documentation(app: FastAPI) -> File:
    """The page about the API, made when it is first asked for."""
    page: File | None = getattr(app.state, "documentation", None)
    if page is None:
        page = made(docs.page(app.openapi()), MEDIA_TYPES[".html"])
        app.state.documentation = page
    return page


def routes(files: Mapping[str, File]) -> APIRouter:
    """Routes that serve `files`."""
    router = APIRouter(include_in_schema=False)

    @router.api_route("/", methods=["GET", "HEAD"])
    async def index(request: Request, service: Serving) -> Response:
        return answer(request, service, files[INDEX])

    @router.api_route("/docs", methods=["GET", "HEAD"])
    async def described(request: Request, service: Serving) -> Response:
        return answer(request, service, documentation(request.app))

    @router.api_route("/dashboard/{name}", methods=["GET", "HEAD"])
    async def part(request: Request, service: Serving, name: str) -> Response:
        if name not in files:
            raise Problem(Kind.NOT_FOUND, f"the dashboard has no such file: {name[:100]!r}")
        return answer(request, service, files[name])

    return router


def answer(request: Request, service: Service, file: File) -> Response:
    """`file`, or that it has not changed, under the policy of all pages."""
    policy = _policy(request.url.scheme, service)
    tag = f'"{file.tag}{_tag(policy.encode())}"'  # under another policy it is another page
    headers = {
        "ETag": tag,
        "Cache-Control": "no-cache",  # asked again each time, and sent only when it changed
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Content-Security-Policy": policy,
    }
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(file.content, headers=headers, media_type=file.media_type)


def _policy(scheme: str, service: Service) -> str:
    addresses = sorted(member.http for member in service.state.members.values())
    plain = [f"{scheme}://{address}" for address in addresses if _PLAIN.fullmatch(address)]
    return " ".join([POLICY, *plain])
