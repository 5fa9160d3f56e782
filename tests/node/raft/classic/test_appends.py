"""What a follower makes of an append, and a leader of its answer."""

from typing import Any

import pytest


@pytest.mark.parametrize(
    ("log", "append", "terms", "commit", "success"),
    [  # an append: term, what precedes, the terms of its entries, the leader's commit index
        ([1, 2], (3, (3, 3), [], 3), [0, 1, 2], 1, False),  # the preceding is of another term
        ([1, 2], (2, (4, 2), [], 4), [0, 1, 2], 1, False),  # a gap
        ([1, 2], (2, (2, 1), [], 2), [0, 1, 2], 2, True),
        ([1, 2], (3, (1, 0), [3], 2), [0, 3], 2, True),  # a conflict: all behind it goes
        ([1, 2], (2, (3, 2), [2, 2], 4), [0, 1, 2, 2, 2], 4, True),
        ([1, 2], (2, (3, 2), [2], 5), [0, 1, 2, 2], 4, True),  # no further than the last new one
        ([1, 2], (2, (2, 1), [2], 5), [0, 1, 2], 3, True),
        ([1, 2], (3, (2, 1), [], 5), [0, 1, 2], 2, True),  # verified up to 2 only
        ([1, 2], (3, (2, 1), [3], 5), [0, 1, 3], 3, True),
        ([1, 2, 2, 2], (2, (2, 1), [2], 2), [0, 1, 2, 2, 2], 2, True),  # a prefix cuts nothing off
    ],
)
def test_appends(puppet, log, append, *, terms, commit, success) -> None:
    """etcd TestHandleMsgApp, TestFollowerCheckMsgApp, TestFollowerAppendEntries"""
    puppet.append(2, (1, 0), log, 1)
    answer = puppet.append(*append)[-1]
    assert puppet.terms() == terms
    assert puppet.engine.raftCommitIndex == commit
    assert (answer["success"], answer["reset"]) == (success, not success)


def test_a_heartbeat_commits_no_more_than_was_verified(puppet) -> None:
    """etcd TestHandleHeartbeat: never backwards, never beyond what the leader knows to match"""
    puppet.append(1, (1, 0), [1, 1, 1], 3)
    puppet.append(1, (4, 1), [], 2)
    assert puppet.engine.raftCommitIndex == 3
    puppet.append(2, (2, 1), [], 4, peer="n3")
    assert puppet.engine.raftCommitIndex == 3
    puppet.append(2, (4, 1), [], 9, peer="n3")
    assert puppet.engine.raftCommitIndex == 4


def test_a_message_of_an_old_term_changes_nothing(puppet) -> None:
    """etcd TestRejectStaleTermMessage, TestOldMessages, TestStepIgnoreOldTermMsg"""
    puppet.append(3, (1, 0), [3, 3], 2)
    before = puppet.terms(), puppet.engine.raftCommitIndex
    answer = puppet.append(2, (1, 0), [2, 2, 2], 4, peer="n3")
    assert (puppet.terms(), puppet.engine.raftCommitIndex) == before
    assert [m["type"] for m in answer] == ["stale_term"]


def test_a_term_is_taken_from_any_message(puppet) -> None:
    """etcd Test{Follower,Candidate,Leader}UpdateTermFromMessage"""
    puppet.append(5, (1, 0), [], 1)
    assert puppet.engine.raftCurrentTerm == 5
    puppet.lead()
    puppet.say("n3", "stale_term", term=11)
    assert (puppet.engine.raftCurrentTerm, puppet.engine._isLeader()) == (11, False)


def test_reordered_appends_lose_nothing(puppet) -> None:
    """etcd TestLogReplicationWithReorderedMessage"""
    one = {"term": 1, "commit": 1, "prev": (1, 0), "entries": [(b"\x00@a:", 2, 1)]}
    two = {"term": 1, "commit": 1, "prev": (2, 1), "entries": [(b"\x00@b:", 3, 1)]}

    def append(seq: int, request: dict[str, Any]) -> tuple[bool, int]:
        answer = puppet.append_entries("n2", seq=seq, **request)[-1]
        return answer["success"], answer["next_node_idx"]

    assert append(2, two) == (False, 2)
    assert append(1, one)[0]
    assert append(3, two) == (True, 4)
    assert append(1, one) == (True, 3), "it answers for its own request"
    assert puppet.terms() == [0, 1, 1]


def test_a_late_refusal_does_not_lower_what_matches(puppet) -> None:
    """etcd TestLeaderAppResp, TestProgress*"""
    puppet.lead((1, 1, 1))
    first, last = puppet.engine._seq, puppet.engine.last_index()
    puppet.answer(last)
    puppet.answer(1, success=False, seq=first - 1)
    progress = puppet.engine.progress[puppet.engine.nodes["n2"]]
    assert progress.match == last
    assert progress.next > last


def test_an_acknowledgement_of_an_earlier_leadership_counts_for_nothing(puppet) -> None:
    """etcd testdata async_storage_writes_append_aba_race"""
    puppet.lead((1,))
    old = puppet.engine.raftCurrentTerm
    puppet.say("n3", "stale_term", term=old + 3)
    puppet.lead()
    puppet.answer(puppet.engine.last_index(), term=old)
    puppet.turn()
    assert puppet.engine.raftCommitIndex == 1


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ([1] * 60, [1] * 3 + [2] * 40),
        ([1, 1, 1, 1] + [2] * 50, [1, 1] + [3] * 50),
        ([1] + [2] * 20 + [3] * 20 + [4] * 20, [1] + [5] * 5),
        ([1, 2, 3, 4, 5, 6, 7], [1, 8]),
    ],
)
def test_conflicts_are_walked_back_by_terms(cluster, mine, theirs) -> None:
    """etcd TestFastLogRejection: no more round trips than terms that conflict"""
    c = cluster(2)
    for name, terms in (("n1", mine), ("n2", theirs)):
        journal = c.journals[name]
        for index, term in enumerate(terms, 2):
            whose = name.encode() if term > 1 else b""
            journal.add(b"\x00@%s%d:" % (whose, index), index, term)
        c.rafts[name]._engine._SyncObj__setCurrentTerm(terms[-1], None)
        journal.settle()
        journal.commit()
        c.crash(name)
    for name in ("n1", "n2"):
        c.start(name)
    c.converge()
    resets = [m for m in c.sent(c.followers()[0], "next_node_idx") if m["reset"]]
    assert len(resets) <= len(set(mine)) + 1


def test_an_append_that_was_lost_is_sent_again(cluster) -> None:
    """etcd testdata heartbeat_resp_recovers_from_probing, probe_and_replicate"""
    c = cluster(3)
    leader = c.elect()
    c.converge()
    lost: list[Any] = []

    def first_ones(_: str, __: str, message: dict[str, Any]) -> bool:
        if message.get("entries") and len(lost) < 6:
            lost.append(message)
            return True
        return False

    c.drop = first_ones
    c.write(leader, b"x:")
    c.converge(3.0)
    assert len(lost) == 6


def test_a_follower_learns_of_a_commit_whose_notice_was_lost(cluster) -> None:
    """etcd testdata lagging_commit"""
    c = cluster(3)
    leader = c.elect()
    c.converge()
    late = c.followers()[0]
    mark = c.rafts[leader].commit_index
    c.drop = lambda _, p, m: p == late and m.get("commit_index", 0) > mark and not m.get("entries")
    c.write(leader, b"x:")
    c.run(0.3)
    assert c.rafts[late].commit_index == mark
    c.drop = lambda *_: False
    c.run(0.25)
    assert c.rafts[late].commit_index == c.rafts[leader].commit_index
