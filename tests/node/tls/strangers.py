"""Who connects without end, from all addresses that there are."""

import contextlib
import itertools

from tests.node.peers.test_network import closed_by_peer


async def strangers(port: int) -> None:
    """Each says something that is no TLS; the next is from another address."""
    for n in itertools.count():
        source = f"127.0.{1 + n // 100 % 100}.{1 + n % 100}"
        with contextlib.suppress(ConnectionError):
            await closed_by_peer(b"x" * 16, port, source)
