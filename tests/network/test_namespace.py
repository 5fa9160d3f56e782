"""What is lost in a namespace, and what is not: sockets instead of nodes."""

import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from stationkeep.node.chaos.namespace import SPARED, Namespace, NamespaceError, cut, loss, without

HOST = "127.0.0.1"
ALICE, BOB = 21_000, 21_001
SHORT, LONG = 0.3, 5.0
"""Seconds to wait for what should not come, and for what should."""


@pytest.fixture
def network(able: None) -> Iterator[Namespace]:
    with Namespace() as entered:
        entered.tell_apart([ALICE, BOB])
        yield entered


def datagram_arrives(sender: int, receiver: int) -> bool:
    with (
        closing(socket.socket(type=socket.SOCK_DGRAM)) as one,
        closing(socket.socket(type=socket.SOCK_DGRAM)) as other,
    ):
        one.bind((HOST, sender))
        other.bind((HOST, receiver))
        other.settimeout(SHORT)
        one.sendto(b"word", (HOST, receiver))
        return heard(other)


def heard(stream: socket.socket) -> bool:
    try:
        return stream.recv(4) == b"word"
    except TimeoutError:
        return False


@contextmanager
def dialled(dialler: int, listener: int) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a connection between two members, each in the group of its port."""
    with closing(socket.create_server((HOST, listener))) as server:
        group = os.getegid()
        os.setegid(dialler)
        try:
            near = socket.create_connection((HOST, listener), timeout=LONG)
        finally:
            os.setegid(group)
        far, _ = server.accept()
        with closing(near), closing(far):
            near.settimeout(SHORT)
            far.settimeout(SHORT)
            yield near, far


def dial(source: str) -> bool:
    with closing(socket.create_server((HOST, BOB))):
        try:
            socket.create_connection((HOST, BOB), SHORT, (source, 0)).close()
        except TimeoutError:
            return False
        return True


def test_nothing_is_lost_at_first(network: Namespace) -> None:
    assert datagram_arrives(ALICE, BOB)
    assert dial(HOST)


def test_loss_spares_who_watches(network: Namespace) -> None:
    network.impose(loss(1.0))
    assert not datagram_arrives(ALICE, BOB)
    assert not dial(HOST)
    assert dial(SPARED)


@pytest.mark.parametrize(("protocol", "datagrams", "streams"), [("udp", 0, 1), ("tcp", 1, 0)])
def test_one_protocol_is_blocked(
    network: Namespace, protocol: str, datagrams: int, streams: int
) -> None:
    network.impose(without(protocol))
    assert (datagram_arrives(ALICE, BOB), dial(HOST)) == (datagrams, streams)


def test_a_cut_loses_datagrams_one_way(network: Namespace) -> None:
    network.impose(cut(ALICE, BOB))
    assert not datagram_arrives(ALICE, BOB)
    assert datagram_arrives(BOB, ALICE)


@pytest.mark.parametrize(("dialler", "listener"), [(ALICE, BOB), (BOB, ALICE)])
def test_a_cut_silences_a_stream_one_way_whoever_dialled_it(
    network: Namespace, dialler: int, listener: int
) -> None:
    with dialled(dialler, listener) as (near, far):
        ends = {dialler: near, listener: far}
        network.impose(cut(ALICE, BOB))
        for end in ends.values():
            end.sendall(b"word")
        assert heard(ends[ALICE])
        assert not heard(ends[BOB])


def test_faults_end_when_others_are_imposed(network: Namespace) -> None:
    network.impose(loss(1.0))
    network.impose(without("tcp"))
    assert datagram_arrives(ALICE, BOB)
    network.impose()
    assert dial(HOST)


def test_a_rule_that_the_kernel_does_not_know_is_refused_and_changes_nothing(
    network: Namespace,
) -> None:
    network.impose(without("tcp"))
    with pytest.raises(NamespaceError, match="iptables-restore"):
        network.impose(["-m no-such-match -j DROP"])
    assert not dial(HOST)


def test_who_leaves_is_at_home_again(able: None) -> None:
    home = os.readlink("/proc/thread-self/ns/net")
    with Namespace():
        assert os.readlink("/proc/thread-self/ns/net") != home
    assert os.readlink("/proc/thread-self/ns/net") == home
