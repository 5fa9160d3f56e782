"""A certificate that is revoked while its node is linked, and after."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stationkeep.node.peers import link, network
from stationkeep.node.security.contexts import Contexts
from tests.node.peers.station import Station, addresses
from tests.node.security.issuing import contexts, files
from tests.node.tls.test_links import refused, seen, until

Stations = Callable[..., Any]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "REVOKED_SECONDS", 0.3)
    monkeypatch.setattr(network, "TICK_SECONDS", 0.1)


async def linked(stations: Stations, tmp_path: Path) -> tuple[Station, Station, Contexts, set[str]]:
    """Two members, the certificates of the second, and the serial numbers that are revoked."""
    revoked: set[str] = set()
    found = [contexts(tmp_path, name) for name in ("a", "b")]
    for each in found:
        each.revoked = lambda: revoked
    peers = addresses("a", "b")
    a = await stations("a", peers, tls=found[0])
    b = await stations("b", peers, tls=found[1])
    await a.until(lambda: ("up", "b") in a.links)
    await b.until(lambda: ("up", "a") in b.links)
    return a, b, found[1], revoked


async def test_who_goes_on_with_it_is_cut_off_on_both_lanes_until_it_has_another(
    stations: Stations, tmp_path: Path
) -> None:
    a, b, of_b, revoked = await linked(stations, tmp_path)
    revoked.add(of_b.current.serial)
    await a.until(lambda: ("down", "b") in a.links)
    await refused(a, "revoked")
    await until(lambda: seen(a) == ("revoked", "refused"))
    await until(lambda: seen(b)[0] == "refused_by_peer")
    before = len(a.messages)
    assert not a.network.send("b", {"kind": "x"})
    b.network.send("a", {"kind": "x"})
    files(tmp_path / "b", "b", ends=70)
    of_b.look()
    await a.until(lambda: a.network.connected("b"))
    await b.until(lambda: b.network.connected("a"))
    assert len(a.messages) == before


async def test_who_has_another_in_time_is_linked_anew_and_stays(
    stations: Stations, tmp_path: Path
) -> None:
    a, b, of_b, revoked = await linked(stations, tmp_path)
    revoked.add(of_b.current.serial)
    files(tmp_path / "b", "b", ends=70)
    of_b.look()
    await a.until(lambda: a.links.count(("up", "b")) > 1)
    await until(lambda: a.network.connected("b") and b.network.connected("a"))
    await until(lambda: not any(i.papers.serial in revoked for i in a.network._links["b"]._inbound))
    assert a.network.rejected.get("revoked", 0) == 0


async def test_what_is_not_revoked_stands(stations: Stations, tmp_path: Path) -> None:
    a, b, of_b, revoked = await linked(stations, tmp_path)
    files(tmp_path / "b", "b", ends=70)
    of_b.look()
    revoked.add(of_b.current.serial)  # which no link stands on yet
    b.network._links["a"]._wanted.set()
    await refused(a, "revoked")
    assert ("down", "b") not in a.links
