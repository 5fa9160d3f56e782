"""Hazard S5: a node that lost its disk comes back as one that has promised nothing."""

from pathlib import Path

import pytest

from stationkeep.node.raft import DataDirInUse, Journal, rejoin_empty
from tests.node.raft.harness import GOOD_VOTE, Cluster


def rejoin(c: Cluster, name: str) -> None:
    if name in c.rafts:
        c.crash(name)
    rejoin_empty(c.path / name, cluster="c", node=name)
    c.start(name)


def founding(cluster) -> tuple[Cluster, str, str, str]:
    """Two of three have committed the first write; the third heard nothing at all yet. It may
    have lost its disk as well, for all that anybody can know: one too many."""
    c = cluster()
    c.crash("n3")
    leader = c.elect()
    c.write(leader, b"acknowledged by two:")
    other = next(n for n in ("n1", "n2") if n != leader)
    c.run(0.5)
    return c, leader, other, "n3"


def test_s5_while_a_cluster_is_founded_a_lost_disk_elects_nobody(cluster) -> None:
    c, leader, lost, late = founding(cluster)
    c.crash(leader)
    rejoin(c, lost)
    c.start(late)
    c.run(20.0)
    assert c.leader() is None, "neither knows what was acknowledged"
    assert not c.sent(lost, "request_vote"), "nor does it stand itself"


def test_s5_without_the_mark_that_very_story_loses_a_write(cluster) -> None:
    """Why it takes `node rejoin`, and not only an empty directory."""
    c, leader, lost, late = founding(cluster)
    c.crash(leader)
    c.erase(lost)
    c.machines.clear()  # they begin anew; what was applied before would fail the harness's check
    c.start(lost)
    c.start(late)
    c.run_until(lambda: c.leader() is not None)
    assert not c.machines[lost].log


def behind_since_the_founding(cluster, size: int = 3) -> tuple[Cluster, str, str]:
    """A leader, and a founder that holds the first entries but has never heard that any of them
    is committed. All the others have committed more."""
    c = cluster(size)
    leader = c.elect()
    late = c.followers()[0]
    c.drop = lambda _, to, message: to == late and message.get("commit_index", 0) > 1
    c.run_until(lambda: c.rafts[late]._engine.last_index() > 1)
    c.drop = lambda _, to, message: to == late and message["type"] == "append_entries"
    c.write(leader, b"acknowledged without it:")
    c.run(0.5)
    return c, leader, late


def test_s5_who_came_with_an_empty_disk_does_not_elect_who_is_behind(cluster) -> None:
    c, leader, late = behind_since_the_founding(cluster)
    other = next(n for n in c.followers() if n != late)
    c.crash(leader)
    c.erase(other)
    c.drop = lambda *_: False
    c.start(other)
    c.run(20.0)
    assert c.leader() is None, "who knows what was acknowledged is away"
    c.start(leader)
    c.converge()
    assert [d for _, d in c.machines[late].log] == [b"acknowledged without it:"]


def test_s5_nor_while_it_is_filled_again(cluster) -> None:
    """All in one term: that an entry of it is committed does not say that nothing follows."""
    c = cluster()
    leader = c.elect()
    c.converge()
    late, other = c.followers()
    drafts = [b"%d:" % n + b"x" * 100_000 for n in range(8)]
    c.write(leader, drafts[0])
    c.converge()
    c.drop = lambda _, to, message: to == late and message.get("entries")
    c.write(leader, *drafts[1:])
    c.erase(other)
    c.drop = lambda _, to, message: (
        message.get("entries") and (to == late or message["prevLogIdx"] > 1)
    )
    c.start(other)
    c.run_until(lambda: c.rafts[other]._engine.last_index() > 1)
    assert c.rafts[other]._engine.last_index() < c.rafts[leader]._engine.last_index()
    c.crash(leader)
    c.drop = lambda *_: False
    c.heal()
    c.run(20.0)
    assert c.leader() is None, "who knows what was acknowledged is away"
    c.start(leader)
    c.converge()
    assert [d for _, d in c.machines[late].log] == drafts


