"""Devices without connections against nodes' batch resources that the test plays."""

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Unpack

import httpx
import msgspec
import pytest

from stationkeep.cluster.numbers import SESSION
from stationkeep.node.agent import addresses, batches, turned_away
from stationkeep.node.agent.behaviour import behaviour
from stationkeep.node.agent.simulator import Fleet, Moment, Simulator
from stationkeep.node.gateway.batch_bodies import (
    MAX_ERRORS,
    AssignedView,
    BatchView,
    PayloadFault,
    RegistrationBatch,
    StatusBatch,
)
from stationkeep.node.security.credentials import Access
from stationkeep.node.security.tokens import draw
from stationkeep.node.wire import messages as wire
from stationkeep.node.wire.messages import Code

ONE, TWO = "http://127.0.0.1:8701", "http://127.0.0.1:8702"
RINGS = ("canary", "dev", "stage", "prod")


class Nodes:
    """Answers as nodes do, with their own types: what they go by may be changed."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}
        self.newest: dict[str, int] = {}
        self.full = False
        self.down: set[int] = set()
        self.status: int | None = None
        self.standing = 0
        """Requests that get no answer, from the next one on."""
        self.slow = False
        """Whether a batch of statuses is taken in, but answered only when it comes again."""
        self.late: set[int] = set()
        """Numbers of the batches that were taken in so."""
        self.overtaken: dict[str, int] = {}
        """Device → the session in which a word is known that it will not come to."""
        self.words: list[tuple[str, int, int]] = []
        self.ports: list[int] = []
        self.token, self.rule = "", "unknown"
        """What is let in, and why others are not; "": everybody is."""
        self.shown: list[str] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.standing:
            self.standing -= 1
            await asyncio.get_running_loop().create_future()
        if request.url.port in self.down:
            raise httpx.ConnectError("refused", request=request)
        if self.status is not None:
            return httpx.Response(self.status)
        self.ports.append(request.url.port or 0)
        assert request.headers["content-type"] == "application/msgpack"
        self.shown.append(request.headers.get("authorization", "").removeprefix("Bearer "))
        if self.token not in {"", self.shown[-1]}:
            return httpx.Response(401, json={"detail": "it will not do", "rule": self.rule})
        register = request.url.path == "/v1/devices:register"
        if self.slow and not register and self._is_new(request):
            await asyncio.get_running_loop().create_future()
        view = self._register(request) if register else self._report(request)
        return httpx.Response(200, content=msgspec.msgpack.encode(view))

    def _is_new(self, request: httpx.Request) -> bool:
        batch = msgspec.msgpack.decode(request.content, type=StatusBatch)
        number = batch.statuses[0].sequence
        is_new = number not in self.late
        self.late.add(number)
        return is_new

    def _register(self, request: httpx.Request) -> BatchView:
        batch = msgspec.msgpack.decode(request.content, type=RegistrationBatch)
        ids, faults = [], []
        for index, item in enumerate(batch.registrations):
            id_ = item.device_status.slave_id
            self._heard(item.device_status, item)
            newest = self.newest.get(id_, 0)
            if self.full:
                faults.append(PayloadFault(index, Code.BUSY, "registration", "", "later"))
            elif newest > item.session:
                fault = PayloadFault(index, Code.OUTDATED, "session", "", "older", newest)
                faults.append(fault)
            elif item.session > SESSION.limit(newest):
                faults.append(PayloadFault(index, Code.INVALID, "session", "", "too far ahead"))
            else:
                self.known.setdefault(id_, RINGS[len(self.known) % 4])
                ids.append(id_)
        return BatchView(len(ids), len(faults), faults[:MAX_ERRORS], self._assigned(ids))

    def _report(self, request: httpx.Request) -> BatchView:
        batch = msgspec.msgpack.decode(request.content, type=StatusBatch)
        for item in batch.statuses:
            self._heard(item.device_status, item)
        statuses = [item.device_status for item in batch.statuses]
        faults = [
            PayloadFault(index, Code.UNKNOWN, "slave_id", status.slave_id, "registers first")
            for index, status in enumerate(statuses)
            if status.slave_id not in self.known
        ] + [
            PayloadFault(index, Code.OUTDATED, "session", "", "older", item.session)
            for index, item in enumerate(batch.statuses)
            if self.overtaken.get(item.device_status.slave_id) == item.session
            or item.sequence in self.late
        ]
        moved = [
            status.slave_id
            for status in statuses
            if self.known.get(status.slave_id, status.assigned_ring) != status.assigned_ring
        ]
        return BatchView(len(statuses) - len(faults), len(faults), faults, self._assigned(moved))

    def _assigned(self, ids: Sequence[str]) -> list[AssignedView]:
        return [AssignedView(i, self.known[i], "why", "when", 1, 0.02) for i in ids]

    def _heard(self, status: wire.DeviceStatus, word: Any) -> None:
        self.words.append((status.slave_id, word.session, word.sequence))


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Nodes:
    made = Nodes()
    monkeypatch.setattr(addresses, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(
        batches,
        "open_http",
        lambda credentials: httpx.AsyncClient(
            transport=httpx.MockTransport(made), headers=batches.HEADERS, auth=credentials.show
        ),
    )  # fmt: skip
    return made


async def run(
    nodes: Nodes,
    until: Callable[[Moment], bool],
    *further: Callable[[Moment], bool],
    count: int,
    **access: Unpack[Access],
) -> Moment:
    """Simulates until the conditions came true, one after the other."""
    fleet = Fleet(count=count, behaviour=behaviour("mixed", 1))
    simulator = Simulator(fleet, [ONE, TWO], in_batches=True, **access)
    waiting = [until, *further]

    def told(moment: Moment) -> None:
        if waiting[0](moment):
            waiting.pop(0)
        if not waiting:
            simulator.stop()

    end = await simulator.run(10, told, every=0.01)
    assert not waiting, end
    return end


async def test_devices_register_in_parts_and_report_together(nodes: Nodes) -> None:
    end = await run(nodes, lambda m: m.connected == 600 and m.statuses > 2_000, count=600)
    assert end.registrations == 600
    assert end.rings == dict.fromkeys(sorted(RINGS), 150)
    assert set(nodes.known) == {f"device-{number:03d}" for number in range(1, 601)}


async def test_every_word_of_a_device_is_newer(nodes: Nodes) -> None:
    await run(nodes, lambda m: m.statuses > 30, count=3)
    for device in nodes.known:
        words = [word[1:] for word in nodes.words if word[0] == device]
        assert words == sorted(set(words))


async def test_rings_are_heard_of_with_the_next_batch(nodes: Nodes) -> None:
    def move(moment: Moment) -> bool:
        if moment.connected == 8:
            nodes.known.update(dict.fromkeys(nodes.known, "stage"))
        return moment.connected == 8

    end = await run(nodes, move, lambda m: m.rings == {"stage": 8}, count=8)
    assert end.ring_changes == 8 + 6


async def test_a_device_that_is_not_known_any_more_registers_again(nodes: Nodes) -> None:
    def forget(moment: Moment) -> bool:
        if moment.connected == 8:
            del nodes.known["device-003"]
        return moment.connected == 8

    end = await run(nodes, forget, lambda m: m.registrations == 9, count=8)
    assert end.refused == {"unknown": 1}


async def test_a_device_whose_clock_was_reset_takes_the_session_after_the_one_known(
    nodes: Nodes,
) -> None:
    nodes.newest["device-003"] = 2**31
    end = await run(nodes, lambda _: True, lambda m: m.connected == 8, count=8)
    assert end.refused == {"outdated": 1}
    sessions = {device: session for device, session, _ in nodes.words}
    assert sessions.pop("device-003") == 2**31 + 1
    assert max(sessions.values()) < 2**31


async def test_a_device_whose_clock_is_far_ahead_gets_in(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 4_070_908_800 * 10**9)  # the year 2099
    await run(nodes, lambda m: m.connected == 8 and m.statuses > 30, count=8)


async def test_who_speaks_in_its_name_does_not_silence_a_device(nodes: Nodes) -> None:
    """Its words are old in its own session: it begins another."""

    def speak(moment: Moment) -> bool:
        if moment.connected == 8:
            ours = {device: session for device, session, _ in nodes.words}
            nodes.overtaken["device-003"] = ours["device-003"]
        return moment.connected == 8

    end = await run(nodes, speak, lambda m: m.registrations == 9, count=8)
    assert end.refused == {"outdated": 2}
    sessions = {device: session for device, session, _ in nodes.words}
    assert sessions["device-003"] == nodes.overtaken["device-003"] + 1


async def test_a_device_without_another_session_costs_its_batch_nothing(nodes: Nodes) -> None:
    nodes.newest["device-003"] = wire.MAX_ORDINAL - 1
    nodes.overtaken["device-003"] = wire.MAX_ORDINAL
    end = await run(nodes, lambda m: m.refused.get("outdated", 0) >= 5, count=8)
    assert end.connected == 8
    assert end.lost == {}


async def test_devices_whose_answers_come_late_keep_their_sessions(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of their batches is taken in twice, and is old the second time: nobody else spoke."""
    monkeypatch.setattr(batches, "patience", lambda _interval: 0.02)
    nodes.slow = True
    end = await run(nodes, lambda m: m.refused.get("outdated", 0) >= 8 * 5, count=8)
    assert end.registrations == 8


