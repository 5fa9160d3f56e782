"""A page of the guide as HTML: the article, and the page of a node around it.

CommonMark with tables, without HTML of its own; the result holds no script and no style, so that
it can be served under the policy of the dashboard. Headings get the anchors that GitHub gives them.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from itertools import pairwise
from typing import Any, NamedTuple

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token

from stationkeep.node.guide.pages import INDEX, Page, find, is_external, target, topics

ROOT = "/guide/"
STYLE = f"{ROOT}style.css"
_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title} · Stationkeep</title>
<link rel="icon" href="/dashboard/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/dashboard/style.css">
<link rel="stylesheet" href="{style}">
</head>
<body class="guide">
<a class="skip" href="#article">Skip to the page</a>
<header class="bar">
<p class="brand"><img src="/dashboard/icon.svg" alt="" width="24" height="24">
<a href="{root}">Guide</a></p>
<p class="link"><a class="down" href="#topics">Topics</a> <a href="/">Dashboard</a>
<a href="/docs">API</a></p>
</header>
<div class="pages">
"""
_NOT_IN_ANCHOR = re.compile(r"[^\w\- ]")


class Section(NamedTuple):
    """A heading: `level` 1 to 6, `text` without markup."""

    level: int
    text: str
    anchor: str


class Article(NamedTuple):
    """A rendered page, without what is around it."""

    html: str
    sections: tuple[Section, ...]


def article(page: Page) -> Article:
    """The page's own HTML and its headings."""
    tokens = _PARSER.parse(page.text)
    sections = tuple(_anchored(tokens))
    for token in _all(tokens):
        if token.type == "link_open":
            _lead(token, page)
        elif token.type in ("th_open", "td_open"):
            _align(token)
    return Article(_PARSER.renderer.render(tokens, _PARSER.options, {}), sections)


def links(page: Page) -> list[str]:
    """Where the links and pictures of a page lead, as they stand there."""
    return [
        str(token.attrGet(name))
        for token in _all(_PARSER.parse(page.text))
        for kind, name in (("link_open", "href"), ("image", "src"))
        if token.type == kind
    ]


def document(page: Page) -> bytes:
    """The whole page as a node serves it, UTF-8."""
    made = article(page)
    head = _HEAD.format(title=escape(page.title), style=STYLE, root=ROOT)
    parts = [head, *_navigation(page, made.sections), '<main id="article">', made.html]
    parts += [*_neighbours(page), "</main></div></body></html>"]
    return "\n".join(parts).encode()


def address(topic: str, anchor: str = "") -> str:
    """Where a node serves a page."""
    return (ROOT if topic == INDEX else ROOT + topic) + (f"#{anchor}" if anchor else "")


def anchor_of(heading: str) -> str:
    """The anchor that GitHub makes of the text of a heading, if no other has it."""
    return _NOT_IN_ANCHOR.sub("", heading.strip().lower()).replace(" ", "-")


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parser.add_render_rule("table_open", _table_open)
    parser.add_render_rule("table_close", _table_close)
    parser.add_render_rule("fence", _fence)
    return parser


def _table_open(self: RendererHTML, tokens: Sequence[Token], at: int, *_: Any) -> str:
    """What is wider than the page scrolls by itself, also with a keyboard."""
    return f'<div class="wide" tabindex="0"><table{self.renderAttrs(tokens[at])}>\n'


def _table_close(*_: Any) -> str:
    return "</table></div>\n"


def _fence(_self: RendererHTML, tokens: Sequence[Token], at: int, *_: Any) -> str:
    """A diagram would need a script to be drawn; it is there for those who want its source."""
    kind = tokens[at].info.strip().partition(" ")[0]
    block = f'<pre tabindex="0"><code>{escape(tokens[at].content)}</code></pre>\n'
    if kind != "mermaid":
        return block
    return f"<details><summary>Diagram, as its Mermaid source</summary>\n{block}</details>\n"


_PARSER = _parser()


def _all(tokens: Iterable[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from _all(token.children or ())


def _anchored(tokens: Sequence[Token]) -> Iterator[Section]:
    """Gives every heading its anchor. A second one of the same words gets a number."""
    used: dict[str, int] = {}
    for opening, inline in pairwise(tokens):
        if opening.type != "heading_open":
            continue
        text = _words(inline)
        name = anchor = anchor_of(text)
        while anchor in used:
            used[name] += 1
            anchor = f"{name}-{used[name]}"
        used[anchor] = 0
        opening.attrSet("id", anchor)
        yield Section(int(opening.tag[1]), text, anchor)


def _words(inline: Token) -> str:
    return "".join(
        part.content for part in _all(inline.children or ()) if part.type in ("text", "code_inline")
    )


def _lead(link: Token, page: Page) -> None:
    """A link to a page leads to where a node serves it; one to a file that no node serves is
    plain text there."""
    href = str(link.attrGet("href"))
    to = target(page, href)
    if to is not None:
        own = to.topic == page.topic and to.anchor
        link.attrSet("href", f"#{to.anchor}" if own else address(*to))
    elif not is_external(href) and not href.startswith("/"):
        del link.attrs["href"]


def _align(cell: Token) -> None:
    """By a class: the policy forbids styles in the page."""
    style = str(cell.attrs.pop("style", ""))
    if style:
        cell.attrSet("class", style.rpartition(":")[2])


def _navigation(page: Page, sections: Sequence[Section]) -> Iterator[str]:
    yield '<nav id="topics" aria-label="Topics"><ul>'
    for topic in topics():
        title = escape(find(topic).title)
        if topic != page.topic:
            yield f'<li><a href="{address(topic)}">{title}</a></li>'
            continue
        yield f'<li><a href="{address(topic)}" aria-current="page">{title}</a><ul>'
        for section in sections:
            if section.level == 2:
                yield f'<li><a href="#{escape(section.anchor)}">{escape(section.text)}</a></li>'
        yield "</ul></li>"
    yield "</ul></nav>"


def _neighbours(page: Page) -> Iterator[str]:
    """The way on, in reading order."""
    order = topics()
    at = order.index(page.topic)
    yield '<p class="neighbours">'
    if at > 0:
        before = find(order[at - 1])
        yield f'<a rel="prev" href="{address(before.topic)}">← {escape(before.title)}</a>'
    if at + 1 < len(order):
        after = find(order[at + 1])
        yield f'<a rel="next" href="{address(after.topic)}">{escape(after.title)} →</a>'
    yield "</p>"
