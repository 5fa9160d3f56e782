"""Pages of the guide: every one can be shown, and every link in them leads somewhere."""

import re
from pathlib import Path

import pytest

from stationkeep.node.guide import pages, rendering
from stationkeep.node.guide.pages import (
    INDEX,
    Page,
    Target,
    UnknownTopicError,
    find,
    for_terminal,
    topics,
)

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "node" / "guide"


def written(text: str, path: str = "some.md") -> Page:
    return Page(Path(path).stem, path, "Some", text)


def html(text: str) -> str:
    return rendering.article(written(text)).html


# -- the pages that there are


def test_every_file_is_a_topic_and_the_index_names_each() -> None:
    files = {file.stem for file in FOLDER.rglob("*.md")}
    assert set(topics()) == files
    assert topics()[0] == INDEX
    named = {to.topic for link in rendering.links(find(INDEX)) if (to := target(INDEX, link))}
    assert named == files - {INDEX}


def target(topic: str, link: str) -> Target | None:
    return pages.target(find(topic), link)


@pytest.mark.parametrize("topic", topics())
def test_a_page_begins_with_its_title_and_has_no_other(topic: str) -> None:
    sections = rendering.article(find(topic)).sections
    assert [s.text for s in sections if s.level == 1] == [sections[0].text]
    assert find(topic).text.startswith("# ")


@pytest.mark.parametrize("topic", topics())
def test_a_page_is_rendered_without_script_style_or_markup_of_its_own(topic: str) -> None:
    page = rendering.document(find(topic)).decode()
    assert not re.search(r"<script|<style|<img(?! src=\"/dashboard/)|\sstyle=|\son[a-z]+=", page)
    assert "&lt;!--" not in page


@pytest.mark.parametrize("topic", topics())
def test_every_link_of_a_page_leads_somewhere(topic: str) -> None:
    page = find(topic)
    for link in rendering.links(page):
        if pages.is_external(link):
            continue
        to = pages.target(page, link)
        if to is None:
            file = (FOLDER / page.path).parent / link.partition("#")[0]
            assert file.resolve().is_relative_to(ROOT), link
            assert file.exists(), link
        elif to.anchor:
            anchors = {s.anchor for s in rendering.article(find(to.topic)).sections}
            assert to.anchor in anchors, link


@pytest.mark.parametrize("topic", topics())
def test_every_link_of_a_served_page_is_served(topic: str) -> None:
    made = rendering.document(find(topic)).decode()
    own = re.findall(r' id="([^"]+)"', made)
    assert len(own) == len(set(own))
    for link in re.findall(r'href="([^"]+)"', made):
        place, _, anchor = link.partition("#")
        if not place:
            assert anchor in own, link
        elif place.startswith(rendering.ROOT) and place != rendering.STYLE:
            find(place.removeprefix(rendering.ROOT) or INDEX)


def test_every_page_that_a_message_names_exists() -> None:
    """`see: stationkeep guide TOPIC`, and what `node.cli.failures.see` makes of it."""
    named = set()
    for file in (ROOT / "node").rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        named |= set(re.findall(r"[sS]ee: stationkeep guide ([a-z]+)|\bsee\(\"([a-z]+)\"\)", text))
    assert {one or other for one, other in named} <= set(topics())
    assert len(named) >= 3


# -- how they are found


def test_an_unknown_topic_is_refused_with_what_was_probably_meant() -> None:
    with pytest.raises(UnknownTopicError, match="did you mean configuration"):
        find("configuratoin")


@pytest.mark.parametrize(
    "topic",
    ["../config", "reference/roles", "__init__.py", "style.css", "index.md", "", "/", "x" * 9_999],
)
def test_nothing_but_a_topic_can_be_asked_for(topic: str) -> None:
    with pytest.raises(UnknownTopicError) as refused:
        find(topic)
    assert len(str(refused.value)) < 300


# -- how they are rendered


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("A node's file", "a-nodes-file"),
        ("`no_primary`", "no_primary"),
        ("Trigger 3: isolate, *then* wait", "trigger-3-isolate-then-wait"),
        ("Shares & caps", "shares--caps"),
        ("[A link](x.md) in it", "a-link-in-it"),
        ("Größe — 5 %", "größe--5-"),
    ],
)
def test_headings_have_the_anchors_of_github(heading: str, anchor: str) -> None:
    assert f'id="{anchor}"' in html(f"## {heading}")


def test_headings_of_the_same_words_have_different_anchors() -> None:
    made = rendering.article(written("## Same\n\n## Same\n\n## Same 1\n\n## Same"))
    assert [s.anchor for s in made.sections] == ["same", "same-1", "same-1-1", "same-2"]


def test_markup_in_a_page_is_shown_as_text() -> None:
    shown = html("a <b>bold</b> word\n\n<script>alert(1)</script>\n\n[x](javascript:alert)")
    assert "<b>" not in shown
    assert "<script>" not in shown
    assert "href" not in shown


def test_a_table_is_aligned_by_classes() -> None:
    shown = html("| a | b |\n| --- | ---: |\n| 1 | 2 |")
    assert '<td class="right">2</td>' in shown
    assert "style=" not in shown


def test_links_between_pages_lead_to_where_a_node_serves_them() -> None:
    page = find("configuration")
    assert pages.target(page, "tuning.md#x") is None or "tuning" in topics()
    assert pages.target(page, "#settings") == Target("configuration", "settings")
    assert pages.target(page, "configuration.md#a") == Target("configuration", "a")
    within = page._replace(path="reference/configuration.md")
    assert pages.target(within, "../index.md") == Target(INDEX, "")
    assert pages.target(page, "https://example.org/index.md") is None
    assert rendering.address(INDEX) == "/guide/"
    assert rendering.address("configuration", "a") == "/guide/configuration#a"


def test_a_link_to_a_file_that_no_node_serves_is_text() -> None:
    assert html("see [the table](../raft/README.md)") == "<p>see <a>the table</a></p>\n"


def test_comments_are_not_part_of_a_page() -> None:
    text = "a\n<!-- part: written -->\n```text\n<!-- kept -->\n```\n"
    assert pages._without_comments(text) == "a\n```text\n<!-- kept -->\n```\n"


def test_a_fence_ends_at_one_as_long_as_it_began_with() -> None:
    text = "````\n```\nb\n````\nc\n"
    assert [is_code for _, is_code in pages.lines(text)] == [True, True, True, True, False]


def test_a_terminal_is_spared_links_that_it_cannot_follow() -> None:
    text = "[one](one.md#a) [two](https://example.org)\n```sh\n[x](y)\n```\n"
    assert for_terminal(written(text)) == ("one [two](https://example.org)\n```sh\n[x](y)\n```\n")
