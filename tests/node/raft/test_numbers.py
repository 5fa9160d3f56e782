"""One word of a peer, with whatever numbers, after which everything must go on (`cluster.numbers`).

What a leader says is in its log is no such number: of that a follower believes its leader, as Raft
does.
"""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stationkeep.cluster.numbers import CEILING, RESTORED, TERM
from stationkeep.node.ports import Committed
from stationkeep.node.raft import Journal
from stationkeep.node.raft.engine.messages import _CHECKS
from stationkeep.node.raft.engine.progress import Progress, Request
from tests.node.raft.harness import GOOD_VOTE, Cluster

EXTREMES = (
    0, 1, 2, 3, 1 << 16, (1 << 16) + 3, 1 << 31, 1 << 32, RESTORED - 1, RESTORED, RESTORED + 1,
    CEILING - 1, CEILING, CEILING + 1, (1 << 62) - 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, -1,
    -(1 << 63),
)  # fmt: skip


def settled(c: Cluster) -> str:
    """The leader of a cluster in which everybody has everything."""
    leader = c.elect()
    c.write(leader, b"before")
    c.converge()
    return leader


def goes_on(c: Cluster) -> None:
    """Everybody can write, and has what the others wrote, also after a restart."""
    c.run(2.0)
    for name in c.names:
        c.write(name, b"by:" + name.encode())
    c.converge()
    for name in list(c.names):
        c.crash(name)
        c.start(name)
    c.write(c.elect(), b"after")
    c.converge()


# -- terms ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("type_", ["stale_term", "append_entries", "request_vote"])
@pytest.mark.parametrize("to_leader", [True, False])
def test_a_term_out_of_reach_is_refused_and_counted(cluster, type_: str, to_leader: bool) -> None:
    c = cluster(3)
    leader = settled(c)
    target = leader if to_leader else c.followers()[0]
    sender = next(name for name in c.followers() if name != target)
    before = c.rafts[target].term
    c.deliver(sender, target, message(c, target, type_) | {"term": CEILING, "transfer": True})
    raft = c.rafts[target]
    assert raft.term <= before + TERM.step
    assert raft.rejected["term too far ahead"] == 1
    said = f"{sender} sent term {CEILING}, above the limit of {before + TERM.step}"
    assert (raft.implausible.counted, raft.implausible.newest) == ({"term": 1}, said)
    goes_on(c)
    assert max(raft.term for raft in c.rafts.values()) < before + TERM.step
    assert [r.implausible.total for n, r in c.rafts.items() if n != target] == [0, 0]


@pytest.mark.parametrize("behind", [["n3"], ["n1", "n3"], ["n1", "n2", "n3"]])
def test_who_is_years_behind_catches_up(cluster, behind: list[str]) -> None:
    """Also a majority, though nobody comes to that honestly."""
    c = cluster(3)
    settled(c)
    for name in c.names:
        c.crash(name)
    for name in set(c.names) - set(behind) or {"n3"}:
        journal = Journal(c.path / name, cluster="c", node=name, durability="os")
        journal.setCurrentTerm(30 * TERM.step, None)
        journal.commit()
        journal.close()
    for name in c.names:
        c.start(name)
    c.run_until(lambda: min(raft.term for raft in c.rafts.values()) >= 30 * TERM.step, 120)
    goes_on(c)


# -- what is committed ---------------------------------------------------------------------------


def test_one_contradiction_of_what_is_committed_stops_nobody(cluster) -> None:
    c = cluster(3)
    leader = settled(c)
    for target in c.names:
        sender = next(n for n in c.names if n not in (target, leader))
        c.deliver(sender, target, message(c, target, "append_entries") | {"prevLogTerm": 0})
    goes_on(c)


# -- whose journal speaks ------------------------------------------------------------------------


