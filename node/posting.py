"""Sends webhooks over HTTP: `node.webhooks.Poster` of a real node."""

import asyncio
import ssl
from collections.abc import Callable

import httpx

TIMEOUT = 10.0
"""Seconds for the whole of an exchange."""


class HttpPoster:
    """A bounded pool of connections. Follows no redirection, heeds no proxy of the environment
    and reads no answer beyond its head: what the file says is where it goes."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """`wake` is told after each answer."""
        self._wake = wake
        self._client = httpx.AsyncClient(
            timeout=TIMEOUT,
            trust_env=False,
            limits=httpx.Limits(max_connections=16, max_keepalive_connections=4),
        )
        self._tasks: set[asyncio.Task[None]] = set()

    def post(
        self, url: str, headers: dict[str, str], body: bytes, done: Callable[[str], None]
    ) -> None:
        task = asyncio.get_running_loop().create_task(self._exchange(url, headers, body, done))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _exchange(
        self, url: str, headers: dict[str, str], body: bytes, done: Callable[[str], None]
    ) -> None:
        why = await self._attempt(url, headers, body)
        done(why)
        self._wake()

    async def _attempt(self, url: str, headers: dict[str, str], body: bytes) -> str:
        """Why it was not accepted; empty when it was."""
        try:
            async with (
                asyncio.timeout(TIMEOUT),
                self._client.stream("POST", url, headers=headers, content=body) as answer,
            ):
                return "" if answer.is_success else f"answered {answer.status_code}"
        except TimeoutError:
            return f"no answer within {TIMEOUT:g} s"
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError) as error:
            return f"{type(error).__name__}: {error}"

    async def close(self) -> None:
        """Ends what is under way; it is sent again by whoever leads next."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.aclose()
