"""Lists in pages: a limit and an opaque cursor.

A cursor is the key of the last item shown, not a position: a list that grows at its head
meanwhile neither repeats nor skips items. It is checked like any other input.
"""

import base64
import binascii
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Annotated, TypeVar

import msgspec
from fastapi import Query

from stationkeep.node.http.problems import invalid

MAX_LIMIT = 1_000
DEFAULT_LIMIT = 100
MAX_CURSOR = 512
"""Characters."""

Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Items on a page.")]
Cursor = Annotated[
    str | None, Query(max_length=MAX_CURSOR, description="`next` of the page before.")
]

T = TypeVar("T")
K = TypeVar("K")
Key = int | str | tuple[int, int] | tuple[int, str] | tuple[int, int, str]


def encode_cursor(key: Key) -> str:
    """An opaque cursor for the key of the last item of a page."""
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(key)).decode().rstrip("=")


def decode_cursor(cursor: str, kind: type[K]) -> K:
    """The key in a cursor; raises 400 for anything that `encode_cursor` did not make."""
    padded = cursor + "=" * (-len(cursor) % 4)
    try:
        raw = base64.b64decode(padded, altchars=b"-_", validate=True)
        return msgspec.msgpack.decode(raw, type=kind)
    except (ValueError, binascii.Error, msgspec.MsgspecError) as error:
        raise invalid("cursor", cursor, "the `next` of an earlier page of this list") from error


def page(items: Iterable[T], limit: int, key: Callable[[T], Key]) -> tuple[list[T], str | None]:
    """The first `limit` items, and the cursor of the next page when there is one."""
    taken = list(islice(items, limit + 1))
    shown = taken[:limit]
    return shown, encode_cursor(key(shown[-1])) if len(taken) > limit else None
