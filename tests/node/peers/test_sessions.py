"""Numbers, seals and echoes, without a socket."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationkeep.node.peers.sessions import (
    DOUBT_SECONDS,
    ECHO_SECONDS,
    MAX_BODY,
    MAX_DATAGRAM,
    MAX_JUMP,
    WINDOW,
    BadDatagram,
    Echo,
    Incoming,
    Opened,
    Outgoing,
    Path,
    Ration,
    Window,
    address_of,
)

NOTHING = Echo()


def pair() -> tuple[Outgoing, Incoming]:
    sender = Outgoing()
    return sender, Incoming(sender.name, sender.key)


def opened(receiver: Incoming, datagram: bytes) -> Opened:
    session, counter = address_of(datagram)
    assert session == receiver.name
    return receiver.open(datagram, counter)


@given(st.lists(st.integers(1, 3 * WINDOW)))
def test_a_window_takes_each_number_once_and_none_that_is_too_old(numbers: list[int]) -> None:
    window, seen, top = Window(), set[int](), 0
    for number in numbers:
        new = number not in seen and number > top - WINDOW
        assert window.take(number) is new
        seen.add(number)
        top = max(top, number)
        assert window.top == top


def test_a_datagram_arrives_as_it_was_sent() -> None:
    sender, receiver = pair()
    body = bytes(MAX_BODY)
    datagram = sender.seal(7, body, Echo(1, 2, 3))
    assert len(datagram) == MAX_DATAGRAM
    assert opened(receiver, datagram) == Opened(7, Echo(1, 2, 3), body)
    assert receiver.echo == Echo(sender.name, 1, 1)


@given(st.integers(0, 10_000), st.integers(0, 7))
def test_no_bit_of_a_datagram_can_be_changed(place: int, bit: int) -> None:
    sender, receiver = pair()
    datagram = bytearray(sender.seal(1, b"message", NOTHING))
    datagram[place % len(datagram)] ^= 1 << bit
    with pytest.raises((BadDatagram, AssertionError)):
        opened(receiver, bytes(datagram))
    assert receiver.heard == 0


def test_a_replayed_datagram_and_one_of_another_session_are_refused() -> None:
    sender, receiver = pair()
    datagram = sender.seal(1, b"", NOTHING)
    opened(receiver, datagram)
    with pytest.raises(BadDatagram, match="replayed"):
        opened(receiver, datagram)
    stranger = Outgoing()
    foreign = stranger.seal(1, b"", NOTHING)
    with pytest.raises(BadDatagram, match="forged"):
        receiver.open(foreign, 1)
    assert receiver.heard == 1


@pytest.mark.parametrize("datagram", [b"", b"\1", bytes(64), b"\2" + bytes(80), bytes(1_201)])
def test_what_is_no_datagram(datagram: bytes) -> None:
    with pytest.raises(BadDatagram, match="malformed"):
        address_of(datagram)


def test_a_number_out_of_reach_changes_nothing() -> None:
    """Else one word of a peer would make all that it says later too old."""
    sender, receiver = pair()
    for number in (MAX_JUMP + 1, 2**64 - 1):
        with pytest.raises(BadDatagram, match="malformed"):
            opened(receiver, sender.seal(number, b"", NOTHING))
    sender.counter = MAX_JUMP + 5
    with pytest.raises(BadDatagram, match="malformed"):
        opened(receiver, sender.seal(1, b"", NOTHING))
    sender.counter = 10
    assert opened(receiver, sender.seal(1, b"", NOTHING)).number == 1


def test_a_session_is_replaced_before_its_receiver_would_refuse_it() -> None:
    sender = Outgoing()
    assert not sender.is_used_up(0)
    sender.counter = MAX_JUMP // 2 + 1
    assert sender.is_used_up(0)
    assert not sender.is_used_up(sender.counter - 10)


@given(st.integers(0, 2**32))
def test_echoes_tell_the_sender_what_was_lost(seed: int) -> None:
    draw = random.Random(seed)
    sender, receiver = pair()
    path = Path()
    path.follow(sender.name)
    lost = 0
    for now in range(200):
        datagram = sender.seal(0, b"", NOTHING)
        if draw.random() < 0.3:
            lost += 1
            continue
        opened(receiver, datagram)
        path.answered(receiver.echo, sender.counter, float(now))
        assert path.missing == lost
        assert path.loses(float(now)) is (lost > 0 and now - path.lost_at < DOUBT_SECONDS)


def test_echoes_that_make_no_sense_change_nothing() -> None:
    path = Path()
    path.follow(5)
    for echo in (Echo(4, 1, 1), Echo(5, 11, 11), Echo(5, 0, 0)):
        path.answered(echo, 10, 1.0)
    assert path == Path(session=5)
    path.answered(Echo(5, 10, 12), 10, 1.0)  # more than were sent: nothing is missing
    assert path.missing == 0


def test_a_way_is_in_doubt_until_it_is_answered_and_while_it_loses() -> None:
    path = Path()
    path.follow(5)
    assert path.is_in_doubt(0.0)
    path.answered(Echo(5, 3, 3), 10, 0.0)
    assert not path.is_in_doubt(0.0)
    path.answered(Echo(5, 5, 4), 10, 1.0)
    assert path.is_in_doubt(1.0)
    for now in range(2, 13):
        path.answered(Echo(5, 4 + now, 3 + now), 100, float(now))
    assert not path.is_in_doubt(12.0)
    assert path.is_in_doubt(12.0 + ECHO_SECONDS)


def test_a_ration_is_so_many_a_second() -> None:
    ration = Ration(0.0)
    assert not ration.take(50.0, 0.0)
    taken = sum(ration.take(50.0, n / 1_000) for n in range(10_000))
    assert 490 <= taken <= 501
    assert sum(ration.take(50.0, 1_000.0) for _ in range(1_000)) == 50, "saved for a second"
