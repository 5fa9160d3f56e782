"""Hazards S11 and L1-L10: full disks, slow walks, floods, answers that never come."""

import sqlite3
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationkeep.cluster.state.codec import MAX_DRAFT_BYTES
from stationkeep.node.ports import Committed, NotProposed, OutcomeUnknown
from stationkeep.node.raft import LogDiverged, proposals
from stationkeep.node.raft import raft as raft_module
from stationkeep.node.raft.engine import leader as leading_module
from stationkeep.node.raft.engine.messages import BadMessage, check
from stationkeep.node.raft.shared import Shared
from tests.node.raft.harness import TIMINGS, Cluster
from tests.node.raft.storage.test_journal import limit_pages


def fill(c: Cluster, name: str) -> None:
    limit_pages(c.journals[name], 0)


def free(c: Cluster, name: str) -> None:
    c.journals[name]._storage.database.execute("PRAGMA max_page_count = 1000000")


def big(count: int, prefix: str = "b") -> list[bytes]:
    return [f"{prefix}{n}:".encode() + bytes(20_000) for n in range(count)]


def test_s11_a_leader_with_a_full_disk_steps_down_and_says_so(cluster) -> None:
    c = cluster()
    full = c.elect()
    c.converge()
    fill(c, full)
    lost = [c.propose(full, draft, timeout=2.0) for draft in big(10)]
    c.run_until(lambda: c.rafts[full].journal_error is not None)
    assert "full" in str(c.rafts[full].journal_error)
    assert not c.rafts[full].is_leader
    c.seen.clear()
    c.run_until(lambda: c.leader() not in (None, full))
    c.write(str(c.leader()), *big(3, "after"))
    c.run(3.0)
    assert all(len(r) == 1 for r in lost)
    assert not any(s == full and m["kind"] == "raft" for s, _, m in c.seen), "silent while full"
    free(c, full)
    c.run_until(lambda: c.rafts[full].journal_error is None)
    c.converge()


def test_s11_a_follower_with_a_full_disk_acknowledges_nothing(cluster) -> None:
    c = cluster()
    leader = c.elect()
    c.converge()
    full, other = c.followers()
    fill(c, full)
    c.write(leader, *big(10))
    assert c.rafts[full].journal_error is not None
    assert c.rafts[leader]._engine.match_of(full) < c.rafts[leader]._engine.match_of(other)
    term = c.rafts[leader].term
    c.run(5.0)
    assert c.rafts[leader].term == term, "it does not campaign"
    free(c, full)
    c.converge()
    assert c.rafts[full].journal_error is None


def test_s11_an_io_error_is_survived_as_well(cluster, monkeypatch) -> None:
    c = cluster()
    leader = c.elect()
    c.converge()

    def fail(*_) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr("stationkeep.node.raft.storage.sqlite._write_meta", fail)
    c.propose(leader, b"x:")
    c.run_until(lambda: c.rafts[leader].journal_error is not None)
    monkeypatch.undo()
    c.run_until(lambda: c.rafts[leader].journal_error is None)
    c.converge()


def test_l1_l10_an_exception_in_a_turn_is_not_swallowed(cluster, monkeypatch) -> None:
    c = cluster()
    leader = c.elect()

    def broken(entry: bytes, index: int) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(c.machines[leader], "apply", broken)
    c.propose(leader, b"x")
    with pytest.raises(ZeroDivisionError):
        c.run(1.0)


def test_l3_a_long_conflict_takes_one_step_per_term(cluster) -> None:
    c = cluster()
    old = c.elect()
    c.converge()
    c.partition(old)
    for n in range(300):
        c.propose(old, b"%d" % n, timeout=0.5)
    c.run(0.3)
    assert c.rafts[old]._engine.last_index() > 300
    c.run_until(lambda: c.leader() not in (None, old))
    new = str(c.leader())
    c.write(new, *(b"n%d:" % n for n in range(350)))
    c.rafts[new].transfer_leadership()  # the next leader begins at the end of its long log
    c.run_until(lambda: c.leader() not in (None, old, new))
    c.seen.clear()
    c.heal()
    c.converge()
    assert 1 <= len([m for m in c.sent(old, "next_node_idx") if m["reset"]]) <= 4


