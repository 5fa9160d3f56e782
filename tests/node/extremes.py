"""Values of the types that messages have, as strategies of hypothesis: their bounds above all."""

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st
from msgspec import inspect

Named = Mapping[str, st.SearchStrategy[Any]]
"""Fields that are not made from their type: where only what there is says anything."""
DATES = ["0001-01-01T00:00:00", "9999-12-31T23:59:59.999999+23:59", "1969-12-31T23:59:59Z"]
WORDS = ["a", "temperature", "deployment", "b_1"]


def made(kind: inspect.Type, named: Named) -> st.SearchStrategy[Any]:
    """Values of a type."""
    match kind:
        case inspect.BoolType():
            return st.booleans()
        case inspect.IntType(ge=least, le=most):
            least, most = -(2**63) if least is None else least, 2**64 - 1 if most is None else most
            return st.sampled_from([least, least + 1, most - 1, most])
        case inspect.FloatType(ge=least, le=most):
            least, most = -1.7e308 if least is None else least, 1.7e308 if most is None else most
            return st.sampled_from([least, most]) | st.floats(least, most)
        case inspect.StrType(pattern=None, min_length=least, max_length=most):
            short = st.text(st.characters(codec="utf-8"), min_size=least or 0, max_size=8)
            return short | st.just("ü" * (most or 99))
        case inspect.StrType():
            return st.sampled_from(WORDS)
        case inspect.EnumType(cls=cls):
            return st.sampled_from([item.value for item in cls])
        case inspect.LiteralType(values=values):
            return st.sampled_from(values)
        case inspect.NoneType():
            return st.none()
        case inspect.DateTimeType():
            return st.sampled_from(DATES)
        case inspect.UnionType(types=types):
            return st.one_of([made(each, named) for each in types])
        case inspect.DictType(key_type=key, value_type=value):
            return st.dictionaries(made(key, named), made(value, named), max_size=3)
        case inspect.ListType(item_type=item, min_length=least):
            return st.lists(made(item, named), min_size=least or 0, max_size=4)
        case inspect.StructType():
            return _struct(kind, named)
        case _:
            raise AssertionError(f"nothing here makes {kind}")


def _struct(kind: inspect.StructType, named: Named) -> st.SearchStrategy[Any]:
    fields = {
        field.encode_name: named[field.name] if field.name in named else made(field.type, named)
        for field in kind.fields
    }
    if kind.array_like:
        return st.tuples(*fields.values())
    needed = {field.encode_name for field in kind.fields if field.required}
    tag = {} if kind.tag_field is None else {kind.tag_field: st.just(kind.tag)}
    return st.fixed_dictionaries(
        {name: value for name, value in fields.items() if name in needed} | tag,
        optional={name: value for name, value in fields.items() if name not in needed},
    )
