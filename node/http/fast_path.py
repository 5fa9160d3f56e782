"""A fast path for plain requests: the routes of FastAPI, read once instead of with each request.

For each request FastAPI tries its routes one after the other, and walks the tree of what the one
that fits depends on: that takes several times as long as most answers do. All of it stands in the
signatures of endpoints and dependencies, which do not change.

No rule is here twice. A value is judged by the very annotation that FastAPI judges it by, and the
fast path only ever accepts: a request that is not plainly right in every part goes FastAPI's way as
it came, which knows how to say what is wrong with it. Limits, hosts and origins come before both.
"""

import inspect
import json
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Annotated, Any, NamedTuple, get_args, get_origin
from urllib.parse import parse_qs

from fastapi import params
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stationkeep.node.http import problems
from stationkeep.node.http.limits import replay

CONTENT_TYPE, JSON = b"content-type", "application/json"
REQUIRED = inspect.Parameter.empty


class NotPlain(Exception):  # noqa: N818 (nothing is wrong with it yet)
    """FastAPI says what comes of this request; or: only FastAPI can read this route."""


class Given(NamedTuple):
    """What a request gives: the parts of its path that are parameters, and the rest by name."""

    path: list[str]
    query: Mapping[str, list[str]]
    headers: Mapping[bytes, str]
    body: Any


Take = Callable[[Given], Any]
"""The value of one parameter; raises `NotPlain`, or `ValidationError`."""
Endpoint = Callable[..., Coroutine[Any, Any, Any]]


class _Call(NamedTuple):
    """A dependency, or the endpoint itself. Where its arguments are: among the values that were
    taken from the request (False), or that earlier calls returned (True), and in which place."""

    function: Endpoint
    arguments: tuple[tuple[str, bool, int], ...]


class Plan:
    """How one route is answered: what is taken from the request, then which functions are called,
    in FastAPI's order."""

    def __init__(self, route: APIRoute) -> None:
        """Raises `NotPlain` for a route with anything that is not understood here."""
        self._names = [part[1:-1] for part in route.path.split("/") if part.startswith("{")]
        if route.dependencies or not all(name.isidentifier() for name in self._names):
            raise NotPlain(f"{route.path} is more than its endpoint and plain parameters")
        if not issubclass(inspect.signature(route.endpoint).return_annotation, Response):
            raise NotPlain(f"{route.endpoint} returns what FastAPI is to encode")
        self._takes: list[Take] = []
        self._calls: list[_Call] = []
        self._places: dict[Endpoint, int] = {}
        self._headers: set[bytes] = set()
        self.has_body = False
        self._call(route.endpoint)

    def _call(self, function: Endpoint) -> int:
        """Adds a call behind those that it depends on; its place."""
        if function not in self._places:
            if not inspect.iscoroutinefunction(function):
                raise NotPlain(f"{function} needs a thread")
            wanted = inspect.signature(function).parameters.values()
            arguments = tuple((p.name, *self._argument(p)) for p in wanted)
            self._places[function] = len(self._calls)
            self._calls.append(_Call(function, arguments))
        return self._places[function]

    def _argument(self, parameter: inspect.Parameter) -> tuple[bool, int]:
        """Where the value of a parameter will be."""
        kind, *told = _parts(parameter.annotation)
        if kind is Request:
            return False, 0
        for field in told:
            if isinstance(field, params.Depends) and field.dependency and field.use_cache:
                return True, self._call(field.dependency)
        self._takes.append(self._take(parameter, kind, told))
        return False, len(self._takes)

    def _take(self, parameter: inspect.Parameter, kind: Any, told: Iterable[Any]) -> Take:
        name, default = parameter.name, parameter.default
        for field in told:
            match field:
                case params.Path():
                    return _of_path(self._names.index(name), _judge(kind, field))
                case params.Query():
                    several = _is_several(kind)
                    return _of_query(field.alias or name, several, default, _judge(kind, field))
                case params.Header() if not _is_several(kind):
                    header = (field.alias or name.replace("_", "-")).lower().encode()
                    self._headers.add(header)
                    return _of_headers(header, default, _judge(kind, field))
        models = [part for part in get_args(kind) or [kind] if _is_model(part)]
        if told or not models or self.has_body:
            raise NotPlain(f"{name} is neither a parameter nor the whole body")
        self.has_body = True
        self._headers.add(CONTENT_TYPE)
        return _of_body(default, TypeAdapter(kind).validate_python)

    def take(self, scope: Scope, path: list[str], message: Message) -> list[Any]:
        """The values of all parameters, in their places; raises `NotPlain`. `message`: with the
        whole body, where there is one."""
        headers = _headers(scope, self._headers)
        given = Given(path, _query(scope["query_string"]), headers, _json(headers, message))
        try:
            return [None, *(take(given) for take in self._takes)]
        except ValidationError as error:
            raise NotPlain from error

    async def answer(self, request: Request, taken: list[Any]) -> Response:
        """What the endpoint returns; raises what it or a dependency raises."""
        taken[0] = request
        returned: list[Any] = []
        for function, arguments in self._calls:
            values = {name: (returned if of_call else taken)[n] for name, of_call, n in arguments}
            returned.append(await function(**values))
        response: Response = returned[-1]
        return response


