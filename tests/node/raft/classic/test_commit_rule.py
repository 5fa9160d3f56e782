"""When an entry is committed (5.4.2, figure 8), as etcd-io/raft tests it."""

import pytest


def test_figure_8_an_old_entry_on_a_majority_is_not_committed_by_counting(puppet) -> None:
    """etcd TestLeaderOnlyCommitsLogFromCurrentTerm, TestCannotCommitWithoutNewTermEntry"""
    puppet.lead((1, 2, 2))
    for match in (2, 3, 4):
        puppet.answer(match)
        assert puppet.engine.raftCommitIndex == 1, match
    last = puppet.engine.last_index()
    puppet.answer(last)
    puppet.turn()
    assert puppet.engine.raftCommitIndex == last


def test_figure_8_whole(cluster) -> None:
    """Raft paper figure 8 (d): what was only counted is replaced, and nobody has applied it."""
    c = cluster(5)
    s1 = c.elect()
    c.converge()
    rest = c.followers()
    s5 = rest[-1]
    c.drop = lambda s, p, m: bool(m.get("entries")) and s == s1 and p != rest[0]
    c.propose(s1, b"a:", timeout=60)
    c.run(0.05)
    assert c.rafts[rest[0]]._engine.last_index() == c.rafts[s1]._engine.last_index()
    mark = c.rafts[s1]._engine.last_index()
    c.crash(s1)
    c.crash(rest[0])
    c.drop = lambda s, p, m: bool(m.get("entries")) and s == s5
    c.run_until(lambda: any(r._engine._isLeader() for r in c.rafts.values()))
    two = next(n for n, r in c.rafts.items() if r._engine._isLeader())
    c.run(0.05)
    c.crash(two)  # its entries of the next term are nowhere else
    c.drop = lambda *_: False
    c.start(s1)
    c.start(rest[0])
    c.start(two)
    c.converge()
    assert len({c.rafts[n]._engine._term_at(mark) for n in c.names}) == 1


def test_what_precedes_is_committed_with_the_first_entry_of_the_term(puppet) -> None:
    """etcd TestLeaderCommitPrecedingEntries"""
    puppet.lead((1, 1, 2))
    last = puppet.engine.last_index()
    puppet.answer(last)
    puppet.turn()
    assert puppet.c.rafts["n1"].applied_index == last
    assert len(puppet.c.machines["n1"].log) == 3


@pytest.mark.parametrize(
    ("size", "acks", "committed"),
    [
        (3, 1, True),
        (3, 0, False),
        (5, 1, False),
        (5, 2, True),
        (4, 1, False),
        (4, 2, True),
        (2, 0, False),
        (2, 1, True),
    ],
)
def test_a_majority_and_no_less(cluster, size, acks, committed) -> None:
    """etcd TestLeaderAcknowledgeCommit, TestCommit, quorum/testdata"""
    c = cluster(size)
    leader = c.elect()
    c.converge()
    quiet = c.followers()[acks:]
    c.drop = lambda _, p, m: p in quiet and bool(m.get("entries"))
    got = c.propose(leader, b"x:", timeout=30)
    c.run(0.6)
    assert bool(got) is committed
