"""Hazard S9: who belongs to the cluster changes one server at a time, and comes back whole.

The machine's wish is written with drafts `want n1 n2 …`; the leader does the rest.
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationkeep.node.raft import Guards
from stationkeep.node.raft.engine.membership import Configuration, decode, encode, next_step
from tests.node.raft.harness import GOOD_VOTE, TIMINGS, Cluster


def want(c: Cluster, *names: str) -> None:
    """Commits the wish, through whoever leads."""
    c.write(c.elect(), f"want {' '.join(names)}".encode())


def settled(c: Cluster, *voters: str, by: list[str] | None = None) -> bool:
    """Whether these members have applied a configuration of exactly these voters."""
    return all(
        c.rafts[n].configuration.voters == voters
        and not c.rafts[n].configuration.learners
        and (c.machines[n].configuration or (tuple(c.founders), ())) == (voters, ())
        for n in by or voters
    )


def reach(c: Cluster, *voters: str) -> None:
    want(c, *voters)
    c.run_until(lambda: all(v in c.rafts for v in voters) and settled(c, *voters))


def founded(cluster: Any, size: int = 3, **more: Any) -> Cluster:
    c = cluster(size, **more)
    reach(c, *c.names)
    return c


def test_s9_a_newcomer_is_a_learner_and_then_a_voter(cluster) -> None:
    c = founded(cluster)
    c.write(c.elect(), *(b"k%d:" % n for n in range(50)))
    newcomer = c.start("n4")
    c.run(3.0)
    assert newcomer.standing == "stranger"
    assert newcomer.applied_index == 1, "it waits to be taken in"
    assert not c.sent("n4", "request_vote")
    assert not c.sent("n4", "pre_vote")
    seen: list[str] = []
    want(c, "n1", "n2", "n3", "n4")
    while not settled(c, "n1", "n2", "n3", "n4"):
        seen.append(newcomer.standing)
        c.step()
    assert "learner" in seen
    assert newcomer.standing == "voter"
    c.converge()


def test_s9_a_learner_counts_for_nothing(cluster) -> None:
    """Three voters of whom one is left, and a learner that cannot catch up: no majority."""
    c = founded(cluster)
    c.start("n4")
    c.drop = lambda s, p, m: bool(m.get("entries")) and p == "n4"  # only signs of life
    want(c, "n1", "n2", "n3", "n4")
    leader = c.elect()
    c.run_until(lambda: c.rafts[leader].configuration.learners == ("n4",))
    for name in c.followers():
        if name != "n4":
            c.crash(name)
    result = c.propose(leader, b"x", timeout=20.0)
    c.run(5.0)
    assert not result
    assert c.leader() is None, "it stepped down: a learner's answers do not keep it in office"
    assert not c.rafts[leader].has_quorum
    assert not c.sent("n4", "pre_vote")


def test_s9_a_leader_knows_at_the_promotion_that_it_is_heard(cluster) -> None:
    """A newcomer that took long to catch up has answered all the time: its vote is no reason to
    step down (L6)."""
    c = cluster(1)
    c.write(c.elect(), b"before:")
    c.start("n2")
    c.drop = lambda _, to, message: to == "n2" and bool(message.get("entries"))
    want(c, "n1", "n2")
    c.run(5.0)
    assert c.rafts["n1"].configuration.learners == ("n2",)
    c.drop = lambda *_: False
    leader = c.rafts["n1"]
    c.run_until(lambda: "n2" in leader.configuration.voters)
    leader.turn()
    assert leader.is_leader
    c.run_until(lambda: settled(c, "n1", "n2"))


def test_s9_votes_of_a_learner_are_ignored_and_counted(cluster) -> None:
    c = founded(cluster)
    c.start("n4")
    c.drop = lambda s, p, m: bool(m.get("entries")) and p == "n4"
    want(c, "n1", "n2", "n3", "n4")
    c.run_until(lambda: all(c.rafts[n].configuration.learners == ("n4",) for n in c.founders))
    asker = next(n for n in c.founders if n != c.leader())
    c.drop = lambda *_: True
    c.run_until(lambda: bool(c.sent(asker, "pre_vote")))
    engine = c.rafts[asker]._engine
    for name in ("n4", "n4"):
        c.deliver(name, asker, {
            "type": "pre_vote_answer", "term": engine.raftCurrentTerm, "round": engine._round,
            "granted": True, **GOOD_VOTE,
        })  # fmt: skip
    assert not engine._may_stand
    assert c.rafts[asker].rejected["a vote of no voter"] == 2


@pytest.mark.parametrize("leads", [True, False])
def test_s9_a_member_leaves_also_when_it_leads(cluster, leads: bool) -> None:
    c = founded(cluster)
    leader = c.elect()
    gone = leader if leads else c.followers()[0]
    stay = tuple(n for n in c.names if n != gone)
    want(c, *stay)
    c.run_until(lambda: settled(c, *stay, by=[*stay, gone]))
    assert c.rafts[gone].standing == "removed", "it was told"
    assert c.leader() in stay
    term = c.rafts[stay[0]].term
    c.seen.clear()
    c.run(10.0)
    assert not c.sent(gone, "pre_vote")
    assert not c.sent(gone, "request_vote"), "it campaigns no more"
    assert c.rafts[stay[0]].term == term
    c.write(stay[0], b"without it:")
    assert gone not in {p for s, p, m in c.seen if m.get("entries")}


def test_s9_off_a_removed_node_goes_on_campaigning(cluster) -> None:
    """It was away when it was removed, so it does not know."""
    counts = {}
    for guards in (Guards(l2=False), Guards(l2=False, s9=False)):
        c = founded(cluster, guards=guards)
        c.elect()
        gone = c.followers()[0]
        stay = tuple(n for n in c.names if n != gone)
        want(c, *stay)
        c.run_until(lambda c=c, stay=stay: settled(c, *stay))
        c.run(0.5)
        before = c.rafts[stay[0]].term
        c.run(20.0)
        counts[guards.s9] = c.rafts[stay[0]].term - before
    assert counts[True] == 0
    assert counts[False] > 3


def test_s9_a_removed_node_is_ignored_and_counted(cluster) -> None:
    c = founded(cluster)
    c.elect()
    gone = c.followers()[0]
    stay = tuple(n for n in c.names if n != gone)
    c.partition(gone)
    want(c, *stay)
    c.run_until(lambda: settled(c, *stay))
    c.run(1.0)
    c.heal()
    term = c.rafts[stay[0]].term
    c.run(10.0)
    assert c.rafts[stay[0]].term == term
    assert len(c.sent(gone, "pre_vote")) > 3, "nobody told it"
    for name in stay:
        assert c.rafts[name].rejected["the sender was removed"] > 3


def test_s9_who_was_removed_while_away_stands_no_more_once_it_is_told(cluster) -> None:
    c = founded(cluster)
    leader = c.elect()
    gone, other = c.followers()
    c.partition(gone)
    want(c, leader, other)
    c.run_until(lambda: settled(c, leader, other))
    c.run(1.0)
    index = c.rafts[leader].removed_at(gone)
    assert index is not None
    assert c.rafts[leader].removed_at(other) is None
    c.rafts[gone].told_removed("anybody", index)
    assert c.rafts[gone].standing == "voter", "not a member's word"
    c.rafts[gone].told_removed(leader, c.rafts[gone]._engine.configured_at())
    assert c.rafts[gone].standing == "voter", "its own log says otherwise"
    c.rafts[gone].told_removed(leader, index)
    assert c.rafts[gone].standing == "removed"
    c.heal()
    c.seen.clear()
    c.run(10.0)
    assert not c.sent(gone, "pre_vote")
    assert not c.sent(gone, "request_vote")
    want(c, *c.names)
    c.run_until(lambda: settled(c, *c.names))
    assert c.rafts[gone].standing == "voter", "it was taken in again"
    c.crash(leader)
    c.crash(other)
    c.start(other)
    c.run_until(lambda: c.leader() is not None)


def test_s9_one_change_at_a_time_and_only_in_office(cluster) -> None:
    c = founded(cluster)
    for name in ("n4", "n5"):
        c.start(name)
    leader = c.elect()
    engine = c.rafts[leader]._engine
    c.drop = lambda s, p, m: m.get("type") == "next_node_idx"  # nothing is committed any more
    before = engine.configured_at()
    c.machines[leader].wanted = [*c.founders, "n4", "n5"]
    c.rafts[leader]._reconfiguration.step()
    c.rafts[leader]._reconfiguration.step()
    assert engine.configured_at() == engine.last_index() > before
    assert engine.configuration().learners == ("n4",), "one, and no other before it is applied"
    c.drop = lambda *_: False
    want(c, *c.names)
    c.run_until(lambda: settled(c, *c.names))


def test_s9_an_uncommitted_change_is_rolled_back_with_its_entry(cluster) -> None:
    c = founded(cluster)
    c.start("n4")
    old = c.elect()
    c.partition(old)
    machine = c.machines[old]
    machine.wanted = [*c.founders, "n4"]
    c.run_until(lambda: c.rafts[old].configuration.learners == ("n4",), 5.0)
    c.run_until(lambda: c.leader() not in (None, old))
    machine.wanted = list(c.founders)
    c.write(str(c.leader()), b"over there:")
    assert c.rafts[old].configuration.learners == ("n4",), "it stands in the log"
    c.heal()
    c.run_until(lambda: settled(c, *c.founders) and c.rafts[old].leader == c.leader())
    assert c.rafts["n4"].standing == "stranger"


def test_s9_the_configuration_survives_a_restart(cluster) -> None:
    c = founded(cluster)
    c.start("n4")
    reach(c, "n1", "n2", "n3", "n4")
    reach(c, "n2", "n3", "n4")
    for name in list(c.rafts):
        c.crash(name)
    for name in c.names:
        raft = c.start(name)
        members = raft.configuration
        assert (members.voters, members.learners) == (("n2", "n3", "n4"), ())
        assert members.removed == ("n1",)
        assert raft.standing in ({"removed", "leaving"} if name == "n1" else {"voter"})
    c.run_until(lambda: c.leader() is not None)
    c.write("n2", b"after:")


def test_s9_the_configuration_survives_compaction_and_travels_in_snapshots(cluster) -> None:
    fields = {f: getattr(TIMINGS, f) for f in TIMINGS.__struct_fields__}
    c = founded(cluster, timings=type(TIMINGS)(**{**fields, "compact_entries": 40}))
    c.start("n4")
    reach(c, "n1", "n2", "n3", "n4")
    c.write(c.elect(), *(b"k%d:" % n for n in range(200)))
    c.converge()
    c.run(1.0)
    assert c.journals["n4"][0][1] > 100, "compacted beyond the configuration's entry"
    c.start("n5")
    reach(c, "n1", "n2", "n3", "n4", "n5")
    assert c.journals["n5"][0][1] > 100, "it came by snapshot"
    for name in ("n4", "n5"):
        c.crash(name)
        assert c.start(name).standing == "voter"
    c.converge()


def test_s9_one_that_left_unreachable_and_returns_at_once_is_sent_the_log(cluster) -> None:
    c = founded(cluster)
    c.start("n4")
    reach(c, *c.names)
    c.crash("n4")
    leader = c.elect()
    machine = c.machines[leader]
    machine.wanted = list(c.founders)
    c.run_until(lambda: c.rafts[leader].configuration.removed == ("n4",))
    for name in c.rafts:
        c.machines[name].wanted = list(c.names)
    c.run_until(lambda: c.rafts[leader].configuration.learners == ("n4",))
    c.run(1.0)
    c.start("n4")
    c.run_until(lambda: settled(c, *c.names))


def test_s9_a_majority_is_of_the_configuration_in_the_snapshot_after_a_restart(cluster) -> None:
    """Two of four elect nobody, though the configuration file names three."""
    fields = {f: getattr(TIMINGS, f) for f in TIMINGS.__struct_fields__}
    c = founded(cluster, timings=type(TIMINGS)(**{**fields, "compact_entries": 40}))
    c.start("n4")
    reach(c, *c.names)
    c.write(c.elect(), *(b"k%d:" % n for n in range(200)))
    c.converge()
    c.run(1.0)
    assert all(c.journals[n][0][1] > 100 for n in c.names), "its entry is compacted everywhere"
    for name in c.names:
        c.crash(name)
    c.start("n1")
    c.start("n2")
    c.run(10.0)
    assert c.leader() is None
    assert not any(c.rafts[n].has_quorum for n in ("n1", "n2"))
    c.start("n4")
    c.run_until(lambda: c.leader() is not None)


def test_s9_a_node_that_was_away_follows_a_leader_that_it_never_heard_of(cluster) -> None:
    """Dissertation, 4.1: requests are answered whatever the own configuration says."""
    c = founded(cluster)
    c.elect()
    away = c.followers()[0]
    c.crash(away)
    c.start("n4")
    others = [n for n in c.founders if n != away]
    want(c, *c.names)
    c.run_until(lambda: settled(c, *c.names, by=[*others, "n4"]))
    while c.leader() != "n4":
        c.run_until(lambda: c.leader() is not None)
        if c.leader() != "n4":
            c.rafts[str(c.leader())].transfer_leadership()
            c.run(0.3)
    raft = c.start(away)
    assert "n4" not in raft.configuration.members
    c.converge()
    assert raft.standing == "voter"
    assert "n4" in raft.configuration.voters


def test_s9_a_node_that_was_away_hears_one_that_left_and_came_back(cluster) -> None:
    """By its log that one is removed; it leads all the same (dissertation, 4.1)."""
    c = founded(cluster)
    c.start("n4")
    reach(c, *c.names)
    reach(c, *c.founders)
    c.elect()
    away = c.followers()[0]
    c.run_until(lambda: c.rafts[away].configuration.removed == ("n4",))
    c.crash(away)
    others = [n for n in c.founders if n != away]
    want(c, *c.names)
    c.run_until(lambda: settled(c, *c.names, by=[*others, "n4"]))
    while c.leader() != "n4":
        c.rafts[c.elect()].transfer_leadership()
        c.run(0.3)
    raft = c.start(away)
    assert raft.configuration.removed == ("n4",)
    c.run_until(lambda: settled(c, *c.names))
    assert c.leader() == "n4"


def test_s9_one_that_left_and_came_back_gets_votes_of_who_missed_it(cluster) -> None:
    c = founded(cluster)
    c.start("n4")
    reach(c, *c.names)
    reach(c, *c.founders)
    away, *others = c.founders
    c.run_until(lambda: c.rafts[away].configuration.removed == ("n4",))
    c.crash(away)
    reach_by = [*others, "n4"]
    want(c, *c.names)
    c.run_until(lambda: settled(c, *c.names, by=reach_by))
    c.write(c.elect(), b"what n2 lacks:")
    for name in reach_by:
        c.crash(name)
    c.start(away)
    c.start("n4")
    c.start(others[0])
    c.drop = lambda s, p, m: s == others[0] and m.get("type") in {"request_vote", "pre_vote"}
    c.run_until(lambda: c.leader() == "n4")


def test_s9_a_stranger_cannot_answer_or_propose(cluster) -> None:
    c = founded(cluster)
    leader = c.elect()
    raft = c.rafts[leader]
    for kind, more in (("propose", {"items": [[1, b"x"]]}), ("raft", {"type": "next_node_idx"})):
        raft.receive("n9", {"kind": kind, **more})
    raft.receive(leader, {"kind": "raft", "type": "append_entries"})
    raft.turn()
    assert raft.rejected == {"unknown sender": 2, "a message from ourselves": 1}


@pytest.mark.parametrize("seed", range(4))
def test_s9_changes_under_crashes_keep_every_write(cluster, seed: int) -> None:
    """Members come and go while writers write and nodes restart; the wish is reached."""
    c = founded(cluster, seed=seed)
    acknowledged = []
    wishes = [["n1", "n2", "n3", "n4"], ["n2", "n3", "n4"], ["n2", "n3", "n4", "n5"],
              ["n1", "n3", "n4", "n5"], ["n1", "n4", "n5"]]  # fmt: skip
    for round_, wish in enumerate(wishes):
        for name in wish:
            if name not in c.rafts:
                c.start(name)
        want(c, *wish)
        key = b"w%d:" % round_
        result = c.propose(wish[-1], key, timeout=30.0, retry=True)
        victim = c.random.choice(sorted(set(c.rafts) & set(wish)))
        c.run(c.random.uniform(0.0, 0.4))
        c.crash(victim)
        c.run(c.random.uniform(0.5, 2.0))
        c.start(victim)
        c.run_until(lambda wish=wish: settled(c, *sorted(wish)), 60.0)
        if result:
            acknowledged.append(key)
    c.write(c.elect(), b"last:")
    drafts = {d for _, d in c.machines[str(c.leader())].log}
    assert set(acknowledged) <= drafts
    assert len({tuple(c.machines[n].log) for n in wishes[-1]}) <= 2


# -- the steps, by themselves --------------------------------------------------------------------

NAMES = [f"n{i}" for i in range(6)]
BIRTHS = {name: number for number, name in enumerate(NAMES)}
names = st.sampled_from(NAMES)
configurations = st.sets(names, min_size=1).flatmap(
    lambda voters: st.sets(names).map(
        lambda learners: Configuration(tuple(sorted(voters)), tuple(sorted(learners - voters)), ())
    )
)


@given(configurations, st.sets(names, min_size=1), names)
def test_s9_majorities_of_neighbouring_configurations_overlap(present, wanted, me) -> None:
    after = next_step(present, wanted, me, lambda _: True, BIRTHS)
    if after is None:
        assert set(present.members) - {me} <= wanted or not set(present.voters) - {me}
        return
    assert len(set(present.voters) ^ set(after.voters)) <= 1, "single-server changes only"
    assert me not in set(present.members) - set(after.members), "a leader does not remove itself"
    assert after.voters
    assert decode(encode(after, b"body")) == (after, b"body")
    assert {*after.births} == set(after.voters) - set(present.voters), "who joins is known"


@given(configurations, st.sets(names, min_size=1))
def test_s9_steps_end_at_the_wish(present, wanted) -> None:
    me = min(wanted)  # one that stays
    for _ in range(30):
        after = next_step(present, wanted, me, lambda _: True, BIRTHS)
        if after is None:
            break
        present = after
    assert set(present.voters) == wanted
    assert not present.learners


@given(st.binary(max_size=60))
def test_what_is_no_configuration_is_refused(content: bytes) -> None:
    try:
        found, _ = decode(content)
    except ValueError:
        return
    assert found.voters


@pytest.mark.parametrize(
    "configuration",
    [
        Configuration(()),
        Configuration(("a", "a")),
        Configuration(("a",), ("a",)),
        Configuration(("a",), (), ("a",)),
        Configuration(("",)),
        Configuration(tuple(f"n{i}" for i in range(100))),
        Configuration(("a",), (), tuple(f"n{i}" for i in range(65))),
        Configuration(("a",), ("b",), (), {"b": 1}),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(configuration) -> None:
    with pytest.raises(ValueError, match="configuration"):
        decode(encode(configuration, b""))
