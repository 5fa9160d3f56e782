"""A device's agent, to be embedded: `DeviceAgent`."""

import asyncio
import inspect
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, Unpack

from msgspec.structs import replace

from stationkeep.node.agent.addresses import Addresses
from stationkeep.node.agent.device import Identity, Ringed
from stationkeep.node.agent.foreign import result_of
from stationkeep.node.agent.link import Link
from stationkeep.node.agent.own_credential import credentials_of
from stationkeep.node.agent.readings import Readings
from stationkeep.node.agent.tally import Tally
from stationkeep.node.security.credentials import Access
from stationkeep.node.wire.tasks import TaskUpdatePayload

if TYPE_CHECKING:
    from stationkeep.node.agent.on_tasks import DeviceTasks
    from stationkeep.node.agent.tasks.commands import Commands
    from stationkeep.node.agent.tasks.handler import OnTask

log = logging.getLogger("stationkeep.agent")
OnRing = Callable[[Ringed], Awaitable[object] | None]
Value = str | bool | int | float


class AgentEndedError(Exception):
    """The cluster will not have this agent any more; says why. Trying again would not help.
    `unauthorised`: because of its token."""

    def __init__(self, why: str, *, unauthorised: bool = False) -> None:
        super().__init__(why)
        self.unauthorised = unauthorised


