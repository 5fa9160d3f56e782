"""What the command line takes for granted of answers is what the API says that it answers.

Every command is run, and each shape that it looks for at a path is laid over the struct that the
OpenAPI document names for that path. So neither side can be changed alone: a field that is gone,
renamed, nullable or of another type is found here, and so is a shape that nobody uses.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from msgspec import inspect

from stationkeep.node.api.app import build
from stationkeep.node.api.openapi import VIEWS
from stationkeep.node.cli import exchange, rollout_shapes, shapes
from stationkeep.node.views.deployments import CreatedView
from stationkeep.node.views.records import DoneView, OperationView, UnknownView
from tests.node.api.fake import FakeNode
from tests.node.cli.canned import CannedNode, Run
from tests.node.cli.every_command import every_command

NUMBERS = (inspect.IntType, inspect.FloatType)
TEXTS = (inspect.StrType, inspect.EnumType, inspect.LiteralType)
OF_SOME = {"next", "operation", "status", "detail", "result", "index", "warnings"}
OF_SOME |= shapes.Made.__annotations__.keys()
"""Fields of a shape for several answers, of which not each has all: `Page` and `Written`."""


@pytest.fixture
def looked_for(
    monkeypatch: pytest.MonkeyPatch, canned: CannedNode, stationkeep: Run, tmp_path: Path
) -> list[tuple[str, Any]]:
    """A path, and a shape that a command looked for there; of every command that asks."""
    found: dict[tuple[str, str], tuple[str, Any]] = {}

    def understood(answer: exchange.Answer, shape: Any) -> dict[str, Any]:
        if shape is not shapes.Written:
            path = urlsplit(answer.url).path
            found[path, str(shape)] = path, shape
        return real(answer, shape)

    real = exchange.understood
    for name, module in list(sys.modules.items()):
        if name.startswith("stationkeep.node.cli.") and getattr(module, "understood", None) is real:
            monkeypatch.setattr(module, "understood", understood)
    for command in every_command():
        if command.asks and not command.is_device:
            for arguments in command.variants(tmp_path / "file"):
                stationkeep(*arguments)
    return list(found.values())


def _answered() -> Iterator[tuple[re.Pattern[str], type]]:
    """Each path of the document, and the struct that answers there."""
    known = {view.__name__: view for view in VIEWS}
    for path, methods in build(FakeNode()).openapi()["paths"].items():
        content = methods.get("get", methods.get("post", {})).get("responses", {}).get("200", {})
        schema = content.get("content", {}).get("application/json", {}).get("schema", {})
        name = schema.get("$ref", "").rpartition("/")[2]
        if name in known:
            parts = re.sub(r"\{[^}]*\}", "[^/]+", path)
            yield re.compile(f"^{parts}$"), known[name]


def _misfits(answer: inspect.Type, wanted: inspect.Type, place: str) -> Iterator[str]:
    """Where what is answered may be something else than what is wanted."""
    answer, wanted = _bare(answer), _bare(wanted)
    if isinstance(wanted, inspect.AnyType):
        return
    if isinstance(answer, inspect.UnionType):
        for one in answer.types:
            yield from _misfits(one, wanted, place)
        return
    choices = wanted.types if isinstance(wanted, inspect.UnionType) else (wanted,)
    fitting = [list(_misfit(answer, _bare(choice), place)) for choice in choices]
    if all(fitting):
        yield from min(fitting, key=len)


def _bare(kind: inspect.Type) -> inspect.Type:
    """Without what only the document says of it."""
    return _bare(kind.type) if isinstance(kind, inspect.Metadata) else kind


def _misfit(answer: inspect.Type, wanted: inspect.Type, place: str) -> Iterator[str]:
    match answer, wanted:
        case inspect.StructType(), inspect.TypedDictType() | inspect.StructType():
            yield from _missing(answer, wanted, place)
        case inspect.ListType(), inspect.ListType():
            yield from _misfits(answer.item_type, wanted.item_type, f"{place}[]")
        case inspect.DictType(), inspect.DictType():
            yield from _misfits(answer.value_type, wanted.value_type, f"{place}{{}}")
        case _:
            same = type(answer) is type(wanted)
            text = isinstance(answer, TEXTS) and isinstance(wanted, inspect.StrType)
            number = isinstance(answer, NUMBERS) and isinstance(wanted, inspect.FloatType)
            if not (same or text or number):
                yield f"{place}: {type(answer).__name__} is answered, {wanted} is wanted"


def _missing(
    answer: inspect.StructType, wanted: inspect.TypedDictType | inspect.StructType, place: str
) -> Iterator[str]:
    given = {field.encode_name: field for field in answer.fields}
    for field in wanted.fields:
        here = f"{place}.{field.encode_name}"
        if field.encode_name in given:
            yield from _misfits(given[field.encode_name].type, field.type, here)
        elif field.required or field.encode_name not in OF_SOME:
            yield f"{here}: nothing of this name is answered"


def misfits(view: type, shape: Any) -> list[str]:
    """What `shape` expects of the answer `view` and may not get."""
    return list(_misfits(inspect.type_info(view), inspect.type_info(shape), view.__name__))


def _inner(kind: Any, known: set[str]) -> set[str]:
    """Names of the typed dicts that a shape is made of."""
    match kind:
        case inspect.TypedDictType():
            known.add(kind.cls.__name__)
            for field in kind.fields:
                _inner(field.type, known)
        case inspect.ListType():
            _inner(kind.item_type, known)
        case inspect.DictType():
            _inner(kind.value_type, known)
        case inspect.UnionType():
            for one in kind.types:
                _inner(one, known)
    return known


def test_every_shape_fits_the_answer_at_its_path(looked_for: list[tuple[str, Any]]) -> None:
    answers = list(_answered())
    found, used = [], {"Made", "Written", "Head"}
    for path, shape in looked_for:
        views = [view for pattern, view in answers if pattern.match(path)]
        assert views, f"no struct answers at {path}"
        found += [f"{path}: {one}" for one in misfits(views[0], shape)]
        used |= _inner(inspect.type_info(shape), set())
    assert found == []
    defined = {
        name
        for module in (shapes, rollout_shapes)
        for name, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__
    }
    assert defined - used == set()


@pytest.mark.parametrize("view", [DoneView, UnknownView, OperationView, CreatedView])
def test_what_a_write_is_answered(view: type) -> None:
    assert misfits(view, shapes.Written) == []


def test_a_field_that_was_renamed_retyped_or_made_nullable_is_found() -> None:
    """The test of this test."""

    class Answer(msgspec.Struct):
        risk: float | None
        name: int
        lost: str

    class Inner(shapes.TypedDict):
        risk: float
        name: str
        missing: str

    found = {one.split(":")[0] for one in misfits(Answer, Inner)}
    assert found == {"Answer.risk", "Answer.name", "Answer.missing"}
