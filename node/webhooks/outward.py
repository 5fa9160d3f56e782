"""What a node sends over HTTP: `sending.Poster` and `fleet.gatekeeper.Asker` in one.

Most nodes never send anything, and an HTTP client takes 5 MB and a twentieth of a second to import:
it is, when the first message goes out.
"""

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from stationkeep.node.webhooks.sending import Answer

if TYPE_CHECKING:
    from stationkeep.node.webhooks.http_poster import HttpAsker, HttpExchanges, HttpPoster

Exchanges = TypeVar("Exchanges", bound="HttpExchanges")


class Outward:
    """`wake` is called after each exchange."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._opened: list[HttpExchanges] = []

    def post(
        self, url: str, headers: dict[str, str], body: bytes, done: Callable[[Answer], None]
    ) -> None:
        self._poster.post(url, headers, body, done)

    def ask(
        self,
        url: str,
        headers: dict[str, str],
        body: bytes,
        done: Callable[[int, bytes, str], None],
    ) -> None:
        self._asker.ask(url, headers, body, done)

    async def close(self) -> None:
        """Cancels what is in flight."""
        for exchanges in self._opened:
            await exchanges.close()

    @cached_property
    def _poster(self) -> "HttpPoster":
        from stationkeep.node.webhooks.http_poster import HttpPoster  # noqa: PLC0415 - as above

        return self._open(HttpPoster(self._wake))

    @cached_property
    def _asker(self) -> "HttpAsker":
        from stationkeep.node.webhooks.http_poster import HttpAsker  # noqa: PLC0415 - as above

        return self._open(HttpAsker(self._wake))

    def _open(self, exchanges: Exchanges) -> Exchanges:
        self._opened.append(exchanges)
        return exchanges
