"""Which nodes a device can talk to: those it was given, and those it has learnt of since."""

import random
import time
from collections.abc import Callable, Collection, Iterable

from stationkeep.node.agent.connection import websocket_address
from stationkeep.node.security.credentials import Credentials
from stationkeep.node.system.addresses import member_urls

MAX_ADDRESSES = 128
AVOIDED = 5.0
"""Seconds for which a node that failed is asked only when no other is left."""
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
"""Seconds: bounds of the pause before another try."""


class Addresses:
    """Addresses (http or https) of a cluster's nodes, and the `credentials` for them; thousands of
    devices may share one.

    Raises ValueError when none is given, too many are, or one is no address.
    """

    def __init__(
        self,
        given: Iterable[str],
        draw: random.Random | None = None,
        clock: Callable[[], float] = time.monotonic,
        credentials: Credentials | None = None,
    ) -> None:
        self.credentials = credentials or Credentials(token="")
        self._given = [_checked(url) for url in given]
        if not 1 <= len(self._given) <= MAX_ADDRESSES:
            rule = f"from 1 to {MAX_ADDRESSES} addresses"
            raise ValueError(f"urls: {len(self._given)} refused: {rule}")
        self._draw = draw or random.Random()  # noqa: S311
        self._clock = clock
        self._learnt: list[str] = []
        self._failed: dict[str, float] = {}

    @property
    def known(self) -> list[str]:
        """All, those given first."""
        return [*self._given, *(url for url in self._learnt if url not in self._given)]

    def learn(self, nodes: Iterable[str], teller: str) -> None:
        """The cluster's members (host:port) as the node at the address `teller` names them; they
        replace those learnt before. What is no address does not stop the device, and where its
        token may not go there is nothing for it."""
        told = member_urls(nodes, teller)
        self._learnt = [url for url in told if self.credentials.may_go(url)][:MAX_ADDRESSES]
        known = self.known
        self._failed = {url: at for url, at in self._failed.items() if url in known}

    def pick(self, beside: Collection[str] = ()) -> str:
        """One at random; if there is a choice, not one that is in use already, nor one that
        failed lately."""
        recent = self._clock() - AVOIDED
        known = self.known
        others = [url for url in known if url not in beside] or known
        fresh = [url for url in others if self._failed.get(url, float("-inf")) < recent]
        return self._draw.choice(fresh or others)

    def failed(self, url: str) -> None:
        """Nobody was there, or the connection broke."""
        self._failed[url] = self._clock()

    def pause(self, failures: int) -> float:
        """Seconds before the next try after so many failures in a row: anywhere between 0 and a
        bound that doubles, so that the devices of a dead node do not come all at once."""
        bound = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(failures, 16))
        return self._draw.uniform(0, bound)


def _checked(url: str) -> str:
    websocket_address(url)
    return url.rstrip("/")
