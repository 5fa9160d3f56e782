"""Every switch does something: the test that shows a guard fails with that guard off.

A simulator that cannot find a hazard with its guard off may have lost its teeth, or the switch
its wire. This looks after the wires.
"""

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from stationkeep.node.raft import Guards, JournalFailed
from tests.node.raft import test_liveness as liveness
from tests.node.raft import test_lost_disks as lost_disks
from tests.node.raft import test_safety as safety
from tests.node.raft.engine import test_elections as elections
from tests.node.raft.engine import test_membership as membership
from tests.node.raft.harness import TIMINGS, Cluster

Story = Callable[..., None]

STORIES: list[tuple[str, Story, dict[str, Any]]] = [
    ("s1", safety.test_s1_chunks_commit_nothing_of_an_unverified_log, {}),
    ("s1", safety.test_s1_a_sign_of_life_commits_nothing, {}),
    ("s2", safety.test_s2_a_stale_snapshot_changes_nothing, {}),
    ("s2", safety.test_s2_chunks_of_two_snapshots_are_never_mixed, {}),
    ("s3", safety.test_s3_a_repeated_smaller_batch_erases_nothing, {}),
    ("s3", safety.test_s3_nothing_new_commits_only_what_was_verified, {}),
    ("s4", safety.test_s4_replies_of_another_term_are_no_acknowledgement, {}),
    ("s4", safety.test_s4_after_a_reconnect_it_goes_on_behind_what_matches, {}),
    ("s5", safety.test_s5_a_vote_outlives_a_crash, {}),
    ("births", lost_disks.test_s5_nor_in_the_first_second_of_a_cluster, {"seed": 1}),
    ("births", lost_disks.test_s5_a_founder_makes_no_second_majority, {"seed": 0, "marked": False}),
    ("s6", safety.test_s6_a_crash_between_snapshot_and_compaction, {}),
    ("s7", safety.test_s7_a_damaged_snapshot_stops_the_node_with_advice, {"place": 40}),
    ("s9", membership.test_s9_one_change_at_a_time_and_only_in_office, {}),
    ("s9", membership.test_s9_votes_of_a_learner_are_ignored_and_counted, {}),
    ("s11", liveness.test_s11_a_follower_with_a_full_disk_acknowledges_nothing, {}),
    ("l2", elections.test_l2_a_cut_off_pair_asks_and_asks_and_its_terms_do_not_grow, {}),
    ("l3", liveness.test_l3_a_long_conflict_takes_one_step_per_term, {}),
]


def tell(story: Story, given: dict[str, Any], cluster: Any, guards: Guards) -> None:
    """Runs a test with clusters that have these guards."""

    def make(*args: Any, **more: Any) -> Cluster:
        return cluster(*args, **{"guards": guards, **more})

    wanted = inspect.signature(story).parameters
    fixtures = {"cluster": make}
    if "alone" in wanted:
        fixtures["alone"] = safety.Alone(make(3))
    if "small" in wanted:
        fields = {f: getattr(TIMINGS, f) for f in TIMINGS.__struct_fields__}
        fixtures["small"] = make(timings=type(TIMINGS)(**{**fields, "compact_entries": 40}))
    story(**{name: fixture for name, fixture in fixtures.items() if name in wanted}, **given)


@pytest.mark.parametrize(
    ("guard", "story", "given"), STORIES, ids=[f"{g}-{s.__name__}" for g, s, _ in STORIES]
)
def test_a_guards_test_fails_with_the_guard_off(cluster, guard, story, given) -> None:
    with pytest.raises((AssertionError, JournalFailed, KeyError, pytest.fail.Exception)):
        tell(story, given, cluster, Guards(**{guard: False}))


@pytest.mark.parametrize(
    ("guard", "story", "given"), STORIES, ids=[f"{g}-{s.__name__}" for g, s, _ in STORIES]
)
def test_and_passes_with_all_of_them_on(cluster, guard, story, given) -> None:
    tell(story, given, cluster, Guards())


def test_l6_off_a_cut_off_leader_believes_for_half_a_minute(cluster) -> None:
    for guards, seconds in ((Guards(), 2.0), (Guards(l6=False), 20.0)):
        c = cluster(guards=guards)
        leader = c.elect()
        c.converge()
        c.partition(leader)
        c.run(seconds)
        assert c.rafts[leader].is_leader is not guards.l6


def test_l7_off_a_lost_proposal_is_never_answered(cluster) -> None:
    for guards in (Guards(), Guards(l7=False)):
        c = cluster(guards=guards)
        leader = c.elect()
        c.converge()
        c.partition(leader)
        result = c.propose(leader, b"x", timeout=2.0)
        c.run(20.0)
        assert bool(result) is guards.l7


def test_l8_off_a_slow_follower_is_sent_everything(cluster) -> None:
    for guards in (Guards(), Guards(l8=False)):
        c = cluster(guards=guards)
        leader = c.elect()
        c.converge()
        slow = c.followers()[0]
        c.drop = lambda s, p, m, slow=slow: s == slow and m.get("type") == "next_node_idx"
        drafts = [b"%d:" % n + bytes(100_000) for n in range(60)]
        c.write(leader, *drafts)
        progress = c.rafts[leader]._engine.progress[c.rafts[leader]._engine.nodes[slow]]
        assert (progress.flying_bytes < 4.5e6) is guards.l8


def test_every_switch_is_pulled_somewhere() -> None:
    pulled = {guard for guard, *_ in STORIES} | {"s8", "l6", "l7", "l8"}
    assert pulled == set(Guards.__struct_fields__)
