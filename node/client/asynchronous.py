"""`AsyncClient`: a cluster and its fleet, from a program with an event loop."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Generator, Iterable, Mapping
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

import msgspec

from stationkeep.cluster.devices.rings import Ring
from stationkeep.node.client import exchange
from stationkeep.node.client.errors import (
    AnswerError,
    BusyError,
    NoQuorumError,
    OutcomeUnknownError,
    StillOpenError,
    UnreachableError,
)
from stationkeep.node.client.exchange import DEFAULT_URL, Call, part
from stationkeep.node.client.listing import DeviceStatuses, RingAssignments, pages
from stationkeep.node.client.nodes import Nodes
from stationkeep.node.client.results import (
    ClusterAnswer,
    ClusterStatus,
    DeploymentStatus,
    DeviceAnswer,
    DeviceStatus,
    OperationStatus,
    Page,
    Submitted,
    TaskStatus,
    Written,
    understood,
)

if TYPE_CHECKING:
    from stationkeep.node.client.blocking import Client

T = TypeVar("T")

Consistency = Literal["local", "strong"]
SECONDS = 30.0
"""A request, all tries together: longer than the default profile takes to replace a leader."""
READ_SECONDS = 4.0
"""A frozen node accepts connections and says nothing; reads then go to another."""
LOG_SECONDS = 15.0
"""The same where a node may have to wait for the log, as it does for 14 s at most by default."""
FIRST_LOOK, LONGEST_LOOK = 0.1, 2.0
"""Seconds between two looks at a deployment that is waited for."""
OUT_OF_TOUCH = 60.0
"""Seconds for which such a wait outlives that no node answers well."""


class AsyncClient:
    """Asks the nodes of a cluster, and gives them orders.

        async with AsyncClient("http://127.0.0.1:8701") as master:
            await master.assign_slave_to_ring("slave-001", RingType.PROD)

    `urls`: one node's address or several; when one does not answer another is asked. `actor`: who
    the history says it was, by default `user@host`. `timeout`: seconds for one request with all its
    repetitions. `consistency`: `strong` has each read see all that was acknowledged before it.
    Methods raise `StationkeepError`; those that change something take a `key`, under which the
    cluster does it once however often it is asked.
    """

    def __init__(
        self,
        urls: str | Iterable[str] = DEFAULT_URL,
        *,
        actor: str | None = None,
        timeout: float = SECONDS,
        consistency: Consistency = "local",
    ) -> None:
        urls = [urls] if isinstance(urls, str) else list(urls)
        self._nodes = Nodes(urls, timeout)
        self._actor = exchange.actor() if actor is None else exchange.plain(actor)
        self._strong = consistency == "strong"
        self._blocking: Client | None = None
        self._again = partial(_blocking, urls, self._actor, timeout, consistency)

    # -- devices and rings ----------------------------------------------------------------------

    @property
    def ring_assignments(self) -> "AwaitableRings":
        """Ring → ids of its devices: `await` it for a dict. Used as a mapping at once, as in
        `ring_assignments["prod"]`, it holds up the event loop until a node has answered."""
        return AwaitableRings(self)

    @property
    def device_statuses(self) -> "AwaitableDevices":
        """Id → device: `await` it for a dict. Used as a mapping at once it holds up the event
        loop; for a large fleet there is `devices`."""
        return AwaitableDevices(self)

    async def devices(
        self,
        *,
        ring: str | None = None,
        healthy: bool | None = None,
        online: bool | None = None,
        selector: str | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[DeviceStatus]:
        """Devices that match all that is given, asked for page by page. `selector`: as in
        `os=Android 14, model in (Pixel 8, Pixel 9)`."""
        filters = {"ring": ring, "healthy": healthy, "online": online, "selector": selector}
        async for page in self.device_pages(limit, **filters):
            for device in page:
                yield device

    async def device_pages(
        self, limit: int | None, **filters: str | bool | None
    ) -> AsyncIterator[list[DeviceStatus]]:
        async def fetch(most: int, cursor: str | None) -> Page[DeviceAnswer]:
            shape = Page[DeviceAnswer]
            return await self._read(shape, "/v1/devices", limit=most, cursor=cursor, **filters)

        async for page in pages(fetch, limit):
            yield [answer.device() for answer in page]

    async def device(self, slave_id: str) -> DeviceStatus:
        """One device. Raises `NotFoundError`."""
        return (await self._read(DeviceAnswer, f"/v1/devices/{part(slave_id)}")).device()

    async def device_tasks(self, slave_id: str) -> list[TaskStatus]:
        """What the device is to do now and was to do before, as far as it is remembered."""
        path = f"/v1/devices/{part(slave_id)}/tasks"
        return (await self._read(Page[TaskStatus], path)).items

    async def assign_slave_to_ring(
        self,
        slave_id: str,
        ring: str,
        reason: str = "",
        *,
        lifetime: float | str | None = None,
        key: str | None = None,
    ) -> None:
        """Pins a device to a ring, whatever its health, until it is released or `lifetime`
        (seconds, or as in "2h") is over."""
        body = {"ring": ring, "reason": reason, "lifetime": lifetime}
        await self._write(Written, "PUT", f"/v1/devices/{part(slave_id)}/ring", body, key)

    async def release_slave(self, slave_id: str, *, key: str | None = None) -> None:
        """Ends a pin; the next check moves the device where health and quotas say."""
        await self._write(Written, "DELETE", f"/v1/devices/{part(slave_id)}/ring", None, key)

    # -- the cluster ----------------------------------------------------------------------------

    async def get_cluster_status(self) -> ClusterStatus:
        """The cluster at a glance."""
        return (await self._read(ClusterAnswer, "/v1/cluster")).status()

    async def operation(self, key: str) -> OperationStatus:
        """What became of a change, by its key. `NotFoundError`: it was not applied so far, or
        longer ago than the cluster remembers."""
        return await self._read(OperationStatus, f"/v1/operations/{part(key)}")

    # -- deployments ----------------------------------------------------------------------------

    async def submit_task(
        self,
        task_type: str = "deployment",
        parameters: Mapping[str, str] | None = None,
        *,
        reason: str = "",
        key: str | None = None,
        **options: Any,
    ) -> "AsyncDeployment":
        """Has devices do something: one that `parameters` names as `target`, or all of a `ring`.

        `options`: further fields of `POST /v1/tasks`, such as `artifact` or `priority`.
        """
        body = {"task_type": task_type, "parameters": parameters or {}, "reason": reason, **options}
        made = await self._write(Submitted, "POST", "/v1/tasks", body, key)
        return AsyncDeployment(self, made.deployment, made.members)

    async def deployment(self, number: int) -> "AsyncDeployment":
        """A deployment that was made before. Raises `NotFoundError`."""
        found = await self.deployment_status(number)
        return AsyncDeployment(self, found.deployment, found.members)

    async def deployment_status(self, number: int) -> DeploymentStatus:
        return await self._read(DeploymentStatus, f"/v1/deployments/{int(number)}")

    async def cancel_deployment(self, number: int, reason: str, key: str | None) -> None:
        path = f"/v1/deployments/{int(number)}/cancel"
        await self._write(Written, "POST", path, {"reason": reason}, key)

    async def deployments(self, *, limit: int | None = None) -> AsyncIterator[DeploymentStatus]:
        """All that are remembered, the newest first."""
        async for page in self.deployment_pages(limit):
            for found in page:
                yield found

    def deployment_pages(self, limit: int | None) -> AsyncIterator[list[DeploymentStatus]]:
        async def fetch(most: int, cursor: str | None) -> Page[DeploymentStatus]:
            shape = Page[DeploymentStatus]
            return await self._read(shape, "/v1/deployments", limit=most, cursor=cursor)

        return pages(fetch, limit)

    # -- its end --------------------------------------------------------------------------------

    async def close(self) -> None:
        """Closes the connections."""
        await self._nodes.close()
        if self._blocking is not None:
            await asyncio.to_thread(self._blocking.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    # -- requests -------------------------------------------------------------------------------

    async def _read(self, shape: type[T], path: str, **params: str | int | bool | None) -> T:
        given = {name: value for name, value in params.items() if value is not None}
        if self._strong:
            given["consistency"] = "strong"
        seconds = LOG_SECONDS if self._strong else READ_SECONDS
        return understood(
            await self._nodes.answer(Call("GET", path, self._actor, seconds, given)), shape
        )

    async def _write(self, shape: type[T], method: str, path: str, body: Any, key: str | None) -> T:
        operation = f"op-{uuid.uuid4().hex}" if key is None else exchange.checked_key(key)
        content = None if body is None else msgspec.json.encode(body)
        call = Call(method, path, self._actor, LOG_SECONDS, body=content, operation=operation)
        answer = await self._nodes.answer(call)
        try:
            return understood(answer, shape)
        except AnswerError as error:
            raise OutcomeUnknownError(operation, str(error)) from error

    @property
    def at_once(self) -> "Client":
        """A client of the same nodes that does not need this event loop to go on."""
        if self._blocking is None:
            self._blocking = self._again()
        return self._blocking


class AsyncDeployment:
    """A deployment: its `number`, and how many `members` have a task."""

    def __init__(self, client: AsyncClient, number: int, members: int) -> None:
        self._client = client
        self.number = number
        self.members = members

    def __repr__(self) -> str:
        return f"<deployment {self.number} of {self.members} devices>"

    async def status(self) -> DeploymentStatus:
        """How far it is."""
        return await self._client.deployment_status(self.number)

    async def wait(self, timeout: float | None = None) -> DeploymentStatus:  # noqa: ASYNC109
        """Returns when no task of it will change any more; `StillOpenError` after `timeout`
        seconds. Each task has a deadline, so without a timeout it ends as well. A minute without
        any node is outlived."""
        try:
            async with asyncio.timeout(timeout):
                return await self._over()
        except TimeoutError:
            raise StillOpenError(f"deployment {self.number} is open after {timeout:g} s") from None

    async def cancel(self, reason: str = "", *, key: str | None = None) -> None:
        """Cancels what has not begun, and what can still be left off."""
        await self._client.cancel_deployment(self.number, reason, key)

    async def _over(self) -> DeploymentStatus:
        pause, seen = FIRST_LOOK, time.monotonic()
        while True:
            try:
                found = await self.status()
            except (UnreachableError, NoQuorumError, BusyError):
                if time.monotonic() - seen > OUT_OF_TOUCH:
                    raise
            else:
                if found.is_over:
                    return found
                seen = time.monotonic()
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_LOOK)


class AwaitableRings(RingAssignments):
    """`AsyncClient.ring_assignments`"""

    def __init__(self, client: AsyncClient) -> None:
        super().__init__(lambda ring: client.at_once.ring_assignments[ring])
        self._client = client

    def __await__(self) -> Generator[Any, None, dict[Ring, tuple[str, ...]]]:
        return self._all().__await__()

    async def _all(self) -> dict[Ring, tuple[str, ...]]:
        found = {}
        for ring in Ring:
            found[ring] = tuple([d.slave_id async for d in self._client.devices(ring=ring)])
        return found


class AwaitableDevices(DeviceStatuses):
    """`AsyncClient.device_statuses`"""

    def __init__(self, client: AsyncClient) -> None:
        super().__init__(
            lambda slave_id: client.at_once.device(slave_id),  # noqa: PLW0108 - made when needed
            lambda: list(client.at_once.devices()),
        )
        self._client = client

    def __await__(self) -> Generator[Any, None, dict[str, DeviceStatus]]:
        return self._each().__await__()

    async def _each(self) -> dict[str, DeviceStatus]:
        return {device.slave_id: device async for device in self._client.devices()}


def _blocking(urls: list[str], actor: str, timeout: float, consistency: Consistency) -> "Client":
    from stationkeep.node.client.blocking import Client  # noqa: PLC0415 - it is made of this class

    return Client(urls, actor=actor, timeout=timeout, consistency=consistency)
