"""Links with two lanes: which message goes by which, and what becomes of a cluster under loss."""

import random

import pytest

from stationkeep.node.simulation.agenda import Agenda
from stationkeep.node.simulation.campaigns.campaign import attempt, quiet
from stationkeep.node.simulation.campaigns.summary import Summary, summarise
from stationkeep.node.simulation.faults.disturbances import Disturbances
from stationkeep.node.simulation.links.network import COMFORTABLE, Links
from stationkeep.node.simulation.scenario import Action, Scenario

A, B = "sat-001", "sat-002"
SMALL = {"kind": "gossip", "heard": {}}
BIG = {"kind": "raft", "entries": [(bytes(5_000), 1, 1)]}


class Party:
    def __init__(self) -> None:
        self.heard: list[dict] = []
        self.connections = self.disconnections = 0
        self.runs = True

    def accepts(self) -> bool:
        return self.runs

    def deliver(self, sender: str, message: dict) -> None:
        self.heard.append(message)

    def on_connected(self, peer: str) -> None:
        self.connections += 1

    def on_disconnected(self, peer: str) -> None:
        self.disconnections += 1


class Pair:
    """Two nodes, connected."""

    def __init__(self, datagram: str = "on", fresh: str = "on") -> None:
        self.agenda = Agenda()
        self.parties = {A: Party(), B: Party()}
        names = [A, B]
        self.links = Links(
            self.agenda.time, self.agenda.at, random.Random(1), self.parties, names
        )  # fmt: skip
        self.disturbances = Disturbances(self.links, names)
        self.disturbances.lane("datagram", datagram)
        self.disturbances.lane("fresh", fresh)
        for name in names:
            self.links.join(name)
        self.wait(1.0)
        assert self.parties[A].connections == self.parties[B].connections == 1

    def wait(self, seconds: float) -> None:
        self.agenda.run_to(self.agenda.time.now + seconds)

    def say(self, message: dict, count: int = 1) -> None:
        """A to B, every tenth of a second."""
        for _ in range(count):
            self.links.send(A, B, dict(message))
            self.wait(0.1)

    @property
    def heard(self) -> list[dict]:
        return self.parties[B].heard


def test_a_standing_stream_costs_small_messages_nothing() -> None:
    pair = Pair()
    pair.disturbances.standing(A, B, "on")
    pair.say(SMALL, 40)
    assert len(pair.heard) == 40


def test_blocked_datagrams_cost_nothing_while_the_stream_goes() -> None:
    pair = Pair()
    pair.disturbances.weather("0.001", "0", "0.0001", "0")
    pair.disturbances.udp(A, B, "off")
    pair.say(SMALL, 40)
    assert len(pair.heard) == 40


def test_what_arrives_on_both_lanes_is_taken_once() -> None:
    pair = Pair()
    pair.disturbances.weather("0.001", "0.001", "0.0001", "0")
    pair.disturbances.stray("0.5", "2", "0.5")
    pair.say(SMALL, 100)
    pair.wait(5.0)
    assert len(pair.heard) == 100


def test_what_is_big_waits_for_the_stream() -> None:
    pair = Pair(fresh="off")
    pair.disturbances.standing(A, B, "on")
    pair.say(BIG)
    pair.wait(2.0)
    assert pair.heard == []
    pair.disturbances.standing(A, B, "off")
    pair.wait(5.0)
    assert len(pair.heard) == 1


@pytest.mark.parametrize(("fresh", "connections"), [("on", 2), ("off", 1)])
def test_a_fresh_stream_takes_the_place_of_one_that_stands(fresh: str, connections: int) -> None:
    """Opened again, it would still stand until its next timeout."""
    pair = Pair(fresh=fresh)
    pair.disturbances.standing(A, B, "on")
    pair.say(SMALL)
    pair.wait(3.0)
    pair.disturbances.standing(A, B, "off")
    pair.wait(1.1)
    assert pair.parties[A].connections == connections
    assert pair.parties[A].disconnections == 0


def test_a_link_in_doubt_is_comfortable_with_little() -> None:
    pair = Pair()
    assert pair.links.comfortable(A, B) > 1_000_000
    pair.disturbances.standing(A, B, "on")
    pair.say(SMALL, 4)
    assert pair.links.comfortable(A, B) == COMFORTABLE


def test_whose_process_ended_is_gone_at_once() -> None:
    pair = Pair()
    pair.parties[B].runs = False
    pair.links.leave(B, silently=False)
    pair.wait(0.5)
    assert pair.parties[A].disconnections == 1


def test_whose_machine_lost_power_is_gone_when_the_stream_is_given_up() -> None:
    pair = Pair()
    pair.parties[B].runs = False
    pair.links.leave(B, silently=True)
    pair.say(SMALL, 90)
    assert pair.parties[A].disconnections == 0
    pair.wait(10.0)
    assert pair.parties[A].disconnections == 1


def test_a_former_life_s_datagrams_are_not_taken() -> None:
    pair = Pair()
    pair.disturbances.stray("1", "3", "0")
    pair.disturbances.standing(A, B, "on")
    pair.say(SMALL, 5)
    before = len(pair.heard)
    pair.links.leave(B, silently=False)
    pair.links.join(B)
    pair.wait(10.0)
    assert len(pair.heard) == before < 5


LOSS = Action(0.0, "weather", ("0.00003", "0.00002", "0.2", "0"))
"""A fifth of all packets, on a loopback interface: as the real clusters were measured."""


def under_loss(seed: int, state: str, seconds: float = 600.0) -> Summary:
    lanes = tuple(Action(0.0, "lane", (lane, state)) for lane in ("datagram", "fresh"))
    scenario = Scenario(
        seed=seed, nodes=5, duration=seconds, script=(*lanes, LOSS), compact_entries=8_192
    )
    with quiet():
        world, outcome = attempt(scenario)
    assert world is not None
    assert outcome.ok, outcome.detail
    return summarise(world)


@pytest.mark.parametrize("seed", [1, 2])
def test_without_the_lanes_a_fifth_of_all_packets_lost_is_felt(seed: int) -> None:
    """As it was on real links: 33 changes of leader and 67 s without a PRIMARY in 240 s."""
    felt = under_loss(seed, "off", 240.0)
    assert felt.elections >= 8
    assert felt.measured - felt.served > 10.0


@pytest.mark.parametrize("seed", [1, 2])
def test_with_them_it_is_not(seed: int) -> None:
    felt = under_loss(seed, "on")
    assert (felt.failovers, felt.elections, felt.longest_gap) == (0, 0, 0.0)
