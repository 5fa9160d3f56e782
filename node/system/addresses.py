"""Addresses as people write them, `host:port`: parsing, formatting, and who holds a port."""

import errno
import ipaddress
import os
import re
import socket
from collections.abc import Iterable
from urllib.parse import SplitResult, urlsplit

from stationkeep.cluster.names import is_loopback

URL_RULE = "must be an address such as http://127.0.0.1:8701"
IPV6_BITS = 64
"""Of an IPv6 address: what one subscriber has."""
_PORT = re.compile(r"[0-9]{1,5}")


def split_address(address: str, lowest_port: int = 1) -> tuple[str, int]:
    """Host and port of `host:port` or `[v6]:port`; raises ValueError with the rule.

    `lowest_port` 0: the system may choose the port.
    """
    host, colon, port = address.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    number = int(port) if _PORT.fullmatch(port) else -1
    if not colon or not bare or not lowest_port <= number < 65_536:
        raise ValueError("an address host:port with a port between 1 and 65535")
    return bare, number


def join_address(host: str, port: int) -> str:
    """`host:port`, with brackets around IPv6."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_url(url: str) -> SplitResult | None:
    """The parts of an http:// or https:// address; None when it is not one or its port is bad."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return None
    return parts if parts.scheme in ("http", "https") and host else None


def origin_of(url: str) -> tuple[str, str, int] | None:
    """Scheme, host and port of an address, by which two are the same; None when it is none."""
    parts = split_url(url)
    if parts is None:
        return None
    return (
        parts.scheme,
        parts.hostname or "",
        parts.port or (443 if parts.scheme == "https" else 80),
    )


def member_urls(members: Iterable[str], teller: str) -> list[str]:
    """Where the members of a cluster are asked that the node at the address `teller` names,
    `host:port`: as that node is, in TLS or not. What is no address is left out."""
    scheme = teller.partition("://")[0]
    urls = [f"{scheme}://{member.rpartition('://')[2].rstrip('/')}" for member in members]
    return [url for url in urls if split_url(url) is not None]


def crosses_in_clear(url: SplitResult) -> bool:
    """Whether a request to this address leaves the machine unencrypted."""
    return url.scheme == "http" and not is_loopback(url.hostname or "")


def system_message(error: OSError) -> str:
    """The operating system's message without the address that asyncio adds, "" if it has none."""
    if isinstance(error, socket.gaierror):
        return error.strerror or ""
    return os.strerror(error.errno) if error.errno else ""


def bind_problem(address: str, port: int, error: OSError) -> str:
    """Why `address` cannot be listened on, and which process holds its port, if that is known."""
    if error.errno != errno.EADDRINUSE:
        return f"cannot listen on {address}: {error.strerror or error}"
    from stationkeep.node.system.process import port_holder  # noqa: PLC0415 - brings psutil

    holder = port_holder(port)
    return f"{address} is in use" + (f" by {holder}" if holder else "")


def subscriber(address: str) -> str:
    """What is counted as one address: of IPv6 the network, of which one machine has all."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:  # of a connection that is gone already
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, IPV6_BITS), strict=False))
