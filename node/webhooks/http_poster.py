"""Sends webhooks over HTTP: `sending.Poster` and `fleet.gatekeeper.Asker` of a real node."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import httpx

from stationkeep.cluster.state.state import MAX_WEBHOOKS
from stationkeep.node.system.resolver import Resolver
from stationkeep.node.webhooks.sending import Answer, Verdict
from stationkeep.node.wire.unreached import why

TIMEOUT = 10.0
"""Seconds for the whole of an exchange."""
MOST_ADDRESSES = 4
"""Addresses of a host that are tried, one after the other."""
MAX_ASKED = 16
"""Questions at a time, those of a former term of this node among them."""
MAX_REPLY = 16 * 1_024
"""Bytes that are read of an answer."""
_LATER = (408, 425, 429)
"""The 4xx statuses that ask for a retry."""

Outcome = TypeVar("Outcome")


class HttpExchanges:
    """Posts over a bounded number of connections. Goes only where it is told: it follows no
    redirects and uses no proxy from the environment.

    Names are resolved outside the event loop's thread pool (`node.system.resolver`), and the client
    gets addresses. So every message has its own connection: in a pool, the client could not tell
    hosts apart that share an address but have different certificates.
    """

    def __init__(self, wake: Callable[[], None], most: int) -> None:
        """`wake` is called after each exchange; `most`: connections at a time."""
        self._wake = wake
        self._client = httpx.AsyncClient(
            timeout=TIMEOUT,
            trust_env=False,
            limits=httpx.Limits(max_connections=most, max_keepalive_connections=0),
        )
        self._names = Resolver()
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(
        self,
        request: tuple[str, dict[str, str], bytes],
        read: Callable[[httpx.Response], Awaitable[Outcome]],
        failed: Callable[[str], Outcome],
        done: Callable[[Outcome], None],
    ) -> None:
        """Posts (address, headers, body); `done` gets what `read` makes of the response, or what
        `failed` makes of why there is none."""
        task = asyncio.get_running_loop().create_task(self._exchange(request, read, failed, done))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _exchange(
        self,
        request: tuple[str, dict[str, str], bytes],
        read: Callable[[httpx.Response], Awaitable[Outcome]],
        failed: Callable[[str], Outcome],
        done: Callable[[Outcome], None],
    ) -> None:
        """Never raises because of the address: some are invalid in ways that only the network
        code detects (ValueError)."""
        url, headers, body = request
        try:
            async with asyncio.timeout(TIMEOUT):
                outcome = await self._send(httpx.URL(url), headers, body, read)
        except TimeoutError:
            outcome = failed(f"no answer within {TIMEOUT:g} s")
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            outcome = failed(why(error))
        done(outcome)
        self._wake()

    async def _send(
        self,
        url: httpx.URL,
        headers: dict[str, str],
        body: bytes,
        read: Callable[[httpx.Response], Awaitable[Outcome]],
    ) -> Outcome:
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
                    return await read(answer)
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


class HttpPoster(HttpExchanges):
    """Sends messages; of a response it reads nothing but the head."""

    def __init__(self, wake: Callable[[], None]) -> None:
        # One for each webhook, of this term and the last: one that hangs delays no other.
        super().__init__(wake, 2 * MAX_WEBHOOKS)

    def post(
        self, url: str, headers: dict[str, str], body: bytes, done: Callable[[Answer], None]
    ) -> None:
        self.begin((url, headers, body), _judge, lambda why: Answer(Verdict.LATER, why), done)


async def _judge(response: httpx.Response) -> Answer:
    """What an HTTP status means for the message (standardwebhooks.com, "Status codes")."""
    status = response.status_code
    if 200 <= status < 300:
        return Answer()
    why = f"answered {status}"
    if status == 410:
        return Answer(Verdict.GONE, why)
    refused = 300 <= status < 500 and status not in _LATER
    return Answer(Verdict.REFUSED if refused else Verdict.LATER, why)


class HttpAsker(HttpExchanges):
    """Asks, and reads the answer as far as it may go."""

    def __init__(self, wake: Callable[[], None]) -> None:
        super().__init__(wake, MAX_ASKED)

    def ask(
        self,
        url: str,
        headers: dict[str, str],
        body: bytes,
        done: Callable[[int, bytes, str], None],
    ) -> None:
        plain = {**headers, "Accept": "application/json", "Accept-Encoding": "identity"}
        self.begin((url, plain, body), _read, lambda why: (0, b"", why), lambda said: done(*said))


async def _read(response: httpx.Response) -> tuple[int, bytes, str]:
    """Status and content. What is compressed all the same stays so: a small answer may become a
    large one."""
    content = b""
    async for part in response.aiter_raw():
        content += part
        if len(content) > MAX_REPLY:
            return 0, b"", f"answered more than {MAX_REPLY} bytes"
    return response.status_code, content, ""
