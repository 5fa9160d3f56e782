"""`nodes links`: what each node says of its links, from one node or from all of them."""

import json
from typing import Any

import msgspec
import pytest

from stationkeep.node.cli.links_seen import Link, Seen
from stationkeep.node.cli.rendering import link_tables
from tests.node.cli.canned import LINKS, CannedNode, Json, Run, link
from tests.node.cli.printed import printed

PATH = "/v1/links"
Three = dict[int, dict[str, Json]]


@pytest.fixture
def three(canned: CannedNode) -> Three:
    """What each of three nodes answers, by port; one that says nothing does not."""
    del canned.reads[PATH]
    canned.local = {
        8_700 + n: {
            PATH: {
                "node": f"sat-00{n}",
                "links": [link(f"sat-00{m}") for m in (1, 2, 3) if m != n],
            }
        }
        for n in (1, 2, 3)
    }
    return canned.local


def pairs(told: Any) -> set[tuple[str, str]]:
    return {(one["peer"], node["node"]) for node in told["nodes"] for one in node["links"]}


def test_one_node_is_asked_for_what_it_sees_itself(three: object, stationkeep: Run) -> None:
    told = json.loads(stationkeep("nodes", "links", "--format", "json").output)
    assert pairs(told) == {("sat-002", "sat-001"), ("sat-003", "sat-001")}
    assert told["nodes"][0]["links"][0] == link("sat-002")


def test_with_all_each_direction_is_told_by_the_one_that_receives(
    three: object, stationkeep: Run
) -> None:
    told = json.loads(stationkeep("nodes", "links", "--all", "--format", "json").output)
    assert len(pairs(told)) == 6
    assert told["unanswered"] == {}


def test_only_the_links_of_one_node(three: object, stationkeep: Run) -> None:
    told = stationkeep("nodes", "links", "sat-003", "--all", "--format", "json").output
    assert pairs(json.loads(told)) == {
        ("sat-003", "sat-001"), ("sat-003", "sat-002"), ("sat-001", "sat-003"),
        ("sat-002", "sat-003"),
    }  # fmt: skip


def test_a_node_that_has_no_links_is_named(three: object, stationkeep: Run) -> None:
    result = stationkeep("nodes", "links", "sat-009")
    assert result.exit_code == 1
    assert "no link from or to sat-009" in result.output


def test_a_member_that_does_not_answer_is_named_and_not_fatal(
    three: Three, stationkeep: Run
) -> None:
    del three[8703][PATH]
    result = stationkeep("nodes", "links", "--all")
    assert result.exit_code == 0
    assert "sat-003: no answer from http://127.0.0.1:8703: connection refused\n" in result.output
    told = json.loads(stationkeep("nodes", "links", "--all", "--format", "json").stdout)
    assert list(told["unanswered"]) == ["sat-003"]
    assert len(pairs(told)) == 4


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("peer", "sat\x1b[2J"),
        ("peer", "[red]x"),
        ("heard", "many"),
        ("refused_total", []),
        ("error", "\x1b[2J"),
        ("error", ""),
        ("address", "a\nb"),
    ],
)
def test_what_makes_no_sense_is_refused_and_never_printed(
    three: Three, stationkeep: Run, field: str, value: Any
) -> None:
    three[8702][PATH]["links"][0][field] = value
    result = stationkeep("nodes", "links", "--all")
    assert result.exit_code == 0
    assert "sat-002: http://127.0.0.1:8702/v1/links: " in result.output
    assert "\x1b" not in result.output
    assert f"$.links[0].{field}" in result.output


def test_a_node_without_peers_says_so(canned: CannedNode, stationkeep: Run) -> None:
    canned.reads["/v1/links"] = {"node": "sat-001", "links": []}
    assert stationkeep("nodes", "links").output == "no links: this node has no peers\n"


def test_the_worst_links_fit_eighty_columns() -> None:
    worst = link(
        "sat-003", connected=True, sent=0, heard=0, longest_silence_s=60.0, in_doubt=True,
        stalled=True, streams=4, error="certificate_expired",
    )  # fmt: skip
    down = link("sat-004", connected=False, sent=0, heard=0, error="no_such_host")
    seen = [*LINKS["links"], worst, down]
    lines = printed(
        link_tables.links([Seen("sat-001", msgspec.convert(seen, list[Link]))]), 80
    ).splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 80
    assert "in doubt, stalled" in lines[1]
    assert "UDP blocked?, in doubt, certificate_expired" in lines[3]
    assert "100%" in lines[3]
    assert "?" in lines[4].split()
    assert lines[4].split()[-2:] == ["down,", "no_such_host"]
