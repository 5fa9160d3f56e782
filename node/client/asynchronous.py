"""`AsyncClient`, for programs with an event loop."""

import asyncio
import re
from collections.abc import AsyncIterator, Generator, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, Unpack

import msgspec

from stationkeep.cluster.devices.rings import Ring
from stationkeep.node.client import exchange
from stationkeep.node.client.deployments import AsyncDeployment
from stationkeep.node.client.errors import AnswerError, NotFoundError, OutcomeUnknownError
from stationkeep.node.client.exchange import (
    DEFAULT_URL,
    Call,
    operation_after,
    operation_of,
    part,
)
from stationkeep.node.client.listing import DeviceStatuses, RingAssignments, pages
from stationkeep.node.client.nodes import Nodes
from stationkeep.node.client.results import (
    ClusterAnswer,
    ClusterStatus,
    DeploymentStatus,
    DeviceAnswer,
    DeviceStatus,
    LaidDown,
    OperationStatus,
    Page,
    RolloutStatus,
    Submitted,
    TaskStatus,
    Written,
    understood,
)
from stationkeep.node.client.rollouts import AsyncRollout
from stationkeep.node.security.credentials import Access, Credentials

if TYPE_CHECKING:
    from stationkeep.node.client.blocking import Client

T = TypeVar("T")

Consistency = Literal["local", "strong"]
REQUEST_SECONDS = 30.0
"""With all repetitions: longer than the default profile takes to replace a leader."""
READ_SECONDS = 4.0
"""Without a byte of the answer. A node whose process is stopped still accepts connections."""
LOG_SECONDS = 15.0
"""The same where the node may wait for the log: at most 14 s, in profile orbit."""