async def test_a_device_that_another_agent_took_over_leaves_it_in_peace(nodes: Nodes) -> None:
    def take(moment: Moment) -> bool:
        if moment.connected == 8:
            nodes.newest["device-003"] = 2**31
            del nodes.known["device-003"]
        return moment.connected == 8

    end = await run(nodes, take, lambda m: m.refused.get("outdated", 0) >= 3, count=8)
    assert end.connected == 7
    assert max(session for _, session, _ in nodes.words) < 2**31


async def test_more_refusals_than_are_explained_leave_nobody_behind(nodes: Nodes) -> None:
    nodes.full = True

    def relent(moment: Moment) -> bool:
        assert moment.connected == 0
        nodes.full = not moment.refused
        return not nodes.full

    end = await run(nodes, relent, lambda m: m.connected == 130, count=130)
    assert end.refused["busy"] >= 100


async def test_a_dead_node_is_left_for_another(nodes: Nodes) -> None:
    def kill(moment: Moment) -> bool:
        if moment.connected == 8:
            nodes.down = {nodes.ports[-1]}
            nodes.ports.clear()
        return moment.connected == 8

    end = await run(nodes, kill, lambda m: m.connected == 8 and len(nodes.ports) > 3, count=8)
    assert set(nodes.ports).isdisjoint(nodes.down)
    assert end.lost == {"nobody there: ConnectError": 8}


