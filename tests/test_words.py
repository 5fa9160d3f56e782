"""No message of ours is a library's own text: it would change with a release that we did not make.

Each place where a library says why it refuses something is given errors of every kind that the
library has, with words that nobody else uses; none of the words may come out.
"""

import ssl
from typing import Any, get_args

import httpx
import msgspec
import pytest
from pydantic_core import PydanticKnownError, core_schema

from stationkeep.cluster import unreadable
from stationkeep.node.http import rules
from stationkeep.node.wire.unreached import ELSE, why

FOREIGN = "xyzzy"


@pytest.mark.parametrize("kind", get_args(core_schema.ErrorType))
def test_pydantic(kind: str) -> None:
    error: dict[str, Any] = {"type": kind, "msg": FOREIGN, "loc": ("body", "x"), "ctx": {}}
    assert FOREIGN not in rules.rule(error)


def test_pydantic_with_what_its_errors_carry() -> None:
    error = PydanticKnownError("string_too_long", {"max_length": 3})
    said = {"type": error.type, "msg": error.message(), "ctx": error.context}
    assert rules.rule(said) == "a text of at most 3 characters"


def _all(kind: type[Exception]) -> list[type[Exception]]:
    return [kind, *(one for below in kind.__subclasses__() for one in _all(below))]


@pytest.mark.parametrize("kind", [httpx.InvalidURL, ssl.SSLError, OSError, *_all(httpx.HTTPError)])
def test_httpx(kind: type[Exception]) -> None:
    request = httpx.Request("GET", "http://x")
    answer = {"request": request, "response": httpx.Response(500)}
    more = answer if kind is httpx.HTTPStatusError else {}
    error = kind(FOREIGN, **more)
    assert FOREIGN not in why(error)
    assert why(error) or why(error) == ELSE


def test_what_the_system_says_stays() -> None:
    error = httpx.ConnectError(FOREIGN)
    error.__cause__ = OSError(113, "No route to host")
    assert why(error) == "no route to host"


@pytest.mark.parametrize(
    "error",
    [
        msgspec.DecodeError(FOREIGN),
        msgspec.ValidationError(FOREIGN),
        msgspec.ValidationError(f"{FOREIGN} - at `$.x`"),
        RecursionError(FOREIGN),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, FOREIGN),
    ],
)
def test_msgspec(error: Exception) -> None:
    assert FOREIGN not in str(unreadable.explain(error, "json"))
