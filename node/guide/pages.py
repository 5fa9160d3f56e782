"""The pages of the guide: which topics there are, in which order, and the text of each.

Only the files of the package can be asked for: a topic is looked up among the names found there
and never made into a path.
"""

import posixpath
import re
from collections.abc import Iterator
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import NamedTuple

from stationkeep.cluster.suggestion import suggestion

PACKAGE = "stationkeep.node.guide"
INDEX = "index"
"""The topic whose page lists the others, in the order in which they are read."""
FOLDERS = ("", "reference")
SUFFIX = ".md"
MOST_REPEATED = 100
"""Characters of an unknown topic that a refusal repeats."""
_FENCE = re.compile(r" {0,3}(```+|~~~+)")
_COMMENT = re.compile(r"<!--.*-->\s*")
_TITLE = re.compile(r"^# +(.+?)\s*$", re.MULTILINE)
_LINK = re.compile(r"\[([^\]]+)\]\(([^)\s]+)\)")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)


class UnknownTopicError(LookupError):
    """There is no such page; says which was probably meant."""


class Page(NamedTuple):
    """One page. `path`: where it lies in the guide's folder; `text`: Markdown, as in the file but
    without its comments."""

    topic: str
    path: str
    title: str
    text: str


class Target(NamedTuple):
    """Where a link within the guide leads; `anchor` is "" for the top of the page."""

    topic: str
    anchor: str


def topics() -> tuple[str, ...]:
    """Every topic: the index, then those that it names, in its order, then the others."""
    return tuple(_pages())


def find(topic: str) -> Page:
    """The page of a topic. Raises `UnknownTopicError`."""
    found = _pages().get(topic)
    if found is None:
        asked = topic[:MOST_REPEATED]
        raise UnknownTopicError(f"the guide has no page {asked!r}{suggestion(asked, _pages())}")
    return found


def target(page: Page, link: str) -> Target | None:
    """What a link of a page leads to, None if that is no page of the guide."""
    if _SCHEME.match(link) or link.startswith("/"):
        return None
    file, _, anchor = link.partition("#")
    if not file:
        return Target(page.topic, anchor)
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page.path), file))
    topic = _by_path().get(path)
    return None if topic is None else Target(topic, anchor)


def is_external(link: str) -> bool:
    """Whether a link names a place outside of the checkout and of the node."""
    return _SCHEME.match(link) is not None


def for_terminal(page: Page) -> str:
    """The text with the words of a link in its place where a terminal could not follow it."""

    def plain(match: re.Match[str]) -> str:
        return match[0] if is_external(match[2]) else match[1]

    return "".join(
        line if is_code else _LINK.sub(plain, line) for line, is_code in lines(page.text)
    )


def lines(text: str) -> Iterator[tuple[str, bool]]:
    """Each line with its end, and whether it belongs to a fenced block."""
    fence = ""
    for line in text.splitlines(keepends=True):
        mark = _FENCE.match(line)
        if fence:
            yield line, True
            if mark is not None and mark[1].startswith(fence) and not line[mark.end() :].strip():
                fence = ""
        elif mark is not None:
            fence = mark[1]
            yield line, True
        else:
            yield line, False


@cache
def _pages() -> dict[str, Page]:
    found = {page.topic: page for page in _read()}
    if INDEX not in found:
        return dict(sorted(found.items()))
    index = found[INDEX]
    order = [INDEX]
    for link in _LINK.findall(index.text):
        topic = posixpath.basename(link[1].partition("#")[0]).removesuffix(SUFFIX)
        if topic in found and topic not in order:
            order.append(topic)
    order += sorted(found.keys() - set(order))
    return {topic: found[topic] for topic in order}


@cache
def _by_path() -> dict[str, str]:
    return {page.path: page.topic for page in _pages().values()}


def _read() -> Iterator[Page]:
    root = resources.files(PACKAGE)
    for folder in FOLDERS:
        for file in _files(root / folder if folder else root):
            text = _without_comments(file.read_text(encoding="utf-8"))
            topic = file.name.removesuffix(SUFFIX)
            title = _TITLE.search(text)
            path = posixpath.join(folder, file.name)
            yield Page(topic, path, title[1] if title else topic, text)


def _files(folder: Traversable) -> Iterator[Traversable]:
    if folder.is_dir():
        yield from (entry for entry in folder.iterdir() if entry.name.endswith(SUFFIX))


def _without_comments(text: str) -> str:
    """Without lines that are a comment, such as the marks around what a script writes."""
    return "".join(line for line, is_code in lines(text) if is_code or not _COMMENT.fullmatch(line))
