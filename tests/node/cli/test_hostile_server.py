"""What answers at `--url` may be anything: each command ends with a line and an exit code."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import Result

from tests.node.cli.canned import READS, CannedNode, Run
from tests.node.cli.every_command import Command, every_command

ASKING = [command for command in every_command() if command.asks and not command.is_device]
BODIES = {
    "nothing": b"",
    "no JSON": b"<html>\x1b[2J",
    "no UTF-8": b'{"items": "\xff\xfe"}',
    "a list": b"[]",
    "null": b"null",
    "an empty object": b"{}",
    "items of no sort": b'{"items": [1, null, "x", []], "next": 7}',
    "items that are none": b'{"items": {"a": {}}}',
    "a page without end": b'{"items": [], "next": "x"}',
    "nested without end": b'{"items": ' + b"[" * 100_000,
    "nested deeply": b'{"items": [' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"]}",
    "5,000 digits": b'{"items": [' + b"9" * 5_000 + b'], "index": ' + b"9" * 5_000 + b"}",
    "half a pair": b'{"items": [], "detail": "\\ud800", "status": "\\ud800"}',
    "not a number": b'{"items": [], "index": NaN}',
}
STATUSES = (200, 202, 204, 302, 404, 409, 500, 503, 599)
WORTHLESS = ("null", "true", "-1", "9" * 5_000, "1e308", "1e15", "0.5", '"x"', "[]", "[[]]", "{}")
MARK = "@@"


def check(result: Result) -> None:
    assert result.exception is None or isinstance(result.exception, SystemExit)
    if result.exit_code:
        assert 1 <= result.exit_code <= 6
        assert "stationkeep: " in result.output
        assert len(result.output) < 5_000


@pytest.mark.parametrize("command", ASKING, ids=str)
def test_every_command_against_every_body(
    command: Command, canned: CannedNode, stationkeep: Run, tmp_path: Path
) -> None:
    for number, body in enumerate(BODIES.values()):
        status = STATUSES[number % len(STATUSES)]
        for code in {200, status}:
            canned.answer = httpx.Response(code, content=body)
            check(stationkeep(*command.arguments(tmp_path / "file")))


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to everything in an answer; of a list only the first is looked at."""
    whole = value if isinstance(value, dict) else {}
    for name, item in enumerate(value[:1]) if isinstance(value, list) else whole.items():
        yield (*path, name)
        yield from places(item, (*path, name))


def spoilt(answer: Any, place: tuple[Any, ...], raw: str | None) -> bytes:
    """The answer with raw JSON at that place, or without what was there."""
    copy = json.loads(json.dumps(answer))
    holder = copy
    for name in place[:-1]:
        holder = holder[name]
    if raw is None:
        del holder[place[-1]]
    else:
        holder[place[-1]] = MARK
    return json.dumps(copy).replace(f'"{MARK}"', raw or "").encode()


@pytest.mark.parametrize("command", ASKING, ids=str)
def test_every_command_against_answers_with_one_odd_thing(
    command: Command, canned: CannedNode, stationkeep: Run, tmp_path: Path
) -> None:
    draw = random.Random(str(command))
    for arguments in command.variants(tmp_path / "file"):
        canned.requests.clear()
        stationkeep(*arguments)
        paths = {request.url.path for request in canned.requests if request.url.path in READS}
        odd = [
            (path, place, raw)
            for path in sorted(paths)
            for place in places(READS[path])
            for raw in (None, *WORTHLESS)
        ]
        for path, place, raw in draw.sample(odd, min(CASES, len(odd))):
            canned.raw = {path: spoilt(READS[path], place, raw)}
            try:
                check(stationkeep(*arguments))
            except Exception as error:
                error.add_note(f"{path} {place} = {raw and raw[:20]}")
                raise
        canned.raw = {}


CASES = 25
"""Drawn of each command's; all of them were tried once."""
