"""How many handshakes may begin in a second, and whose."""

import asyncio
import socket
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from stationkeep.node.security.accepting import (
    MAX_A_SECOND,
    MAX_KNOWN,
    MAX_OF_ADDRESS,
    Acceptor,
    Rate,
)
from tests.node.security.issuing import contexts


def crowd(count: int) -> list[str]:
    return [f"10.0.{n // 250}.{n % 250}" for n in range(count)]


def test_of_one_address_and_of_all_strangers_so_many_begin_and_in_the_next_second_again() -> None:
    rate = Rate()
    for second in (0.0, 1.0):
        assert [rate.admits("192.0.2.1", second) for _ in range(MAX_OF_ADDRESS + 1)].count(
            True
        ) == MAX_OF_ADDRESS
        rest = [rate.admits(one, second + 0.9) for one in crowd(MAX_A_SECOND)]
        assert rest.count(True) == MAX_A_SECOND - MAX_OF_ADDRESS


@pytest.mark.parametrize(
    ("known", "again"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1", "::ffff:192.0.2.1"),
        ("2001:db8::1", "2001:db8::2"),
        ("fe80::1%eth0", "fe80::2%eth0"),
    ],
)
def test_who_was_let_in_before_is_not_shut_out_by_strangers_and_keeps_to_its_own_limit(
    known: str, again: str
) -> None:
    rate = Rate()
    rate.know(known)
    for one in crowd(MAX_A_SECOND + 1):
        rate.admits(one, 0.0)
    assert not rate.admits("198.51.100.1", 0.0)
    tries = [rate.admits(again, 0.0) for _ in range(MAX_OF_ADDRESS + 1)]
    assert tries == [True] * MAX_OF_ADDRESS + [False]


def test_members_do_not_use_up_the_seconds_of_strangers() -> None:
    """A node that joins is one."""
    rate = Rate()
    members = crowd(MAX_KNOWN)
    for member in members:
        rate.know(member)
        assert rate.admits(member, 0.0)
    assert rate.admits("198.51.100.1", 0.0)


def test_of_those_that_are_known_the_one_seen_longest_ago_is_forgotten() -> None:
    rate = Rate()
    first, second, *others = crowd(MAX_KNOWN + 1)
    for member in (first, second, *others[:-1], first, others[-1]):
        rate.know(member)
    for one in crowd(MAX_A_SECOND + MAX_KNOWN + 2)[MAX_KNOWN + 2 :]:
        rate.admits(one, 0.0)
    assert rate.admits(first, 0.0)
    assert not rate.admits(second, 0.0)


async def test_strangers_who_come_as_fast_as_they_may_keep_their_places_for_a_second(
    tmp_path: Path,
) -> None:
    """Devices of a node that died, over a satellite: if those who come broke off those who are half
    through, none would ever be through."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=MAX_A_SECOND)
    listening.setblocking(False)
    outcomes = Counter[str]()
    acceptor = Acceptor(contexts(tmp_path, "a").http, asyncio.Protocol, outcomes)
    acceptor.open([listening])
    with ExitStack() as opened:
        for n in range(MAX_A_SECOND):
            source = (f"127.1.0.{n}", 0)
            address = listening.getsockname()
            opened.enter_context(socket.create_connection(address, source_address=source))
        await asyncio.sleep(1.0)
        assert not outcomes
        acceptor.close()
        await acceptor.closed()