def test_s5_who_has_heard_of_a_log_founds_no_cluster_again(cluster) -> None:
    c, leader, lost, late = founding(cluster)
    c.start(late)
    c.drop = lambda _, to, message: message["type"] == "append_entries"
    c.crash(leader)
    c.seen.clear()
    c.run_until(lambda: bool(c.sent(lost, "pre_vote")))
    c.run(0.1)
    c.erase(lost)
    c.crash(late)  # it still knows afterwards
    for name in (late, lost):
        c.start(name)
    c.run(20.0)
    assert c.leader() is None, "who knows what was acknowledged is away"
    c.drop = lambda *_: False
    c.start(leader)
    c.converge()
    assert [d for _, d in c.machines[late].log] == [b"acknowledged by two:"]


def test_s5_who_lost_its_disk_follows_no_leader_from_before(cluster) -> None:
    """A deposed leader that does not know it yet, and a node that has just forgotten its vote for
    the new one and what it acknowledged to it: together they were a majority."""
    c = cluster()
    old = c.elect()
    c.write(old, b"before:")
    c.converge()
    c.partition(old)
    c.run_until(lambda: any(r.is_leader for n, r in c.rafts.items() if n != old))
    new = next(n for n, r in c.rafts.items() if n != old and r.is_leader)
    lost = next(n for n in c.names if n not in (old, new))
    got = c.propose(new, b"acknowledged:")
    c.run_until(lambda: bool(got))
    assert c.rafts[old].is_leader
    c.erase(lost)
    c.heal()
    c.partition(new)
    c.start(lost)
    c.run(1.0)
    c.propose(old, b"other:")
    c.run(3.0)
    assert not c.rafts[lost].is_leader
    assert not c.rafts[old].is_leader
    c.heal()
    c.converge()
    assert b"acknowledged:" in [d for _, d in c.machines[lost].log]


def test_s5_a_vote_that_was_forgotten_since_elects_nobody(cluster) -> None:
    """It was given to a candidate that still waited for another one, in the next term of that
    in which its voter, whose disk is lost, then acknowledges more."""
    c = cluster(5)
    old = c.elect()
    c.write(old, b"before:")
    c.converge()
    lost, candidate, late, _ = c.followers()
    c.drop = lambda sender, to, _: (
        bool({candidate, late} & {sender, to}) and ({sender, to} != {candidate, lost})
    )
    c.deliver(old, candidate, {"type": "timeout_now", "term": c.rafts[old].term})
    c.run_until(lambda: len(c.rafts[candidate]._engine._votes[1]) == 2)
    request = c.sent(candidate, "request_vote")[-1]
    c.erase(lost)
    c.drop = lambda sender, to, _: bool({candidate, late} & {sender, to})
    c.start(lost)
    got = c.propose(old, b"acknowledged:")
    c.run(0.3)
    c.drop = lambda sender, to, _: (
        bool({candidate, late} & {sender, to}) and {sender, to} != {candidate, late}
    )
    c.deliver(candidate, late, {**request})
    c.run(0.1)
    assert not got, "the vote was still on its way when its voter had a new disk"
    assert c.rafts[candidate]._engine._isLeader()
    c.drop = lambda *_: False
    c.converge()


def test_s5_a_candidacy_ends_with_its_deadline(cluster) -> None:
    """Later votes may have been forgotten since."""
    c = cluster()
    old = c.elect()
    c.converge()
    candidate, voter = c.followers()
    c.drop = lambda *_: True
    c.deliver(old, candidate, {"type": "timeout_now", "term": c.rafts[old].term})
    term = c.rafts[candidate].term
    c.run(2.0)
    vote = {"type": "response_vote", "term": term, **GOOD_VOTE}
    c.deliver(voter, candidate, vote)
    assert c.rafts[candidate].term == term
    assert not c.rafts[candidate]._engine._isLeader()


@pytest.mark.parametrize("late", [True, False], ids=["of three, one late", "of two"])
def test_s5_all_voters_go_on_with_one_that_rejoined(cluster, late: bool) -> None:
    if late:
        c, _, lost, other = founding(cluster)
        rejoin(c, lost)
        c.start(other)
    else:
        c = cluster(2)
        c.write(c.elect(), b"acknowledged by two:")
        c.converge()
        lost = c.followers()[0]
        c.run(3.0)
        rejoin(c, lost)
    c.run_until(lambda: c.leader() is not None)
    c.converge()
    assert [d for _, d in c.machines[lost].log] == [b"acknowledged by two:"]


