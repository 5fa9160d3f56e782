"""`plan --measured`: what members saw of each other, and what is made of it."""

import json
import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationkeep.cluster.odds import Loss, forecast
from stationkeep.cluster.odds.fitting import fitted, longest_explained
from stationkeep.cluster.odds.trial import Channel
from stationkeep.cluster.settings import PROFILES, to_user
from tests.node.cli.canned import CannedNode, Json, Run

LAN = PROFILES["lan"]
NAMES = ("sat-001", "sat-002", "sat-003")


def link(peer: str, sent: int = 400, heard: int = 400, silence: float = 1.0, **more: Any) -> Json:
    """As node/api answers; of the fields that `plan` needs not only some."""
    return {
        "peer": peer, "connected": True, "streams": 1, "stalled": False, "in_doubt": False,
        "window_s": 60.0, "sent": sent, "heard": heard, "longest_silence_s": silence,
        "received_total": 10_231, "lost_total": 2_511, "duplicates_total": 7_712,
        "refused_total": {"unknown_key": 0, "forged": 0, "replayed": 0, "malformed": 0},
    } | more  # fmt: skip


def seen_by(number: int, *links: Json) -> dict[str, Any]:
    return {"/v1/links": {"node": NAMES[number - 1], "links": list(links)}}


@pytest.fixture
def measured(canned: CannedNode) -> CannedNode:
    """Three members of profile lan; sat-003 does not tell."""
    del canned.reads["/v1/links"]
    canned.reads["/v1/config"] = {"settings": to_user(LAN)}
    canned.local = {
        8701: seen_by(1, link("sat-002", heard=300), link("sat-003")),
        8702: seen_by(2, link("sat-001", heard=390), link("sat-003", sent=0, heard=0)),
        8703: {},
    }
    return canned


def test_figures_are_for_the_worst_link(measured: CannedNode, stationkeep: Run) -> None:
    answer = json.loads(stationkeep("plan", "--measured", "--format", "json").stdout)
    links = answer["measured"]["links"]
    assert [(x["from"], x["to"], x["loss"]) for x in links] == [
        ("sat-002", "sat-001", pytest.approx(0.25)),
        ("sat-001", "sat-002", pytest.approx(0.025)),
        ("sat-003", "sat-001", 0.0),
    ]
    assert answer["measured"]["median_loss"] == pytest.approx(0.025)
    assert list(answer["measured"]["unanswered"]) == ["sat-003"]
    (plan,) = answer["plans"]
    assert plan["loss"] == {"rate": 0.25, "mean_burst_s": None}
    computed = forecast(LAN, Loss(0.25), 3).outlooks["links"]
    assert plan["models"]["links"]["false_failover_s"] == computed.false_failover


def test_a_silence_that_losses_do_not_explain_is_a_burst(
    measured: CannedNode, stationkeep: Run
) -> None:
    measured.local[8702] = seen_by(2, link("sat-001", heard=340, silence=12.0))
    output = stationkeep("plan", "--measured").stdout
    assert "3 nodes, cluster stationkeep-local\n25 % of packets lost, independent" in output
    assert "15 % of packets lost, in bursts of" in output
    assert "sat-003 did not answer" in output
    assert "WORST LINKS" in output
    assert max(len(line.rstrip()) for line in output.splitlines()) <= 80


def test_a_link_that_nothing_came_through_is_cut_and_not_planned_with(
    measured: CannedNode, stationkeep: Run
) -> None:
    measured.local[8701] = seen_by(1, link("sat-002", heard=0, silence=60.0))
    output = stationkeep("plan", "--measured").stdout
    assert "cut" in output
    assert "2.5 % of packets lost, independent" in output


def test_where_nobody_tells_there_is_nothing_to_plan_with(
    measured: CannedNode, stationkeep: Run
) -> None:
    measured.local = {8701: {}, 8702: {}, 8703: {}}
    result = stationkeep("plan", "--measured")
    assert result.exit_code == 1
    assert "nothing to plan with" in result.output


@pytest.mark.parametrize(
    "nonsense",
    [
        {"sent": -1},
        {"heard": "many"},
        {"window_s": 0.0},
        {"longest_silence_s": 1e9},
        {"longest_silence_s": None},
        {"peer": "x" * 65},
        {"sent": 2**60},
    ],
)
def test_a_member_that_talks_nonsense_is_named_and_left_out(
    measured: CannedNode, stationkeep: Run, nonsense: Json
) -> None:
    measured.local[8702] = seen_by(2, link("sat-001") | nonsense)
    answer = json.loads(stationkeep("plan", "--measured", "--format", "json").stdout)
    assert next(iter(nonsense)) in answer["measured"]["unanswered"]["sat-002"]
    assert len(answer["measured"]["links"]) == 2


def test_more_links_than_there_can_be_are_refused(measured: CannedNode, stationkeep: Run) -> None:
    measured.local[8702] = seen_by(2, *[link("sat-001")] * 100)
    answer = json.loads(stationkeep("plan", "--measured", "--format", "json").stdout)
    assert "<= 99" in answer["measured"]["unanswered"]["sat-002"]


# Fitting


@given(st.floats(0.0, 0.99), st.floats(0.0, 600.0), st.floats(1.0, 600.0), st.floats(0.05, 1.0))
def test_any_count_is_explained_by_some_loss(
    rate: float, longest: float, window: float, spacing: float
) -> None:
    loss = fitted(rate, longest, window, spacing)
    assert loss.rate == rate
    if loss.burst is None:
        assert rate == 0 or longest <= longest_explained(rate, window, spacing)
    else:
        assert spacing <= loss.burst <= max(spacing, longest)


def silences(loss: Loss, window: float, spacing: float, times: int, seed: int) -> list[float]:
    """The longest silence of each of so many windows."""
    channel = Channel(loss, random.Random(seed).random)
    found = []
    for _ in range(times):
        now = longest = last = 0.0
        while now < window:
            now += spacing
            if channel.good_after(spacing):
                longest, last = max(longest, now - last), now
        found.append(longest)
    return found


@pytest.mark.parametrize("rate", [0.05, 0.2, 0.5])
def test_independent_losses_are_not_taken_for_bursts(rate: float) -> None:
    seen = silences(Loss(rate), 60.0, 0.2, 300, seed=1)
    taken = [fitted(rate, longest, 60.0, 0.2).burst is not None for longest in seen]
    assert sum(taken) <= 3


def test_bursts_are_found_with_about_their_length() -> None:
    seen = silences(Loss(0.2, 2.0), 60.0, 0.2, 200, seed=2)
    bursts = [fitted(0.2, longest, 60.0, 0.2).burst or 0.0 for longest in seen]
    mean = math.exp(sum(math.log(burst) for burst in bursts if burst) / len(bursts))
    assert 1.0 < mean < 4.0
    assert sum(burst > 0 for burst in bursts) > 0.95 * len(bursts)