class AsyncClient:
    """A cluster and its fleet.

        async with AsyncClient("http://127.0.0.1:8701") as master:
            await master.assign_slave_to_ring("slave-001", RingType.PROD)

    `urls`: addresses of one or more nodes; if one does not answer, the next is asked. `actor`: who
    it was, for the history; by default `user@host`. `timeout`: seconds for one request with all its
    repetitions. `consistency`: with `strong` a read includes every write acknowledged before it.
    `token`, or a `token_file` that has one: what is shown where nodes ask who it is, by default
    that of `STATIONKEEP_TOKEN`; a file is read anew when a token is refused. `ca`: the file of the
    cluster's CA certificates, by default that of `STATIONKEEP_CA`.

    Methods raise `StationkeepError`. Writes take a `key` (by default a new one): however often they
    are called with the same key, they take effect once.
    """

    def __init__(
        self,
        urls: str | Iterable[str] = DEFAULT_URL,
        *,
        actor: str | None = None,
        timeout: float = REQUEST_SECONDS,
        consistency: Consistency = "local",
        **access: Unpack[Access],
    ) -> None:
        self._urls = [urls] if isinstance(urls, str) else list(urls)
        self._options: dict[str, Any] = {
            "actor": actor, "timeout": timeout, "consistency": consistency, **access,
        }  # fmt: skip
        self._nodes = Nodes(self._urls, timeout, Credentials(self._urls, **access))
        self._actor = exchange.actor() if actor is None else exchange.plain(actor)
        self._strong = consistency == "strong"
        self._blocking: Client | None = None

    # -- devices and rings ----------------------------------------------------------------------

    @property
    def ring_assignments(self) -> "AwaitableRings":
        """Ring → ids of its devices. `await` it for a dict; `ring_assignments["prod"]` without
        `await` blocks the event loop until a node has answered."""
        return AwaitableRings(self)

    @property
    def device_statuses(self) -> "AwaitableDevices":
        """Id → device. `await` it for a dict; without, as with `ring_assignments`. For a large
        fleet use `devices`."""
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
        """The devices that match all arguments, fetched page by page. `selector`: for example
        `os=Android 14, model in (Pixel 8, Pixel 9)`."""
        filters = {"ring": ring, "healthy": healthy, "online": online, "selector": selector}
        async for page in self._device_pages(limit, **filters):
            for device in page:
                yield device

    async def _device_pages(
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
        """The device's tasks, the newest first."""
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
        (seconds, or a text such as "2h") is over."""
        body = {"ring": ring, "reason": reason, "lifetime": lifetime}
        await self._write(Written, "PUT", f"/v1/devices/{part(slave_id)}/ring", body, key)

    async def release_slave(self, slave_id: str, *, key: str | None = None) -> None:
        """Ends a pin. The next check may move the device."""
        await self._write(Written, "DELETE", f"/v1/devices/{part(slave_id)}/ring", None, key)

    # -- the cluster ----------------------------------------------------------------------------

    async def get_cluster_status(self) -> ClusterStatus:
        """The cluster at a glance."""
        return (await self._read(ClusterAnswer, "/v1/cluster")).status()

    async def operation(self, key: str) -> OperationStatus:
        """The outcome of a write, by its key. `NotFoundError`: it has not been applied so far, or
        that was more than 15 minutes ago."""
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
    ) -> AsyncDeployment:
        """Gives devices a task: the `target` that `parameters` name, or all of a `ring`.

        `options`: other fields of `POST /v1/tasks`, such as `artifact` or `priority`.
        """
        body = {"task_type": task_type, "parameters": parameters or {}, "reason": reason, **options}
        made = await self._write(Submitted, "POST", "/v1/tasks", body, key)
        return AsyncDeployment(self, made.deployment, made.members)

    async def deployment(self, number: int) -> AsyncDeployment:
        """An earlier deployment. Raises `NotFoundError`."""
        found = await self._deployment_status(number)
        return AsyncDeployment(self, found.deployment, found.members)

    async def _deployment_status(self, number: int) -> DeploymentStatus:
        return await self._find(DeploymentStatus, f"/v1/deployments/{int(number)}")

    async def _cancel(self, number: int, reason: str, key: str | None) -> None:
        path = f"/v1/deployments/{int(number)}/cancel"
        await self._write(Written, "POST", path, {"reason": reason}, key)

    async def _retry(
        self, number: int, devices: Iterable[str], reason: str, key: str | None
    ) -> None:
        path = f"/v1/deployments/{int(number)}/retry"
        await self._write(Written, "POST", path, {"devices": list(devices), "reason": reason}, key)

    def _task_pages(
        self, number: int, limit: int | None, **filters: str | None
    ) -> AsyncIterator[list[TaskStatus]]:
        async def fetch(most: int, cursor: str | None) -> Page[TaskStatus]:
            path = f"/v1/deployments/{int(number)}/tasks"
            return await self._find(Page[TaskStatus], path, limit=most, cursor=cursor, **filters)

        return pages(fetch, limit)

    async def deployments(
        self, *, state: str | None = None, limit: int | None = None
    ) -> AsyncIterator[DeploymentStatus]:
        """All deployments, or those in a state ("open", "closing", "closed"), the newest first."""
        async for page in self._deployment_pages(limit, state):
            for found in page:
                yield found

    def _deployment_pages(
        self, limit: int | None, state: str | None
    ) -> AsyncIterator[list[DeploymentStatus]]:
        async def fetch(most: int, cursor: str | None) -> Page[DeploymentStatus]:
            shape, path = Page[DeploymentStatus], "/v1/deployments"
            return await self._read(shape, path, state=state, limit=most, cursor=cursor)

        return pages(fetch, limit)

    # -- rollouts -------------------------------------------------------------------------------

    async def progressive_rollout(
        self,
        version: str,
        *,
        name: str = "",
        reason: str = "",
        key: str | None = None,
        **plan: Any,
    ) -> AsyncRollout:
        """Rolls a version out, ring by ring and on proof: lays a rollout down and starts it. With
        the same `key` it does so once.

        `name`: by default the version. `plan`: other keys of a rollout file, such as `stages`.
        """
        first = operation_of(key)
        given = {"artifact": {"version": version}} if "variants" not in plan else {}
        called = name or re.sub("[^A-Za-z0-9._-]", "-", version)
        made = await self.create_rollout(called, {**given, **plan}, reason=reason, key=first)
        try:
            await made.start(reason=reason, key=operation_after(first))
        except OutcomeUnknownError as error:
            raise OutcomeUnknownError(first, error.why) from error
        return made

    async def create_rollout(
        self,
        name: str,
        plan: Mapping[str, Any],
        *,
        replace: bool = False,
        reason: str = "",
        key: str | None = None,
    ) -> AsyncRollout:
        """Lays a rollout down; nothing begins before `start`. `plan`: the keys of a rollout file.
        `replace`: instead of the draft of that name."""
        body = {"rollout": name, "plan": plan, "replace": replace, "comment": reason}
        await self._write(LaidDown, "POST", "/v1/rollouts", body, key)
        return AsyncRollout(self, name)

    async def rollout(self, name: str) -> AsyncRollout:
        """A rollout by its name. Raises `NotFoundError`."""
        found = AsyncRollout(self, name)
        await found.status()
        return found

    async def rollouts(
        self, *, state: str | None = None, limit: int | None = None
    ) -> AsyncIterator[RolloutStatus]:
        """All rollouts, or those in a state such as "running", the newest first."""
        async for page in self._rollout_pages(limit, state):
            for found in page:
                yield found

    def _rollout_pages(
        self, limit: int | None, state: str | None
    ) -> AsyncIterator[list[RolloutStatus]]:
        async def fetch(most: int, cursor: str | None) -> Page[RolloutStatus]:
            shape, path = Page[RolloutStatus], "/v1/rollouts"
            return await self._read(shape, path, state=state, limit=most, cursor=cursor)

        return pages(fetch, limit)

    # -- closing --------------------------------------------------------------------------------

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

    async def _find(self, shape: type[T], path: str, **params: str | int | bool | None) -> T:
        """A read of what may be so new that a node which lags does not know it yet."""
        try:
            return await self._read(shape, path, **params)
        except NotFoundError:
            if self._strong:
                raise
            return await self._read(shape, path, consistency="strong", **params)

    async def _read(self, shape: type[T], path: str, **params: str | int | bool | None) -> T:
        given = {name: value for name, value in params.items() if value is not None}
        if self._strong:
            given["consistency"] = "strong"
        seconds = LOG_SECONDS if "consistency" in given else READ_SECONDS
        return understood(
            await self._nodes.answer(Call("GET", path, self._actor, seconds, given)), shape
        )

    async def _write(self, shape: type[T], method: str, path: str, body: Any, key: str | None) -> T:
        operation = operation_of(key)
        content = None if body is None else msgspec.json.encode(body)
        call = Call(method, path, self._actor, LOG_SECONDS, body=content, operation=operation)
        answer = await self._nodes.answer(call)
        try:
            return understood(answer, shape)
        except AnswerError as error:
            raise OutcomeUnknownError(operation, str(error)) from error

    def _at_once(self) -> "Client":
        """A client of the same nodes that works while this event loop is blocked."""
        from stationkeep.node.client.blocking import Client  # noqa: PLC0415 - is made of this class

        if self._blocking is None:
            self._blocking = Client(self._urls, **self._options)
        return self._blocking


class AwaitableRings(RingAssignments):
    """`AsyncClient.ring_assignments`"""

    def __init__(self, client: AsyncClient) -> None:
        super().__init__(lambda ring: client._at_once().ring_assignments[ring])
        self._client = client

    def __await__(self) -> Generator[Any, None, dict[Ring, tuple[str, ...]]]:
        return self._all().__await__()

    async def _all(self) -> dict[Ring, tuple[str, ...]]:
        found: dict[Ring, list[str]] = {ring: [] for ring in Ring}
        async for device in self._client.devices():
            found[device.assigned_ring].append(device.slave_id)
        return {ring: tuple(ids) for ring, ids in found.items()}


class AwaitableDevices(DeviceStatuses):
    """`AsyncClient.device_statuses`"""

    def __init__(self, client: AsyncClient) -> None:
        super().__init__(
            lambda slave_id: client._at_once().device(slave_id),
            lambda: list(client._at_once().devices()),
        )
        self._client = client

    def __await__(self) -> Generator[Any, None, dict[str, DeviceStatus]]:
        return self._each().__await__()

    async def _each(self) -> dict[str, DeviceStatus]:
        return {device.slave_id: device async for device in self._client.devices()}
