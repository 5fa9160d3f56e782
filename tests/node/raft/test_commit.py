"""What a leader may call committed (Raft paper, figure 2, "rules for leaders"; 5.4.2, figure 8)."""

from typing import Any

from stationkeep.node.raft.engine.messages import NO_OP
from stationkeep.node.raft.raft import APPLY_SECONDS
from tests.node.raft.test_safety import Alone, entries


def test_an_entry_of_an_earlier_term_is_not_committed_by_counting(cluster) -> None:
    """A majority holds it, and yet a leader of a later term could still overwrite it."""
    c = cluster()
    leader = c.elect()
    c.converge()
    standing = {"pre_vote", "request_vote"}

    def nobody_else_stands(sender: str, _: str, message: dict[str, Any]) -> bool:
        return sender != leader and message.get("type") in standing

    c.drop = nobody_else_stands
    c.partition(leader)
    c.propose(leader, b"old", timeout=60.0)
    c.run(3.0)
    engine = c.rafts[leader]._engine
    old, term, committed = engine.last_index(), engine.raftCurrentTerm, engine.raftCommitIndex
    assert committed < old

    def own_entries(_: str, __: str, message: dict[str, Any]) -> bool:
        return any(entry[2] > term for entry in message.get("entries", ()))

    c.drop = lambda *what: nobody_else_stands(*what) or own_entries(*what)
    c.rafts[leader].limit_batches(1)
    c.heal()
    c.run_until(lambda: min(engine.match_of(name) for name in c.names if name != leader) == old)
    c.run(0.5)
    assert engine.journal[-1][0] == NO_OP
    assert engine.journal[-1][2] > term, "it leads a later term"
    assert engine.raftCommitIndex == committed

    c.drop = nobody_else_stands
    c.run_until(lambda: engine.raftCommitIndex > old)
    assert [draft for _, draft in c.machines[leader].log][-1:] == [b"old"]


def test_what_a_majority_has_is_committed_though_one_has_nothing(cluster) -> None:
    c = cluster(size=5)
    leader = c.elect()
    c.converge()
    slow = c.followers()[:2]
    c.drop = lambda _, peer, message: peer in slow and bool(message.get("entries"))
    c.write(leader, *(b"%d:" % n for n in range(300)))
    assert all(c.rafts[leader]._engine.match_of(name) < 300 for name in slow)
    c.drop = lambda *_: False
    c.converge()


def test_entries_that_take_long_are_applied_a_few_a_turn(cluster) -> None:
    """A follower that catches up has hundreds: the loop has others to serve in between."""
    alone = Alone(cluster(3))
    raft, clock = alone.c.rafts["n1"], alone.c.clock
    apply = raft._machine.apply

    def slowly(entry: bytes, index: int) -> Any:
        clock.now += APPLY_SECONDS / 2
        return apply(entry, index)

    raft._machine.apply = slowly
    alone.append(1, (1, 0), entries(1, 2, 9), commit=9)
    seen = [raft.applied_index]
    while raft.next_wakeup() <= clock.now and len(seen) < 9:
        raft.turn()
        seen.append(raft.applied_index)
    assert seen == [3, 5, 7, 9]