def test_s5_two_of_three_that_rejoined_elect_nobody(cluster) -> None:
    c = cluster()
    leader = c.elect()
    c.write(leader, b"acknowledged by all:")
    c.converge()
    for name in (followers := c.followers()):
        c.crash(name)
    for name in followers:
        rejoin(c, name)
    c.run(20.0)
    assert c.leader() is None, "they may have acknowledged more than the third has"


def test_s5_a_founding_cut_short_goes_on_when_all_are_back(cluster) -> None:
    """Two of four hold an entry that nothing is known of, two hold nothing: neither pair is a
    majority, and nobody is settled."""
    c = cluster(4)
    c.drop = lambda _, to, message: (
        message["type"] == "append_entries" and (to in {"n3", "n4"} or message["commit_index"] > 1)
    )
    c.run_until(lambda: sum(c.rafts[n]._engine.last_index() > 1 for n in c.names) == 2)
    for name in c.names:
        c.crash(name)
    c.drop = lambda *_: False
    for name in c.names:
        c.start(name)
    c.converge()
    c.write(c.leader(), b"k:")


def test_s5_the_mark_outlives_restarts_until_it_has_caught_up(cluster) -> None:
    c, leader, lost, late = founding(cluster)
    c.start(late)
    c.converge()
    c.crash(leader)
    rejoin(c, lost)
    for _ in range(3):
        c.crash(lost)
        c.start(lost)
        assert c.journals[lost].lost
    c.start(leader)
    c.converge()
    assert [d for _, d in c.machines[lost].log] == [b"acknowledged by two:"]
    c.crash(lost)
    c.start(lost)
    assert not c.journals[lost].lost


def test_s5_a_node_that_rejoined_while_others_led_votes_again(cluster) -> None:
    c = cluster()
    leader = c.elect()
    c.write(leader, *(b"k%d:" % n for n in range(30)))
    first, second = c.followers()
    rejoin(c, first)
    c.converge()
    c.crash(second)
    c.write(leader, b"with its acknowledgement:")
    c.start(second)
    c.converge()
    c.crash(leader)
    c.run_until(lambda: c.leader() is not None)


def test_s5_a_message_of_term_0_settles_nobody(cluster) -> None:
    c = cluster()
    c.partition("n1")
    c.deliver("n2", "n1", {"type": "append_entries", "term": 0, "seq": 1, "commit_index": 0})
    assert not c.journals["n1"].settled
    assert c.rafts["n1"].rejected["nobody leads term 0"] == 1


def test_what_was_there_is_moved_aside_and_nothing_is_deleted(tmp_path: Path) -> None:
    data = tmp_path / "n1"
    assert rejoin_empty(data, cluster="c", node="n1") is None, "there was none"
    for number in (1, 2):
        (data / "kept").write_text(str(number))
        aside = rejoin_empty(data, cluster="c", node="n1")
        assert aside == tmp_path / f"n1.lost-{number}"
        assert (aside / "kept").read_text() == str(number)
        assert not (data / "kept").exists()
    births = set()
    for path in (data, tmp_path / "n1.lost-1", tmp_path / "n1.lost-2"):
        journal = Journal(path, cluster="c", node="n1")
        births.add(journal.birth)
        assert journal.lost
        journal.close()
    assert len(births) == 3


def test_a_running_node_is_left_alone(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "n1", cluster="c", node="n1")
    with pytest.raises(DataDirInUse):
        rejoin_empty(tmp_path / "n1", cluster="c", node="n1")
    journal.close()
    assert not (tmp_path / "n1.rejoin").exists()


def test_interrupted_it_is_run_again(tmp_path: Path) -> None:
    data = tmp_path / "n1"
    (tmp_path / "n1.rejoin").mkdir()
    (tmp_path / "n1.rejoin" / "half").write_text("")
    rejoin_empty(data, cluster="c", node="n1")
    assert not (data / "half").exists()
