"""`/docs`: the OpenAPI document as a page for people.

Written out here, without a script and without a part from elsewhere: FastAPI's own page loads one
from a content network, which would run with every right that an operator's browser has here.
"""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

STYLE = "/dashboard/style.css"
_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Stationkeep API</title>
<link rel="icon" href="/dashboard/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="{style}">
</head>
<body>
<header class="bar"><p class="brand">Stationkeep API {version}</p></header>
<main>
<p>{description}</p>
<p>The same for programs: <a href="/openapi.json">openapi.json</a></p>
"""
_LIMITS = {
    "minimum": "at least",
    "maximum": "at most",
    "minLength": "characters at least",
    "maxLength": "characters at most",
    "minItems": "entries at least",
    "maxItems": "entries at most",
    "pattern": "matching",
    "default": "else",
}
"""What of a schema is shown beside its type, and in which words."""

Schema = Mapping[str, Any]


def page(document: Schema) -> bytes:
    """The whole page, UTF-8."""
    info = document["info"]
    head = _HEAD.format(
        style=STYLE, version=escape(info["version"]), description=escape(info["description"])
    )
    parts = [head, *_operations(document["paths"]), "<h2>Objects</h2>"]
    for name, schema in sorted(document["components"]["schemas"].items()):
        parts += _object(name, schema)
    return "\n".join([*parts, "</main></body></html>"]).encode()


def _operations(paths: Mapping[str, Mapping[str, Schema]]) -> Iterator[str]:
    for path, operations in paths.items():
        for method, operation in operations.items():
            title = f"<code>{method.upper()} {escape(path)}</code>"
            yield f"<details><summary>{title} {escape(operation['summary'])}</summary>"
            yield f"<p>{escape(operation.get('description', ''))}</p>"
            for needed in operation.get("security", ())[:1]:
                yield f"<p>Role, where a token is asked for: {', '.join(needed['token'])}.</p>"
            yield from _table(_parameters(operation))
            yield "</details>"


def _parameters(operation: Schema) -> Iterator[tuple[str, str, str]]:
    for given in operation.get("parameters", ()):
        needed = "" if given.get("required") else ", optional"
        about = f"{_type(given['schema'])} {escape(given.get('description', ''))}"
        yield escape(given["name"]), f"in {given['in']}{needed}", about
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        yield "body", escape(media), _type(content["schema"])
    for status, answer in operation["responses"].items():
        shapes = [_type(content["schema"]) for content in answer.get("content", {}).values()]
        yield escape(str(status)), escape(answer["description"]), " or ".join(shapes)


def _object(name: str, schema: Schema) -> Iterator[str]:
    required = schema.get("required", ())
    yield f'<details id="{escape(name)}"><summary><code>{escape(name)}</code></summary>'
    yield f"<p>{escape(schema.get('description', ''))}</p>"
    fields = schema.get("properties", {}).items()
    if not fields:
        yield f"<p>{_type(schema)}</p>"
    yield from _table(
        (escape(field), "" if field in required else "optional", _type(kind))
        for field, kind in fields
    )
    yield "</details>"


def _table(rows: Iterator[tuple[str, str, str]]) -> Iterator[str]:
    yield "<table>"
    for name, kind, about in rows:
        yield f"<tr><th scope='row'><code>{name}</code></th><td>{kind}</td><td>{about}</td></tr>"
    yield "</table>"


def _type(schema: Schema) -> str:
    """A schema in a line of HTML."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(map(_type, schema[several]))
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return ", ".join(f"<code>{escape(str(value))}</code>" for value in values)
    limits = [
        f"{words} {escape(str(schema[key]))}" for key, words in _LIMITS.items() if key in schema
    ]
    return ", ".join([_plain(schema), *limits])


def _plain(schema: Schema) -> str:
    kind = schema.get("type", "anything")
    if "prefixItems" in schema:  # of a tuple, `items` says that there are no more
        return f"list of {', '.join(map(_type, schema['prefixItems']))}"
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return f"object of {_type(schema['additionalProperties'])}"
    return escape(str(kind))
