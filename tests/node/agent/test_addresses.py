"""Which node a device turns to."""

import random

import pytest

from stationkeep.node.agent.addresses import AVOIDED, LONGEST_PAUSE, MAX_ADDRESSES, Addresses
from stationkeep.node.agent.connection import websocket_address

ONE, TWO, THREE = (f"http://127.0.0.1:870{number}" for number in (1, 2, 3))


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def addresses(*urls: str) -> tuple[Addresses, Clock]:
    clock = Clock()
    return Addresses(urls, random.Random(7), clock), clock


def picked(of: Addresses, times: int = 200) -> set[str]:
    return {of.pick() for _ in range(times)}


def test_every_known_node_is_picked_sooner_or_later() -> None:
    known, _ = addresses(ONE, TWO)
    known.learn(["127.0.0.1:8702", THREE], ONE)
    assert known.known == [ONE, TWO, THREE]
    assert picked(known) == {ONE, TWO, THREE}


def test_one_that_failed_is_left_alone_for_a_while() -> None:
    known, clock = addresses(ONE, TWO)
    known.failed(ONE)
    assert picked(known) == {TWO}
    clock.now += AVOIDED + 0.1
    assert picked(known) == {ONE, TWO}


def test_when_all_failed_all_are_tried() -> None:
    known, _ = addresses(ONE, TWO)
    for url in (ONE, TWO):
        known.failed(url)
    assert picked(known) == {ONE, TWO}


def test_members_that_left_are_forgotten_and_those_given_never() -> None:
    known, _ = addresses(ONE)
    known.learn([TWO], ONE)
    known.learn([THREE], ONE)
    assert known.known == [ONE, THREE]


def test_a_node_that_talks_nonsense_about_others_is_not_believed() -> None:
    known, _ = addresses(ONE)
    known.learn(["", "a:99999", "a:b", ":8702", f"{TWO}/"], ONE)
    assert known.known == [ONE, TWO]
    known.learn((f"a:{port}" for port in range(1, 500)), ONE)
    assert len(known.known) == MAX_ADDRESSES + 1


def test_nodes_are_spoken_to_as_the_one_that_named_them() -> None:
    """A device that was given TLS is never led to a plain connection."""
    known, _ = addresses("https://fleet.example")
    known.learn(["http://a:8701", "b:8701"], "https://fleet.example")
    assert known.known == ["https://fleet.example", "https://a:8701", "https://b:8701"]


def test_pauses_grow_and_stay_bounded() -> None:
    known, _ = addresses(ONE)
    longest = [max(known.pause(failures) for _ in range(500)) for failures in (0, 2, 5, 1_000)]
    assert (
        longest[0] <= 1.0 < longest[1] <= 4.0 < longest[2] <= LONGEST_PAUSE
    )  # longest[3] <= LONGEST_PAUSE


@pytest.mark.parametrize("url", ["", "127.0.0.1:8701", "ws://a", "http://", "http://a:x"])
def test_what_is_no_address_is_refused_with_the_rule(url: str) -> None:
    with pytest.raises(ValueError, match=r"refused: an address such as http://127\.0\.0\.1:8701"):
        Addresses([url])


def test_none_and_too_many_are_refused() -> None:
    for count in (0, MAX_ADDRESSES + 1):
        with pytest.raises(ValueError, match=f"urls: {count} refused: from 1 to 128"):
            Addresses([ONE] * count)


def test_the_door_is_found_on_the_node() -> None:
    plain = websocket_address("http://node-1:8701/")
    assert (plain.secure, plain.host, plain.port, plain.path) == (
        False, "node-1", 8_701, "/v1/agents",
    )  # fmt: skip
    secure = websocket_address("https://fleet.example/sk")
    assert (secure.secure, secure.port, secure.path) == (True, 443, "/sk/v1/agents")
