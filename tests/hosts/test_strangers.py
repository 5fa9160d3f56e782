"""Whoever dials the port of members and is none: each is refused under its own word."""

import contextlib
import re
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from stationkeep.node.security.handshake import ALPN
from tests.hosts.bed import Machine
from tests.hosts.cluster import HTTP, RAFT, START_SECONDS, Cluster
from tests.node.security.issuing import authority, files

Dial = Callable[[Machine], None]
SECONDS = 5.0


def say(words: bytes) -> Dial:
    """Says something in clear."""

    def dial(machine: Machine) -> None:
        with socket.create_connection((machine.address, RAFT), SECONDS) as stream:
            stream.sendall(words)
            with contextlib.suppress(OSError):
                assert not stream.recv(1)

    return dial


def shake(certificate: Path | None, protocol: str = ALPN) -> Dial:
    """Speaks TLS, and shows this certificate."""

    def dial(machine: Machine) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols([protocol])
        if certificate is not None:
            context.load_cert_chain(certificate)
        plain = socket.create_connection((machine.address, RAFT), SECONDS)
        with contextlib.suppress(OSError), context.wrap_socket(plain) as stream:
            # The other end says why in its log: here it is gone, after TLS 1.3's last word.
            assert not stream.recv(1)

    return dial


def strangers(cluster: Cluster, folder: Path) -> dict[str, list[Dial]]:
    """By the word that each is refused under."""

    def shown(name: str, **more: Any) -> Path:
        return files(
            folder / f"{name}{len(more)}", name, more.pop("ca", cluster.ca), **more
        ).certificate

    namesake = authority("hosts-of-others")
    return {
        "plain_text": [say(b"hello\r\n" * 20), say(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")],
        "no_certificate": [shake(None)],
        "untrusted_ca": [shake(shown("sat-001", ca=namesake))],
        "wrong_cluster": [shake(shown("sat-002", uid="0" * 16))],
        "not_a_node": [shake(shown("phone-7", kind="device"))],
        "not_member": [shake(shown("sat-099"))],
        "certificate_expired": [shake(shown("sat-003", ends=-8))],
        "other_protocol": [shake(shown("sat-004"), protocol="http/1.1")],
    }


def refused(cluster: Cluster, machine: Machine) -> dict[str, int]:
    """Handshakes at the port of members, by how they ended."""
    url = f"https://{machine.address}:{HTTP}/metrics"
    token = (machine.folder / "data" / "local-admin").read_text()
    with httpx.Client(verify=False) as client:
        text = client.get(url, headers={"Authorization": f"Bearer {token}"}).text
    pattern = r'^stationkeep_tls_handshakes_total\{listener="raft",outcome="(\w+)"\} (\d+)'
    return {word: int(count) for word, count in re.findall(pattern, text, re.MULTILINE)}


def test_each_is_refused_under_its_word_and_nobody_else_notices(
    standing: Cluster, tmp_path: Path
) -> None:
    door, before = standing.machines[0], standing.standing()
    wanted = strangers(standing, tmp_path)
    for word, dials in wanted.items():
        for number, dial in enumerate(dials, 1):
            dial(door)

            def counted(word: str = word, number: int = number) -> bool:
                return refused(standing, door).get(word) == number

            standing.until(word, counted, SECONDS)
    assert standing.linked()
    assert standing.undisturbed(before)
    assert set(re.findall(r"reason=(\w+)", standing.said(door))) & set(wanted)


def test_a_node_of_another_cluster_of_the_same_name_gets_no_word_in(
    standing: Cluster,
) -> None:
    """Its file lists our members and itself, its certificate is of its own CA. It trusts us as
    little as we do it, and is the first to say so: here its dials only break off."""
    before = standing.standing()
    impostor = standing.bed.machine("sat-003b")
    standing.give_ca(impostor, authority("hosts-of-others"))
    standing.configure(impostor, node="sat-003")
    standing.start(impostor)
    standing.until(
        "it is told apart", lambda: "untrusted_ca" in standing.said(impostor), START_SECONDS
    )
    door = standing.machines[0]
    standing.until("so it is here", lambda: refused(standing, door).get("broken_off"), 10)
    assert standing.undisturbed(before)
    assert standing.linked()
    standing.nodes[impostor.name].stop()