def test_l5_the_largest_drafts_travel_in_one_message(cluster) -> None:
    c = cluster()
    leader = c.elect()
    c.write(leader, *(b"%d:" % n + bytes(MAX_DRAFT_BYTES - 8) for n in range(8)))
    c.write(c.followers()[0], b"f:" + bytes(MAX_DRAFT_BYTES - 8))
    c.converge()
    assert not any("transmission" in m for *_, m in c.seen)


def test_l6_a_cut_off_leader_stops_believing(cluster) -> None:
    c = cluster()
    leader = c.elect()
    c.converge()
    c.partition(leader)
    cut_at = c.clock.now
    c.run_until(lambda: not c.rafts[leader].is_leader)
    assert c.clock.now - cut_at <= TIMINGS.step_down + 2 * TIMINGS.heartbeat


@pytest.mark.parametrize("lost", ["propose", "proposed", "append_entries"])
@pytest.mark.parametrize("retry", [False, True])
def test_l7_a_forwarded_proposal_is_answered_once_whatever_is_lost(cluster, lost, retry) -> None:
    c = cluster()
    leader = c.elect()
    c.converge()
    follower = c.followers()[0]
    c.drop = lambda s, p, m: lost in (m["kind"], m.get("type")) and leader in (s, p)
    results = [c.propose(follower, b"%d:" % n, timeout=8.0, retry=retry) for n in range(20)]
    c.run(0.1)
    assert not any(results)
    c.crash(leader)
    c.run_until(lambda: all(results))
    c.drop = lambda *_: False
    c.run(9.0)
    assert all(len(r) == 1 for r in results)
    # Known to stand at an index that another entry took, it is proposed again, keyed or not.
    kind = Committed if retry or lost == "append_entries" else OutcomeUnknown
    assert all(isinstance(r[0], kind) for r in results)


def test_l7_another_leader_is_reason_enough_to_ask_again(cluster) -> None:
    """The connection to the old one lives on, so nothing else tells of the loss."""
    c = cluster()
    leader = c.elect()
    c.converge()
    c.drop = lambda s, p, m: m["kind"] == "propose"
    follower = c.followers()[0]
    result = c.propose(follower, b"x:", timeout=25.0, retry=True)
    c.run(0.1)
    c.drop = lambda *_: False
    c.rafts[leader].transfer_leadership()
    c.run_until(lambda: bool(result), 2.0)
    assert isinstance(result[0], Committed)


def test_l7_a_replaced_entry_is_proposed_again_by_itself(cluster) -> None:
    """Another leader's entry took its place: it certainly has no effect yet, keyed or not."""
    c = cluster()
    old = c.elect()
    c.converge()
    c.partition(old)
    result = c.propose(old, b"mine", timeout=20.0)
    c.run_until(lambda: c.leader() not in (None, old))
    c.write(str(c.leader()), b"theirs:")
    c.heal()
    c.run_until(lambda: bool(result))
    assert isinstance(result[0], Committed)
    c.converge()
    assert Counter(d for _, d in c.machines[old].log)[b"mine"] == 1


def test_l8_a_silent_follower_is_sent_no_more_than_fits(cluster) -> None:
    c = cluster()
    leader = c.elect()
    c.converge()
    silent = c.followers()[0]
    c.drop = lambda s, p, m: s == silent
    c.seen.clear()
    c.write(leader, *(b"%d:" % n + bytes(200_000) for n in range(60)))
    sent = [m for _, p, m in c.seen if p == silent and m.get("type") == "append_entries"]
    size = sum(len(command) for m in sent for command, *_ in m.get("entries", ()))
    assert 0 < size <= leading_module.FLYING_BYTES + 2 * leading_module.BATCH_BYTES
    c.drop = lambda *_: False
    c.converge()


def test_too_many_and_too_large_proposals_are_refused(cluster, monkeypatch) -> None:
    c = cluster()
    monkeypatch.setattr(proposals, "MAX_PENDING", 3)
    results = [c.propose("n1", b"x", timeout=0.01) for _ in range(4)]
    large = c.propose("n1", bytes(MAX_DRAFT_BYTES + 1))
    c.rafts["n1"].turn()
    assert results == [[], [], [], [NotProposed("queue_full")]]
    assert large == [NotProposed("too_large")]
    c.run(0.02)
    assert results[:3] == [[NotProposed("no_leader")]] * 3