def test_a_follower_is_heard_again_after_somebody_answered_with_another_birth(cluster) -> None:
    c = cluster(3)
    leader = settled(c)
    follower, other = c.followers()
    c.deliver(follower, leader, message(c, leader, "next_node_idx") | {"birth": 4711})
    term = c.rafts[leader].term
    c.crash(other)  # now it is needed
    results = c.propose(leader, b"x", timeout=5.0)
    c.run_until(lambda: bool(results))
    assert isinstance(results[0], Committed)
    assert c.rafts[leader].term == term


def test_a_former_journal_is_believed_by_what_was_asked_since() -> None:
    """A late answer of a disk that is lost is none; the journal that goes on answering is there."""
    progress = Progress(next=10)
    for seq in (1, 2, 3, 4):
        progress.sent(seq, Request(0, 0, 0, 0, 0.0))
    assert progress.speaks(11, 1, 2)
    progress.succeeded(9)
    assert progress.speaks(22, 2, 3)
    assert (progress.birth, progress.match) == (22, 0)
    assert not progress.speaks(11, 3, 3)
    assert progress.speaks(11, 4, 4)
    assert (progress.birth, progress.match, progress.counted) == (11, 0, False)
    assert not progress.speaks(22, 4, 4)


# -- removal -------------------------------------------------------------------------------------


def test_who_is_told_wrongly_of_its_removal_hears_its_leader(cluster) -> None:
    c = cluster(3)
    settled(c)
    follower = c.followers()[0]
    c.rafts[follower].told_removed(c.followers()[1], CEILING)
    assert c.rafts[follower].standing == "removed"
    c.run(1.0)
    assert c.rafts[follower].standing == "voter"


def test_who_is_told_wrongly_of_its_removal_stands_again_when_nobody_leads(cluster) -> None:
    c = cluster(3)
    leader = settled(c)
    needed, lagging = c.followers()
    c.partition(lagging)
    c.write(leader, b"not at the other")
    c.run(0.5)
    c.crash(leader)
    c.heal()
    c.rafts[needed].told_removed(lagging, CEILING)
    c.run(30.0)
    assert c.leader() is None
    c.run_until(lambda: c.leader() == needed, 600)


# -- forwarded drafts ----------------------------------------------------------------------------


def test_a_follower_goes_on_after_its_tickets_were_called_done_with(cluster) -> None:
    c = cluster(3)
    leader = settled(c)
    follower = c.followers()[0]
    c.write(follower, b"one")
    sent = next(m for s, _, m in reversed(c.seen) if s == follower and m["kind"] == "propose")
    lie = sent | {"oldest": CEILING, "items": [(CEILING, b"lie")]}
    c.rafts[leader].receive(follower, lie)
    c.run(0.5)
    results = c.propose(follower, b"two", retry=True, timeout=5.0)
    plain = c.propose(follower, b"three", timeout=5.0)
    c.run_until(lambda: bool(results) and bool(plain))
    assert isinstance(results[0], Committed)
    later = c.propose(follower, b"four", timeout=5.0)
    c.run_until(lambda: bool(later))
    assert isinstance(later[0], Committed)


# -- every message -------------------------------------------------------------------------------


def message(c: Cluster, target: str, type_: str) -> dict[str, Any]:
    """One that could come to the target, as things stand."""
    raft = c.rafts[target]
    last, term = raft._engine.last_index(), raft.term
    log = {"last_log_index": last, "last_log_term": term}
    of = {
        "request_vote": {**log, "transfer": False},
        "response_vote": GOOD_VOTE,
        "pre_vote": {**log, "round": 1},
        "pre_vote_answer": {**GOOD_VOTE, "round": raft._engine._round, "granted": True},
        "stale_term": {},
        "timeout_now": {},
        "append_entries": {
            "seq": 9_999, "commit_index": raft.commit_index, "prevLogIdx": last,
            "prevLogTerm": term, "entries": (),
        },
        "next_node_idx": {
            "seq": raft._engine._seq, "birth": 1, "next_node_idx": last + 1, "reset": False,
            "success": True,
        },
        "snapshot_chunk": {
            "seq": raft._engine._seq, "birth": 1, "index": last, "snapshot_term": term,
            "wanted": 1,
        },
    }  # fmt: skip
    return {"kind": "raft", "type": type_, "term": term, **of[type_]}


