"""The model of a stream by itself: what TCP promises, and how it stands still."""

import itertools
import random

import pytest

from stationkeep.node.simulation.agenda import Agenda
from stationkeep.node.simulation.links.congestion import Congestion
from stationkeep.node.simulation.links.retransmission import RTO_LEAST, RTO_MOST, RoundTrips
from stationkeep.node.simulation.links.stream import SEGMENT, Stream
from tests.simulation.delays import INTERVAL, ROUND_TRIP, Listener, Losing

USER_TIMEOUT = 10.0


class Bench:
    """One stream over a way that loses as it is told."""

    def __init__(
        self, loss: float, seed: int = 1, latency: float = ROUND_TRIP / 2, congestion=Congestion.BBR
    ) -> None:
        self.agenda = Agenda()
        self.way = Losing(random.Random(seed), loss, latency)
        self.listener = Listener(self.agenda.time)
        self.stream = Stream(
            self.agenda.time, self.agenda.at, self.way, self.listener,
            round_trip=2 * latency, user_timeout=USER_TIMEOUT, congestion=congestion,
        )  # fmt: skip

    def speak(self, count: int, size: int = 16) -> None:
        for _ in range(count):
            self.stream.write(self.agenda.time.now, size)
            self.agenda.run_to(self.agenda.time.now + INTERVAL)


@pytest.mark.parametrize("congestion", Congestion)
@pytest.mark.parametrize("seed", range(20))
def test_everything_arrives_once_and_in_order(seed: int, congestion: Congestion) -> None:
    draw = random.Random(seed)
    bench = Bench(draw.uniform(0.0, 0.3), seed, draw.choice((0.0001, 0.02)), congestion)
    for _ in range(60):
        bench.speak(1, draw.choice((16, 900, 5 * SEGMENT)))
        assert bench.stream.idle <= (len(bench.listener.heard) > 0)
    bench.way.loss = 0.0
    bench.agenda.run_to(bench.agenda.time.now + 2 * USER_TIMEOUT)
    sent = [moment for moment, _ in bench.listener.heard]
    assert sent == sorted(set(sent))
    assert len(sent) == 60 or bench.listener.given_up_at is not None
    assert bench.stream.idle or bench.listener.given_up_at is not None


def test_without_loss_a_message_takes_the_way_and_no_longer() -> None:
    bench = Bench(0.0, latency=0.02)
    bench.speak(50)
    assert all(at - sent == pytest.approx(0.02) for sent, at in bench.listener.heard)


def test_what_is_never_answered_is_repeated_ever_more_rarely_and_given_up() -> None:
    bench = Bench(1.0)
    bench.speak(200)
    waits = [b - a for a, b in itertools.pairwise(bench.listener.timeouts)]
    assert all(b > 1.9 * a for a, b in itertools.pairwise(waits))
    assert bench.listener.given_up_at == pytest.approx(USER_TIMEOUT, abs=1.0)


def test_a_way_that_opens_again_is_found_out_by_the_next_timeout_only() -> None:
    """Three seconds blocked, and it stands for longer."""
    bench = Bench(0.0)
    bench.speak(5)
    bench.way.loss = 1.0
    bench.speak(30)
    opened, heard = bench.agenda.time.now, len(bench.listener.heard)
    bench.way.loss = 0.0
    bench.speak(30)
    late = bench.listener.heard[heard][1] - opened
    assert 0.1 < late < 3.5
    assert len(bench.listener.heard) == 65


def test_a_lost_packet_costs_one_more_message_while_others_pass() -> None:
    """The next message's acknowledgement tells of it: no timeout is needed."""
    bench = Bench(0.0)
    bench.speak(3)
    bench.way.loss = 1.0
    bench.stream.write(bench.agenda.time.now, 16)
    bench.way.loss = 0.0
    bench.agenda.run_to(bench.agenda.time.now + INTERVAL)
    bench.speak(2)
    sent, at = bench.listener.heard[3]
    assert at - sent == pytest.approx(INTERVAL, abs=0.01)
    assert bench.listener.timeouts == []


def test_lost_acknowledgements_are_taken_for_a_slow_network() -> None:
    trips = RoundTrips(ROUND_TRIP)
    assert trips.timeout == pytest.approx(RTO_LEAST, abs=0.01)
    trips.measured(6.4, round_over=True)
    assert trips.timeout > 5.0
    for _ in range(20):
        trips.back_off()
    assert trips.timeout == RTO_MOST