def test_closing_answers_everything(cluster) -> None:
    c = cluster()
    leader = c.elect()
    c.converge()
    c.drop = lambda *_: True
    queued = c.propose(c.followers()[0], b"queued")
    appended = c.propose(leader, b"appended")
    c.rafts[leader].turn()
    for raft in c.rafts.values():
        raft.close()
    assert queued == [NotProposed("no_leader")]
    assert isinstance(appended[0], OutcomeUnknown)


# -- what peers may send -------------------------------------------------------------------------

small = st.integers(-1, 40)
anything = st.none() | st.booleans() | small | st.binary(max_size=5) | st.text(max_size=5)
entry = st.tuples(st.sampled_from([b"\x00@x", b"\x01", b"", b"\x02", b"\x80\x04."]), small, small)
messages = st.fixed_dictionaries(
    {
        "type": st.sampled_from([
            "append_entries", "next_node_idx", "request_vote", "response_vote",
            "snapshot_chunk", "timeout_now", "apply_command", "nonsense",
            "pre_vote", "pre_vote_answer", "stale_term",
        ]),
    },
    optional={
        "term": small, "seq": small, "commit_index": small, "prevLogIdx": small,
        "prevLogTerm": small, "last_log_index": small, "last_log_term": small,
        "next_node_idx": small, "index": small, "snapshot_term": small, "wanted": small,
        "reset": st.booleans(), "success": st.booleans(), "trusted": st.booleans() | anything,
        "transfer": st.booleans() | anything, "round": small | anything,
        "granted": st.booleans() | anything, "lost": st.booleans() | anything,
        "entries": st.lists(entry, max_size=3) | anything,
        "chunk": st.tuples(small, small, small, small, st.binary(max_size=9)) | anything,
        "serialized": anything, "transmission": anything, "data": anything, "command": anything,
    },
)  # fmt: skip
kinds = st.sampled_from(["raft", "raft", "raft", "propose", "proposed", "gossip"])
items = st.lists(st.tuples(anything, anything) | st.tuples(*[anything] * 4), max_size=3)


@given(st.lists(st.tuples(kinds, messages, items | anything), max_size=25))
def test_no_message_from_a_peer_raises(
    tmp_path_factory: pytest.TempPathFactory, sent: list[tuple[str, dict, object]]
) -> None:
    """But for a well-formed contradiction of what is committed, which must stop the node."""
    c = Cluster(tmp_path_factory.mktemp("fuzz"), 3)
    raft = c.rafts["n1"]
    try:
        for kind, message, extra in sent:
            raft.receive("n2", {**message, "kind": kind, "items": extra})
            raft.turn()
            c.clock.now += 0.05
        for name in c.rafts:
            raft.receive(name, {"kind": "raft"})
        raft.turn()
    except LogDiverged:
        pass
    assert raft.applied_index <= raft.commit_index <= raft._engine.last_index()
    c.close()


@given(messages)
def test_checked_messages_have_exactly_the_fields_of_their_type(message: dict) -> None:
    try:
        checked = check(message)
    except BadMessage:
        return
    assert checked["type"] == message["type"]
    assert not set(checked) & {"transmission", "data", "command"}
    assert type(checked["term"]) is int
    assert all(e[0][:1] in (b"\x00", b"\x01") for e in checked.get("entries", []))


def test_a_flood_is_bounded_and_counted_and_leaves_room_for_other_members(
    cluster, monkeypatch
) -> None:
    monkeypatch.setattr(raft_module, "MAX_INBOX", 12)
    c = cluster()
    n1 = c.rafts["n1"]
    for _ in range(25):
        n1.receive("n2", {"kind": "raft", "type": "nonsense"})
    for _ in range(5):
        n1.receive("n3", {"kind": "raft", "type": "nonsense"})
    n1.turn()
    assert n1.rejected == {"inbox_full": 16 + 2, "unknown type": 9 + 3}
    assert not n1._inbox._of


def test_drafts_of_one_follower_leave_room_for_those_of_others() -> None:
    queue: Shared[int] = Shared(8)
    assert [queue.put("n2", n) for n in range(7)] == [True] * 6 + [False]
    assert [queue.put("n3", n) for n in range(3)] == [True] * 2 + [False]
    assert queue.take() == ("n2", 0)
    assert queue.put("n3", 3)
    assert [queue.take() for _ in range(len(queue))][-2:] == [("n3", 1), ("n3", 3)]
    assert not queue._of
