"""Another CA under running links: none goes down, and at the end the first is nobody's any more."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stationkeep.cluster.state.state import CaPhase, CaRotation
from stationkeep.node.peers import link, network
from stationkeep.node.security import certificates as made
from stationkeep.node.security.contexts import Contexts, Files
from stationkeep.node.security.handshake import ALPN
from stationkeep.node.security.inspection import curious
from stationkeep.node.security.renewal import Issuer, Renewal
from stationkeep.node.security.rotation import CaFiles
from tests.node.peers.station import Station, addresses
from tests.node.security.issuing import at, authority, files
from tests.node.tls.test_links import dialled, refused, until

Stations = Callable[..., Any]


def renewal(directory: Path, name: str) -> Renewal:
    """Of a node with a directory of its own, as on another machine."""
    own = directory / name
    own.mkdir()
    made.write(own / "ca.pem", made.public_pem([authority().certificate]), made.PUBLIC)
    made.write(own / "ca.key", made.private_pem(authority().key), made.PRIVATE)
    file = own / "tls" / "node.pem"
    issuer = Issuer(own / "ca.pem", own / "ca.key", file, name, [])
    assert issuer.renew(time.time()), issuer.failed
    return Renewal(Contexts(Files(own / "ca.pem", file, file), name), issuer)


def stale(station: Station) -> bool:
    """Whether anything stands on what it began with."""
    links = station.network._links.values()
    streams = [stream.papers for each in links for stream in (*each._dialled(), *each._inbound)]
    sessions = [session.papers for each in links for session in each._sessions.values()]
    return any(papers.era == 0 for papers in streams + sessions)


async def dial_anew(station: Station, peer: str) -> None:
    """A new stream, as one comes every hour."""
    ups = station.links.count(("up", peer))
    station.network._links[peer]._wanted.set()
    await station.until(lambda: station.links.count(("up", peer)) > ups)


async def linked(stations: Stations, nodes: dict[str, Renewal]) -> list[Station]:
    """Two of them, with a link up in both directions."""
    peers = addresses(*nodes)
    a, b = [await stations(name, peers, tls=node.contexts) for name, node in nodes.items()]
    await a.until(lambda: ("up", "b") in a.links)
    await b.until(lambda: ("up", "a") in b.links)
    return [a, b]


async def test_no_link_is_lost_on_the_way_from_one_ca_to_another(
    stations: Stations, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "REVOKED_SECONDS", 1.0)
    monkeypatch.setattr(network, "TICK_SECONDS", 0.1)
    nodes = {name: renewal(tmp_path, name) for name in ("a", "b")}
    a, b = await linked(stations, nodes)
    machines = [CaFiles(tmp_path / name / "ca.pem") for name in ("a", "b")]
    one, other = machines
    second = one.make(at(0), ())
    key = one.key(second.pin)
    assert key is not None
    other.take(key, second.pin)
    for phase in (CaPhase.TRUSTING, CaPhase.ISSUING, CaPhase.OVER):
        dropped = second.first if phase is CaPhase.OVER else ()
        for files_of in machines:  # links are made anew between the two, as well
            files_of.follow(CaRotation(*second, phase), dropped, at(0))
            for node in nodes.values():
                node.look()
                assert node.contexts.rejected is None
            await asyncio.gather(dial_anew(a, "b"), dial_anew(b, "a"))
    for station in (a, b):
        await until(lambda s=station: not stale(s))
    assert ("down", "b") not in a.links
    assert ("down", "a") not in b.links
    assert a.network.rejected == b.network.rejected == {}
    late = curious()
    late.set_alpn_protocols([ALPN])
    late.load_cert_chain(files(tmp_path / "late", "b").certificate)  # by the first CA
    await dialled(a.network.port, late)
    await refused(a, "untrusted_ca")


async def test_what_stands_on_a_ca_that_was_dropped_is_cut_off_on_both_lanes(
    stations: Stations, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of somebody who has the key of the first CA, and was there in time."""
    monkeypatch.setattr(link, "REVOKED_SECONDS", 0.3)
    monkeypatch.setattr(network, "TICK_SECONDS", 0.1)
    nodes = {name: renewal(tmp_path, name) for name in ("a", "b")}
    a, b = await linked(stations, nodes)
    replace_alone(tmp_path / "a", nodes["a"])
    await a.until(lambda: ("down", "b") in a.links)
    await refused(a, "untrusted_ca")
    assert not a.network._links["b"]._sessions
    before = len(a.messages)
    b.network.send("a", {"kind": "x"})
    refusals = a.network.rejected["untrusted_ca"]
    await until(lambda: a.network.rejected["untrusted_ca"] > refusals)
    assert len(a.messages) == before


def replace_alone(directory: Path, node: Renewal) -> None:
    files_of = CaFiles(directory / "ca.pem")
    second = files_of.make(at(0), ())
    for phase in (CaPhase.TRUSTING, CaPhase.ISSUING, CaPhase.OVER):
        dropped = second.first if phase is CaPhase.OVER else ()
        files_of.follow(CaRotation(*second, phase), dropped, at(0))
        node.look()