def _parts(annotation: Any) -> tuple[Any, ...]:
    """The type of an annotation, and what is said beside it."""
    return get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)


def _is_model(kind: Any) -> bool:
    return inspect.isclass(kind) and issubclass(kind, BaseModel)


def _is_several(kind: Any) -> bool:
    """Whether a parameter may come several times."""
    return get_origin(kind) in (list, set, frozenset, tuple)


def _judge(kind: Any, field: params.Param) -> Callable[[Any], Any]:
    """Judges a value as FastAPI does."""
    annotation: Any = Annotated[(kind, *field.metadata)] if field.metadata else kind
    return TypeAdapter(annotation).validate_python


def _of_path(place: int, judge: Callable[[Any], Any]) -> Take:
    return lambda given: judge(given.path[place])


def _of_query(name: str, several: bool, default: Any, judge: Callable[[Any], Any]) -> Take:
    """Of several with one name the last, as Starlette has it; all, where several may come."""

    def take(given: Given) -> Any:
        values = given.query.get(name)
        if values is None:
            return _else(default)
        return judge(values if several else values[-1])

    return take


def _of_headers(name: bytes, default: Any, judge: Callable[[Any], Any]) -> Take:
    def take(given: Given) -> Any:
        value = given.headers.get(name)
        return _else(default) if value is None else judge(value)

    return take


def _of_body(default: Any, judge: Callable[[Any], Any]) -> Take:
    return lambda given: _else(default) if given.body is None else judge(given.body)


def _else(default: Any) -> Any:
    if default is REQUIRED:
        raise NotPlain
    return default


def _headers(scope: Scope, wanted: set[bytes]) -> dict[bytes, str]:
    """Those that are wanted, each at most once."""
    found: dict[bytes, str] = {}
    for name, value in scope["headers"]:
        if name in wanted:
            if name in found:
                raise NotPlain
            found[name] = value.decode("latin-1")
    return found


def _query(said: bytes) -> dict[str, list[str]]:
    """Read as Starlette reads it."""
    return parse_qs(said.decode("latin-1"), keep_blank_values=True) if said else {}


def _json(headers: Mapping[bytes, str], message: Message) -> Any:
    """The body; None when there is none."""
    body = message.get("body", b"")
    if not body and not message.get("more_body", False):
        return None
    if message["more_body"] or headers.get(CONTENT_TYPE) != JSON:
        raise NotPlain
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise NotPlain from error


class _Node:
    """One part of the paths of routes, and what may follow it."""

    __slots__ = ("parameter", "plans", "texts")

    def __init__(self) -> None:
        self.texts: dict[str, _Node] = {}
        self.parameter: _Node | None = None
        self.plans: dict[str, Plan | None] = {}

    def below(self, part: str) -> "_Node":
        """The node of a part of a path as routes write it; made when there is none."""
        if not part.startswith("{"):
            return self.texts.setdefault(part, _Node())
        self.parameter = self.parameter or _Node()
        return self.parameter


class FastPath:
    """ASGI middleware, the innermost: answers what is plainly for one of `routes`, and leaves the
    rest to FastAPI."""

    def __init__(self, app: ASGIApp, routes: Iterable[BaseRoute]) -> None:
        self._app = app
        self._root = _Node()
        for route in routes:
            if isinstance(route, APIRoute):
                self._add(route)

    def _add(self, route: APIRoute) -> None:
        """Where two routes fit, the first one counts, as for FastAPI."""
        node = self._root
        for part in route.path.split("/"):
            node = node.below(part)
        for method in route.methods or ():
            node.plans.setdefault(method, _plan(route))

    def find(self, method: str, path: str) -> tuple[Plan, list[str]] | None:
        """The plan of a request, and the parameters in its path; None: FastAPI knows."""
        node, found = self._root, []
        for part in path.split("/"):
            below = node.texts.get(part)
            if below is None:
                if node.parameter is None or not part:
                    return None
                found.append(part)
                below = node.parameter
            node = below
        plan = node.plans.get(method)
        return None if plan is None else (plan, found)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self.find(scope["method"], scope["path"]) if scope["type"] == "http" else None
        if found is None:
            await self._app(scope, receive, send)
            return
        plan, path = found
        message: Message = await receive() if plan.has_body else {}
        try:
            taken = plan.take(scope, path, message)
        except NotPlain:
            await self._app(scope, replay(message, receive) if message else receive, send)
            return
        response = await _answer(plan, Request(scope, receive), taken)
        await response(scope, receive, send)


def _plan(route: APIRoute) -> Plan | None:
    try:
        return Plan(route)
    except NotPlain:
        return None


async def _answer(plan: Plan, request: Request, taken: list[Any]) -> Response:
    try:
        return await plan.answer(request, taken)
    except problems.KNOWN as error:
        return await problems.answer(request, error)
