"""Sends webhooks over HTTP: `sending.Poster` of a real node."""

import asyncio
from collections.abc import Callable

import httpx

from cluster.state import MAX_WEBHOOKS
from node.unreached import why
from node.webhooks.sending import Answer, Verdict

TIMEOUT = 10.0
"""Seconds for the whole of an exchange."""
_LATER = (408, 425, 429)
"""Of the answers 4xx those that ask to come again."""


class HttpPoster:
    """A bounded pool of connections. Follows no redirection, heeds no proxy of the environment
    and reads no answer beyond its head: what the file says is where it goes."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """`wake` is told after each answer."""
        self._wake = wake
        self._client = httpx.AsyncClient(
            timeout=TIMEOUT,
            trust_env=False,
            # One for each webhook of this office and the last: the deaf hold up nobody else.
            limits=httpx.Limits(max_connections=2 * MAX_WEBHOOKS, max_keepalive_connections=4),
        )
        self._tasks: set[asyncio.Task[None]] = set()

    def post(
        self, url: str, headers: dict[str, str], body: bytes, done: Callable[[Answer], None]
    ) -> None:
        task = asyncio.get_running_loop().create_task(self._exchange(url, headers, body, done))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _exchange(
        self, url: str, headers: dict[str, str], body: bytes, done: Callable[[Answer], None]
    ) -> None:
        answer = await self._attempt(url, headers, body)
        done(answer)
        self._wake()

    async def _attempt(self, url: str, headers: dict[str, str], body: bytes) -> Answer:
        """Never raises for what is sent where: an address may be impossible in ways that only
        the network's own code knows (ValueError)."""
        try:
            async with (
                asyncio.timeout(TIMEOUT),
                self._client.stream("POST", url, headers=headers, content=body) as answer,
            ):
                return _judge(answer.status_code)
        except TimeoutError:
            return Answer(Verdict.LATER, f"no answer within {TIMEOUT:g} s")
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            return Answer(Verdict.LATER, why(error))

    async def close(self) -> None:
        """Ends what is under way; it is sent again by whoever leads next."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.aclose()


def _judge(status: int) -> Answer:
    """What an HTTP status means for the message (standardwebhooks.com, "Status codes")."""
    if 200 <= status < 300:
        return Answer()
    why = f"answered {status}"
    if status == 410:
        return Answer(Verdict.GONE, why)
    refused = 300 <= status < 500 and status not in _LATER
    return Answer(Verdict.REFUSED if refused else Verdict.LATER, why)
