"""Sends webhooks over HTTP: `sending.Poster` of a real node."""

import asyncio
from collections.abc import Callable

import httpx

from stationkeep.cluster.state.state import MAX_WEBHOOKS
from stationkeep.node.system.resolver import Resolver
from stationkeep.node.webhooks.sending import Answer, Verdict
from stationkeep.node.wire.unreached import why

TIMEOUT = 10.0
"""Seconds for the whole of an exchange."""
MOST_ADDRESSES = 4
"""Addresses of a host that are tried, one after the other."""
_LATER = (408, 425, 429)
"""The 4xx statuses that ask for a retry."""


class HttpPoster:
    """Posts over a bounded number of connections. Goes only where the file says: it follows no
    redirects, uses no proxy from the environment, and reads nothing of a response but its head.

    Names are resolved outside the event loop's thread pool (`node.system.resolver`), and the client
    gets addresses. So every message has its own connection: in a pool, the client could not tell
    hosts apart that share an address but have different certificates.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        """`wake` is called after each answer."""
        self._wake = wake
        self._client = httpx.AsyncClient(
            timeout=TIMEOUT,
            trust_env=False,
            # One for each webhook, of this term and the last: one that hangs delays no other.
            limits=httpx.Limits(max_connections=2 * MAX_WEBHOOKS, max_keepalive_connections=0),
        )
        self._names = Resolver()
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
        """Never raises because of the address: some are invalid in ways that only the network
        code detects (ValueError)."""
        try:
            async with asyncio.timeout(TIMEOUT):
                return await self._send(httpx.URL(url), headers, body)
        except TimeoutError:
            return Answer(Verdict.LATER, f"no answer within {TIMEOUT:g} s")
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            return Answer(Verdict.LATER, why(error))

    async def _send(self, url: httpx.URL, headers: dict[str, str], body: bytes) -> Answer:
        """Sends to the first address of the host that can be reached."""
        addresses = (await self._names.addresses(url.raw_host.decode("ascii")))[:MOST_ADDRESSES]
        patience = httpx.Timeout(TIMEOUT, connect=TIMEOUT / len(addresses))
        named = {**headers, "Host": url.netloc.decode("ascii")}
        for address in addresses:
            try:
                async with self._client.stream(
                    "POST",
                    url.copy_with(host=address),
                    headers=named,
                    content=body,
                    timeout=patience,
                    extensions={"sni_hostname": url.raw_host.decode("ascii")},
                ) as answer:
                    return _judge(answer.status_code)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if address == addresses[-1]:
                    raise
        raise OSError(f"{url.host}: it has no address")

    async def close(self) -> None:
        """Cancels what is in flight; the next leader sends it again."""
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