class DeviceAgent:
    """One device: tells any node of the cluster how it is, and hears which ring it is in.

        agent = DeviceAgent("slave-001", "http://127.0.0.1:8701", device_name="Pixel 8 Pro")
        await agent.start()
        print(agent.ring, agent.status)

    `urls`: any nodes; it learns of the others from them, and moves when one dies. `read_status`
    says how the device is whenever that is due (default: this machine, through psutil); it must
    not block. `on_ring` is told of each new ring, plainly or as a coroutine: one call at a time,
    and of several rings that came meanwhile only the newest.

    `on_task` carries out what the cluster tells the device to do, one task at a time: a coroutine
    function that is given a `Task` and returns the version that runs afterwards. With a `spool`, a
    directory of its own, artifacts are downloaded there and verified first, and a task that was
    under way goes on after a crash; without one a handler is given the address at most. `trust`:
    a directory of public keys, NAME.pem; artifacts that bear a signature must bear one of these,
    and with `require_signature` all must.

    `credential_file`: where the device keeps a credential of its own, which it draws itself when
    the token is one that enrols devices (`ske_…`), and shows from then on.

    `token`, or a `token_file` that has one: what is shown where nodes ask who it is, by default
    that of `STATIONKEEP_TOKEN`. A file is read anew when a token is refused. `ca`: the file of the
    cluster's CA certificates, by default that of `STATIONKEEP_CA`. `certificate`: the device's own,
    in a file with its key, which needs no token. A token goes to `urls`, and to other nodes only
    over TLS, by that CA.
    """

    def __init__(
        self,
        device_id: str,
        urls: str | Iterable[str],
        *,
        device_name: str = "",
        os_version: str = "",
        app_version: str = "",
        capabilities: Mapping[str, Value] | None = None,
        labels: Mapping[str, str] | None = None,
        on_ring: OnRing | None = None,
        on_task: "OnTask | Commands | None" = None,
        spool: Path | None = None,
        trust: Path | None = None,
        require_signature: bool = False,
        download: bool = True,
        read_status: Callable[[], Readings] | None = None,
        credential_file: str | os.PathLike[str] | None = None,
        **access: Unpack[Access],
    ) -> None:
        self.identity = Identity(
            device_id=device_id,
            device_name=device_name,
            os_version=os_version,
            app_version=app_version,
            capabilities=dict(capabilities or {}),
            labels=dict(labels or {}),
        )
        given = [urls] if isinstance(urls, str) else list(urls)
        credentials = credentials_of(device_id, credential_file, given, **access)
        self._addresses = Addresses(given, credentials=credentials)
        self._on_ring = on_ring
        self._tasks: DeviceTasks | None = None
        if on_task is not None:
            from stationkeep.node.agent import on_tasks  # noqa: PLC0415 - brings an HTTP client

            self._tasks = on_tasks.DeviceTasks(
                self, on_task, spool, trust, require_signature=require_signature, download=download
            )
        self._read_status = read_status or _host_readings()
        self._link: Link | None = None
        self._follower: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._over = asyncio.Event()
        self._end: AgentEndedError | None = None
        self.tally = Tally()
        self.assignment: Ringed | None = None
        """The ring with its reason; None until one is known."""
        self.status: Readings | None = None
        """What was last read."""

    @property
    def ring(self) -> str | None:
        """`canary`, `dev`, `stage` or `prod`; kept while no node is in reach."""
        return None if self.assignment is None else self.assignment.ring

    @property
    def node(self) -> str | None:
        """Address of the node that serves the device now; None while it looks for one."""
        return None if self._link is None else self._link.url

    async def start(self) -> Self:
        """Connects, and returns when the ring is known; waits for as long as no node answers.
        Raises `AgentEndedError` when the registration is refused for good, and `SpoolError` when
        the spool cannot be used."""
        assert self._link is None, "an agent starts once"
        try:
            tasks = None if self._tasks is None else await self._tasks.start()
            self._link = Link(self.identity, self._addresses, self, self.tally, tasks)
            self._link.start()
            await self._known_or_over()
        except asyncio.CancelledError:
            await self.stop()
            raise
        if self.assignment is None:
            await self.stop()
            raise self._end or AgentEndedError("it was stopped")
        if self._on_ring is not None:
            self._follower = asyncio.create_task(self._follow(self._on_ring))
        return self

    async def _known_or_over(self) -> None:
        """Returns when the ring is known, or never will be."""
        ready = asyncio.create_task(self._changed.wait())
        over = asyncio.create_task(self._over.wait())
        try:
            await asyncio.wait({ready, over}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
            over.cancel()

    async def wait(self) -> None:
        """Returns once the agent was stopped; raises `AgentEndedError` when it ended by itself."""
        await self._over.wait()
        if self._end is not None:
            raise self._end

    async def stop(self) -> None:
        """Leaves in good order; an `on_ring` or `on_task` that still runs is cancelled."""
        if self._link is not None:
            self._link.stop()
            await self._link.closed()
        if self._tasks is not None:
            await self._tasks.stop()
        if self._follower is not None:
            self._follower.cancel()
            with suppress(asyncio.CancelledError):
                await self._follower
        self._over.set()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    # -- what the link asks and tells -----------------------------------------------------------

    def read(self) -> Readings:
        self.status = self._read_status()
        return self.status

    def ringed(self, news: Ringed) -> None:
        self.assignment = news
        self._changed.set()

    def turned_away(self, why: str) -> None:
        log.warning("trying again: %s", why)

    def ended(self, why: str, *, unauthorised: bool = False) -> None:
        self._end = AgentEndedError(why, unauthorised=unauthorised)
        self._over.set()

    # -- what tasks say and make of it ----------------------------------------------------------

    def say(self, update: TaskUpdatePayload) -> None:
        """Tells the node that serves the device now how a task goes; none: nobody hears it."""
        if self._link is not None:
            self._link.say(update)

    def runs(self, versions: Mapping[str, str]) -> None:
        """Other versions run, by component: nodes hear so first."""
        self.identity = replace(
            self.identity, app_version=versions["app"], os_version=versions["os"]
        )
        if self._link is not None:
            self._link.renew(self.identity)

    async def _follow(self, on_ring: OnRing) -> None:
        """Calls `on_ring` until what it was last called with is what there is."""
        done: str | None = None
        while True:
            await self._changed.wait()
            self._changed.clear()
            news = self.assignment
            if news is None or news.ring == done:
                continue
            news = Ringed(news.ring, done, news.reason, news.timestamp)
            done = news.ring
            try:
                answer = on_ring(news)
                if inspect.isawaitable(answer):
                    await result_of(answer)
            except Exception as error:  # not ours: told to whoever embeds us
                context = {"message": "on_ring raised", "exception": error}
                asyncio.get_running_loop().call_exception_handler(context)


def _host_readings() -> Callable[[], Readings]:
    """This machine, through psutil: nothing for those who say themselves how they are."""
    from stationkeep.node.agent.host import HostReadings  # noqa: PLC0415

    return HostReadings()
