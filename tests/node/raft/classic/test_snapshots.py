"""Snapshots beside a log that goes on."""

import pytest

from tests.node.raft.classic.staging import compacting, founded, reach, snapshot


def test_a_snapshot_that_is_older_than_what_is_committed_is_ignored(puppet) -> None:
    """etcd TestRestoreIgnoreSnapshot, testdata snapshot_succeed_via_app_resp_behind"""
    puppet.append(1, (1, 0), [1] * 10, 9)
    before = puppet.terms()
    answer = puppet.take_chunk(1, 20, (6, 1, 0, 1, snapshot(6, 1)))[-1]
    assert puppet.terms() == before
    assert puppet.engine.raftCommitIndex == 9
    assert (answer["success"], answer["next_node_idx"]) == (True, 7)


def test_a_snapshot_replaces_a_log_that_conflicts(puppet) -> None:
    """etcd TestRestore: uncommitted entries of another term are gone, the term is known"""
    puppet.append(1, (1, 0), [1] * 10, 3)
    puppet.take_chunk(3, 8, (8, 2, 0, 1, snapshot(8, 2)))
    assert puppet.engine.raftCommitIndex == puppet.c.rafts["n1"].applied_index == 8
    assert (puppet.engine.last_index(), puppet.engine._term_at(8)) == (8, 2)
    assert puppet.append(3, (8, 2), [3], 9)[-1]["success"]
    assert puppet.engine.raftCommitIndex == 9


@pytest.mark.parametrize("seed", range(3))
def test_a_slow_follower_gets_a_snapshot_while_entries_arrive(cluster, seed) -> None:
    """etcd TestSlowNodeRestore, testdata slow_follower_after_compaction; hashicorp
    SendSnapshotAndLogsFollower, BehindFollower"""
    c = cluster(3, seed=seed, timings=compacting(20))
    leader = c.elect()
    c.converge()
    slow = c.followers()[0]
    c.partition(slow)
    for n in range(6):
        c.write(leader, *(b"%d-%d:" % (n, k) for k in range(10)))
    c.heal()
    for n in range(60):
        c.propose(c.leader() or leader, b"new-%d:" % n, retry=True)
        c.run(0.01)
    c.converge()
    assert any("chunk" in m for m in c.sent(leader, "append_entries"))
    assert len(c.machines[slow].log) == 120


def test_a_snapshot_is_lost_with_the_follower_and_begins_anew(cluster) -> None:
    """etcd TestSnapshotFailure, TestSnapshotAbort"""
    c = cluster(3, timings=compacting(20))
    leader = c.elect()
    slow = c.followers()[0]
    c.converge()
    c.partition(slow)
    for n in range(6):
        c.write(leader, *(b"%d-%d:" % (n, k) for k in range(10)))
    c.heal()
    c.run_until(lambda: any("chunk" in m for m in c.sent(leader, "append_entries")))
    c.crash(slow)
    c.run(0.3)
    c.start(slow)
    c.converge()


def test_membership_comes_with_a_snapshot(cluster) -> None:
    """hashicorp SnapshotRestore_PeerChange; etcd TestRestoreWithLearner,
    TestLearnerReceiveSnapshot"""
    c = founded(cluster, 3, timings=compacting(20))
    c.start("n4")
    reach(c, "n1", "n2", "n3", "n4")
    leader = c.leader()
    for n in range(6):
        c.write(leader, *(b"%d-%d:" % (n, k) for k in range(10)))
    c.start("n5")
    reach(c, "n1", "n2", "n3", "n4", "n5")
    c.converge()
    assert c.rafts["n5"]._engine.journal[0][1] > 1, "it came by a snapshot"
    c.crash("n5")
    c.start("n5")
    assert c.rafts["n5"].configuration.voters == ("n1", "n2", "n3", "n4", "n5")


def test_restart_after_a_snapshot_applies_each_entry_once(cluster) -> None:
    """hashicorp RestoreSnapshotOnStartup_CommitTrackingLogs, AutoSnapshot, RestoreCommittedLogs"""
    c = cluster(3, timings=compacting(16))
    leader = c.elect()
    for n in range(5):
        c.write(leader, *(b"%d-%d:" % (n, k) for k in range(10)))
    c.converge()
    for name in c.names:
        c.crash(name)
    for name in c.names:
        c.start(name)
    c.converge()
    c.write(c.leader(), b"end:")
    c.run_until(lambda: {len(c.machines[name].log) for name in c.names} == {51})
