"""Real processes: the connection of a device stands still, and nobody closes it."""

import time

import pytest

from stationkeep.node.agent import DeviceAgent
from stationkeep.node.chaos.constellation import Constellation
from tests.chaos.devices import WELL
from tests.chaos.standing import Proxy
from tests.node.agent.threads import LoopThread

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]

OFFLINE_SECONDS = 3.0
"""Profile demo: device_offline_after; the leader looks once a second, and a flush takes one."""


class Phone:
    """A device whose agent knows a node only through a proxy, at first."""

    def __init__(self, address: str) -> None:
        self.proxy = Proxy(address)
        self._thread = LoopThread()
        self.agent = self._thread.do(self._start())

    async def _start(self) -> DeviceAgent:
        await self.proxy.start()
        return await DeviceAgent("phone", self.proxy.url, read_status=lambda: WELL).start()

    def stand(self) -> None:
        self._thread.loop.call_soon_threadsafe(self.proxy.stand)

    def end(self) -> None:
        self._thread.do(self.agent.stop())
        self._thread.do(self.proxy.end())
        self._thread.end()


@pytest.mark.parametrize("nodes", [1, 3])
def test_a_device_whose_connection_stands_never_goes_offline(
    constellation: Constellation, nodes: int
) -> None:
    constellation.up(nodes=nodes)
    node = constellation.leader()
    phone = Phone(constellation.addresses[node])
    try:
        stays_online(constellation, node, phone)
    finally:
        phone.end()


def stays_online(constellation: Constellation, node: str, phone: Phone) -> None:
    def online() -> bool:
        return bool(constellation.ask(node, "/v1/devices/phone")["online"])

    constellation.until("it is online", online)
    assert phone.agent.node == phone.proxy.url
    phone.stand()
    began = time.monotonic()

    def served_anew() -> float:
        assert online()
        return phone.agent.tally.registrations == 2 and time.monotonic() - began

    assert constellation.until("it is served anew", served_anew) < OFFLINE_SECONDS

    def long_enough() -> bool:
        assert online()
        return time.monotonic() - began > 3 * OFFLINE_SECONDS

    constellation.until("it stays online", long_enough)
    assert phone.agent.node is not None
    assert phone.agent.tally.registrations == 2