def _sign_of_life(c: Cluster, target: str) -> dict[str, Any]:
    whole = message(c, target, "append_entries")
    return {k: v for k, v in whole.items() if k in ("kind", "type", "term", "seq", "commit_index")}


def _chunk(c: Cluster, target: str) -> dict[str, Any]:
    last, term = c.rafts[target]._engine.last_index(), c.rafts[target].term
    return {**_sign_of_life(c, target), "chunk": (last + 1, term, 0, 1, b"nothing")}


def _early(c: Cluster, target: str) -> dict[str, Any]:
    whole = message(c, target, "append_entries")
    ahead = whole["prevLogIdx"] + 10
    return {**whole, "prevLogIdx": ahead, "entries": ((b"\x00@x", ahead + 1, whole["term"]),)}


def _propose(c: Cluster, target: str) -> dict[str, Any]:
    term = c.rafts[target].term
    return {"kind": "propose", "life": 1, "term": term, "oldest": 1, "items": ((1, b"draft"),)}


def _proposed(c: Cluster, target: str) -> dict[str, Any]:
    life = c.rafts[target]._forwarding._life
    return {"kind": "proposed", "life": life, "items": ((1, 5, 1, ""),)}


def _of_type(type_: str) -> Callable[[Cluster, str], dict[str, Any]]:
    return lambda c, target: message(c, target, type_)


WORDS = {
    **{type_: _of_type(type_) for type_ in _CHECKS},
    "sign of life": _sign_of_life, "chunk": _chunk, "early": _early, "propose": _propose,
    "proposed": _proposed,
}  # fmt: skip


def spoilt(value: Any, numbers: Callable[[int], int]) -> Any:
    """The same with other numbers; text stays."""
    match value:
        case bool() | str() | bytes():
            return value
        case int():
            return numbers(value)
        case dict():
            return {key: spoilt(item, numbers) for key, item in value.items()}
        case _:
            return tuple(spoilt(item, numbers) for item in value)


def each_spoilt(word: dict[str, Any], value: int) -> list[dict[str, Any]]:
    """The word with one of its numbers replaced, in turn."""
    count = itertools.count()
    spoilt(word, lambda _: next(count))
    return [_spoilt_at(word, place, value) for place in range(next(count))]


def _spoilt_at(word: dict[str, Any], place: int, value: int) -> Any:
    places = itertools.count()
    return spoilt(word, lambda number: value if next(places) == place else number)


@pytest.mark.parametrize("value", [0, RESTORED, CEILING])
@pytest.mark.parametrize("word", WORDS)
def test_after_each_number_of_each_word_everybody_goes_on(cluster, word: str, value: int) -> None:
    c = cluster(3)
    leader = settled(c)
    for target in (leader, c.followers()[0]):
        for said in each_spoilt(WORDS[word](c, target), value):
            sender = next(name for name in c.followers() if name != target)
            c.rafts[target].receive(sender, said)
            c.run(1.0)
            c.elect()
    goes_on(c)


@pytest.mark.parametrize("word", WORDS)
@given(data=st.data(), to_leader=st.booleans(), from_leader=st.booleans())
@settings(max_examples=6)
def test_after_any_one_word_everybody_goes_on(
    tmp_path_factory: pytest.TempPathFactory, word: str, data: st.DataObject,
    to_leader: bool, from_leader: bool,
) -> None:  # fmt: skip
    """Each number of it as it was or an extreme, to a leader or a follower, in anybody's name."""
    c = Cluster(tmp_path_factory.mktemp("word"), 3)
    leader = settled(c)
    first, second = c.followers()
    target = leader if to_leader else first
    sender = leader if from_leader and not to_leader else second
    extreme = st.none() | st.sampled_from(EXTREMES)

    def other(number: int) -> int:
        drawn = data.draw(extreme)
        return number if drawn is None else drawn

    c.rafts[target].receive(sender, spoilt(WORDS[word](c, target), other))
    goes_on(c)
    c.close()