@pytest.mark.parametrize("path", [batches.REGISTER, batches.REPORT])
async def test_a_request_that_stands_is_made_again_on_another_connection(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(batches, "LONGEST_PATIENCE", 0.05)
    monkeypatch.setattr(batches, "patience", lambda _interval: 0.05)
    nodes.standing = 2 * (path == batches.REGISTER)

    def stand(moment: Moment) -> bool:
        if moment.connected == 8:
            nodes.standing = 2 * (path == batches.REPORT)
            nodes.words.clear()
        return moment.connected == 8

    end = await run(nodes, stand, lambda m: not nodes.standing and len(nodes.words) > 8, count=8)
    assert end.connected == 8
    assert end.lost == end.failed == {}


async def test_a_node_that_never_answers_is_left(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "LONGEST_PATIENCE", 0.02)
    monkeypatch.setattr(batches, "ANSWER_SECONDS", 0.1)
    nodes.standing = 4  # 0.02, 0.04 and 0.04 s at one node, then another
    end = await run(nodes, lambda m: m.connected == 8, count=8)
    assert end.failed == {"nobody there: ReadTimeout": 8}


async def test_a_node_that_refuses_a_batch_is_asked_again(nodes: Nodes) -> None:
    nodes.status = 503

    def relent(moment: Moment) -> bool:
        if moment.failed:
            nodes.status = None
        return bool(moment.failed)

    end = await run(nodes, relent, lambda m: m.connected == 8, count=8)
    assert "the node answered 503" in end.failed


async def test_a_fault_of_ours_is_not_hidden(nodes: Nodes) -> None:
    nodes._register = lambda _: 1 / 0  # type: ignore[assignment, return-value]
    with pytest.raises(ExceptionGroup) as raised:
        async with asyncio.timeout(5):
            await run(nodes, lambda _: False, count=2)
    assert raised.group_contains(ZeroDivisionError)


# -- who they are


async def test_batches_show_a_token_and_read_another_from_its_file(
    nodes: Nodes, tmp_path: Path
) -> None:
    old, nodes.token = draw().text, draw().text
    file = tmp_path / "token"
    file.write_text(nodes.token)

    def replace(_: Moment) -> bool:
        nodes.token = old
        file.write_text(old)
        return True

    first = nodes.token
    await run(nodes, lambda m: m.statuses > 3, replace, lambda m: m.statuses > 9, count=3,
              token_file=file)  # fmt: skip
    assert set(nodes.shown) == {first, old}


@pytest.mark.parametrize("rule", ["revoked", "missing"])
async def test_batches_end_when_their_token_was_taken_back_or_there_is_none(
    nodes: Nodes, rule: str
) -> None:
    nodes.token, nodes.rule = draw().text, rule
    token = "" if rule == "missing" else draw().text
    fleet = Fleet(count=3, behaviour=behaviour("mixed", 1))
    end = await Simulator(fleet, [ONE], in_batches=True, token=token).run(10, lambda _: None)
    why = f"the node answered 401: it will not do (rule: {rule})"
    assert end.ended_because == {why: 3}
    assert (len(nodes.shown), end.failed) == (1, {"the node answered 401": 3})


async def test_a_token_that_is_not_known_yet_is_shown_again(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turned_away, "LONGEST_AWAY", 0.01)
    nodes.token, token = draw().text, draw().text

    def know(moment: Moment) -> bool:
        if moment.failed:
            nodes.token = token
        return bool(moment.failed)

    await run(nodes, know, lambda m: m.connected == 3, count=3, token=token)
