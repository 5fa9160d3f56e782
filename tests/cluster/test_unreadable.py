"""What could not be decoded is told in our words, whatever the library's are."""

import enum
from datetime import datetime
from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta

from stationkeep.cluster import unreadable
from stationkeep.cluster.unreadable import ELSE, UNREADABLE, explain


class Colour(enum.Enum):
    RED = "red"


class Box(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    name: Annotated[str, Meta(min_length=2, max_length=3, pattern="^[a-z]*$")] = "ab"
    size: Annotated[int, Meta(ge=0, le=9)] = 0
    share: Annotated[float, Meta(ge=0.5, le=1.5)] = 1.0
    parts: Annotated[list[int], Meta(min_length=1, max_length=2)] = msgspec.field(
        default_factory=lambda: [1]
    )
    colour: Colour = Colour.RED
    at: datetime | None = None
    pair: tuple[int, int] = (0, 0)
    tags: dict[str, int] = {}


REFUSED = [
    ({"name": 1}, "$.name", "expected str, got int"),
    ({"name": "a"}, "$.name", "expected str of length >= 2"),
    ({"name": "abcd"}, "$.name", "expected str of length <= 3"),
    ({"name": "AB"}, "$.name", "small letters"),
    ({"size": -1}, "$.size", "expected int >= 0"),
    ({"size": 10}, "$.size", "expected int <= 9"),
    ({"size": True}, "$.size", "expected int, got bool"),
    ({"share": 0.25}, "$.share", "expected float >= 0.5"),
    ({"share": 2.0}, "$.share", "expected float <= 1.5"),
    ({"parts": []}, "$.parts", "expected array of length >= 1"),
    ({"parts": [1, 2, 3]}, "$.parts", "expected array of length <= 2"),
    ({"parts": [1, "2"]}, "$.parts[1]", "expected int, got str"),
    ({"colour": "blue"}, "$.colour", "expected one of the known values"),
    ({"at": "yesterday"}, "$.at", ELSE),
    ({"at": 1}, "$.at", "expected datetime | null, got int"),
    ({"pair": [1]}, "$.pair", "expected array of another length"),
    ({"tags": {"x": "y"}}, "$.tags[...]", "expected int, got str"),
    ([], "$", "expected object, got array"),
]


def _refusal(data: bytes, module: Any, encoding: str) -> unreadable.Unreadable:
    with pytest.raises(UNREADABLE) as caught:
        module.decode(data, type=Box)
    return explain(caught.value, encoding, {"^[a-z]*$": "small letters"})


@pytest.mark.parametrize("module", [msgspec.json, msgspec.msgpack], ids=["json", "msgpack"])
@pytest.mark.parametrize(("value", "where", "rule"), REFUSED, ids=str)
def test_place_and_rule(module: Any, value: object, where: str, rule: str) -> None:
    assert _refusal(module.encode(value), module, "json") == (rule, where, "")


def test_a_name_too_many_is_shown_in_part() -> None:
    name = "\x1b" * 1_000
    wrong = _refusal(msgspec.json.encode({name: 1}), msgspec.json, "json")
    assert wrong == ("no such field", "$", name)
    assert len(str(wrong)) < 200
    assert "\x1b" not in str(wrong)


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"", "well-formed json"),
        (b"{", "well-formed json"),
        (b"{]", "well-formed json (byte 1)"),
        (b'{"name": "\xff"}', "UTF-8 text"),
        (b'{"tags": ' + b"[" * 100_000, "expected object, got array"),
        (b'{"unknown": ' + b"[" * 100_000, "nested less deeply"),
    ],
)
def test_what_is_no_json(data: bytes, rule: str) -> None:
    decoder = msgspec.json if b"unknown" not in data else msgspec.json.Decoder()
    with pytest.raises(UNREADABLE) as caught:
        decoder.decode(data, **({"type": Box} if decoder is msgspec.json else {}))
    assert explain(caught.value, "json").rule == rule


@pytest.mark.parametrize(
    "error",
    [
        msgspec.ValidationError("Words that no release has said - at `$.x`"),
        msgspec.DecodeError("Words that no release has said"),
    ],
)
def test_words_of_another_release_are_not_repeated(error: msgspec.DecodeError) -> None:
    assert "Words" not in str(explain(error, "msgpack"))
