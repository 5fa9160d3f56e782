"""`Client`, for programs without an event loop."""

import asyncio
import concurrent.futures
import threading
import weakref
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
)
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from stationkeep.node.client.asynchronous import REQUEST_SECONDS, AsyncClient, Consistency
from stationkeep.node.client.deployments import AsyncDeployment
from stationkeep.node.client.exchange import DEFAULT_URL
from stationkeep.node.client.listing import DeviceStatuses, RingAssignments
from stationkeep.node.client.results import (
    ClusterStatus,
    DeploymentStatus,
    DeviceStatus,
    OperationStatus,
    RolloutStatus,
    TaskStatus,
)
from stationkeep.node.client.rollouts import AsyncRollout
from stationkeep.node.security.credentials import Access

T = TypeVar("T")


class LoopThread:
    """An event loop in a thread of its own. `last` runs in it before it ends."""

    def __init__(self, last: Callable[[], Awaitable[None]]) -> None:
        self._last = last
        self._over = asyncio.Event()
        self._lock = threading.Lock()
        self._closed = False
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._loop = self._runner.get_loop()
        self._thread = threading.Thread(target=self._work, name="stationkeep client", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Runs the coroutine there and waits for it. For any thread but the loop's own."""
        with self._lock:
            if self._closed or not self._thread.is_alive():  # threads do not survive a fork
                coroutine.close()
                raise RuntimeError("the client is closed, or belongs to another process")
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise RuntimeError("the client was closed meanwhile") from None
        except BaseException:  # Ctrl-C
            future.cancel()
            raise

    def end(self) -> None:
        """Cancels what still runs. The garbage collector may call this in any thread."""
        with self._lock:
            if self._closed or not self._thread.is_alive():
                return
            self._closed = True
            self._loop.call_soon_threadsafe(self._over.set)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _work(self) -> None:
        with self._runner:
            self._runner.run(self._until_over())

    async def _until_over(self) -> None:
        await self._over.wait()
        await self._last()


class Client:
    """A cluster and its fleet.

        with Client(["http://127.0.0.1:8701", "http://127.0.0.1:8702"]) as master:
            master.assign_slave_to_ring("slave-001", RingType.PROD)

    Arguments and methods are those of `AsyncClient`, without `await`. Threads may share a client.
    Its requests run in an event loop of their own, so that it also works inside another one.
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
        self._client = AsyncClient(
            urls, actor=actor, timeout=timeout, consistency=consistency, **access
        )
        thread = LoopThread(self._client.close)
        self._run = thread.run
        self._end = weakref.finalize(self, thread.end)

    @property
    def ring_assignments(self) -> RingAssignments:
        """Ring → ids of its devices."""
        return RingAssignments(
            lambda ring: tuple(device.slave_id for device in self.devices(ring=ring))
        )

    @property
    def device_statuses(self) -> DeviceStatuses:
        """Id → device. For a large fleet use `devices`."""
        return DeviceStatuses(self.device, lambda: list(self.devices()))

    def devices(
        self,
        *,
        ring: str | None = None,
        healthy: bool | None = None,
        online: bool | None = None,
        selector: str | None = None,
        limit: int | None = None,
    ) -> Iterator[DeviceStatus]:
        """The devices that match all arguments, fetched page by page."""
        filters = {"ring": ring, "healthy": healthy, "online": online, "selector": selector}
        return self._each(self._client._device_pages(limit, **filters))

    def device(self, slave_id: str) -> DeviceStatus:
        """One device. Raises `NotFoundError`."""
        return self._run(self._client.device(slave_id))

    def device_tasks(self, slave_id: str) -> list[TaskStatus]:
        """The device's tasks, the newest first."""
        return self._run(self._client.device_tasks(slave_id))

    def assign_slave_to_ring(
        self,
        slave_id: str,
        ring: str,
        reason: str = "",
        *,
        lifetime: float | str | None = None,
        key: str | None = None,
    ) -> None:
        """Pins a device to a ring, for a `lifetime` or for good."""
        self._run(
            self._client.assign_slave_to_ring(slave_id, ring, reason, lifetime=lifetime, key=key)
        )

    def release_slave(self, slave_id: str, *, key: str | None = None) -> None:
        """Ends a pin."""
        self._run(self._client.release_slave(slave_id, key=key))

    def get_cluster_status(self) -> ClusterStatus:
        """The cluster at a glance."""
        return self._run(self._client.get_cluster_status())

    def operation(self, key: str) -> OperationStatus:
        """The outcome of a write, by its key. Raises `NotFoundError`."""
        return self._run(self._client.operation(key))

    def submit_task(
        self,
        task_type: str = "deployment",
        parameters: Mapping[str, str] | None = None,
        *,
        reason: str = "",
        key: str | None = None,
        **options: Any,
    ) -> "Deployment":
        """Gives devices a task: the `target` that `parameters` name, or all of a `ring`."""
        made = self._client.submit_task(task_type, parameters, reason=reason, key=key, **options)
        return Deployment(self, self._run(made))

    def deployment(self, number: int) -> "Deployment":
        """An earlier deployment. Raises `NotFoundError`."""
        return Deployment(self, self._run(self._client.deployment(number)))

    def deployments(
        self, *, state: str | None = None, limit: int | None = None
    ) -> Iterator[DeploymentStatus]:
        """All deployments, or those in a state ("open", "closing", "closed"), the newest first."""
        return self._each(self._client._deployment_pages(limit, state))

    def progressive_rollout(
        self,
        version: str,
        *,
        name: str = "",
        reason: str = "",
        key: str | None = None,
        **plan: Any,
    ) -> "Rollout":
        """Rolls a version out, ring by ring and on proof: lays a rollout down and starts it."""
        made = self._client.progressive_rollout(version, name=name, reason=reason, key=key, **plan)
        return Rollout(self, self._run(made))

    def create_rollout(
        self,
        name: str,
        plan: Mapping[str, Any],
        *,
        replace: bool = False,
        reason: str = "",
        key: str | None = None,
    ) -> "Rollout":
        """Lays a rollout down; nothing begins before `start`."""
        made = self._client.create_rollout(name, plan, replace=replace, reason=reason, key=key)
        return Rollout(self, self._run(made))

    def rollout(self, name: str) -> "Rollout":
        """A rollout by its name. Raises `NotFoundError`."""
        return Rollout(self, self._run(self._client.rollout(name)))

    def rollouts(
        self, *, state: str | None = None, limit: int | None = None
    ) -> Iterator[RolloutStatus]:
        """All rollouts, or those in a state such as "running", the newest first."""
        return self._each(self._client._rollout_pages(limit, state))

    # -- closing --------------------------------------------------------------------------------

    def close(self) -> None:
        """Closes the connections. Calls that other threads wait for raise `RuntimeError`."""
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _each(self, pages: AsyncIterator[list[T]]) -> Iterator[T]:
        while (page := self._run(_next(pages))) is not None:
            yield from page


class Deployment:
    """One deployment. `members`: how many devices have a task of it."""

    def __init__(self, client: Client, made: AsyncDeployment) -> None:
        self._client = client
        self._made = made
        self.number = made.number
        self.members = made.members

    def __repr__(self) -> str:
        return repr(self._made)

    def status(self) -> DeploymentStatus:
        """Its state now."""
        return self._client._run(self._made.status())

    def wait(self, timeout: float | None = None) -> DeploymentStatus:
        """Returns its state once it is over. Raises `StillOpenError` after `timeout` seconds."""
        return self._client._run(self._made.wait(timeout))

    def cancel(self, reason: str = "", *, key: str | None = None) -> None:
        """Cancels all tasks that have not begun to install."""
        self._client._run(self._made.cancel(reason, key=key))

    def retry(
        self, devices: Iterable[str] = (), reason: str = "", *, key: str | None = None
    ) -> None:
        """Another attempt for tasks that failed or timed out, and for devices that were not
        reached: of these devices, by default of all."""
        self._client._run(self._made.retry(devices, reason, key=key))

    def tasks(
        self, *, state: str | None = None, ring: str | None = None, limit: int | None = None
    ) -> Iterator[TaskStatus]:
        """Its tasks that match all arguments."""
        found = self._client._client._task_pages(self.number, limit, state=state, ring=ring)
        return self._client._each(found)


class Rollout:
    """One rollout, by its name: methods and arguments are those of `AsyncRollout`."""

    def __init__(self, client: Client, made: AsyncRollout) -> None:
        self._client = client
        self._made = made
        self.name = made.name

    def __repr__(self) -> str:
        return repr(self._made)

    def status(self) -> RolloutStatus:
        """Its state now, stage by stage."""
        return self._client._run(self._made.status())

    def wait(self, timeout: float | None = None) -> RolloutStatus:
        """Returns its state once it is over: look whether it has `succeeded`. Raises
        `StillOpenError` after `timeout` seconds."""
        return self._client._run(self._made.wait(timeout))

    def start(self, **more: Any) -> None:
        """Begins it, or asks for the approvals that it needs."""
        self._client._run(self._made.start(**more))

    def approve(self, digest: str, **more: Any) -> None:
        """Grants its start, or what a `stage` has come to."""
        self._client._run(self._made.approve(digest, **more))

    def pause(self, duration: float | str | None = None, **more: Any) -> None:
        """Has nothing more begin, for a `duration` or until it is resumed."""
        self._client._run(self._made.pause(duration, **more))

    def resume(self, **more: Any) -> None:
        """Goes on. A stage that is inconclusive is watched for another soak."""
        self._client._run(self._made.resume(**more))

    def promote(self, **more: Any) -> None:
        """Lets the stage that is judged count as passed."""
        self._client._run(self._made.promote(**more))

    def abort(self, **more: Any) -> None:
        """Ends it. Devices that are updated stay so."""
        self._client._run(self._made.abort(**more))

    def roll_back(self, **more: Any) -> None:
        """Has every device run again what it ran before."""
        self._client._run(self._made.roll_back(**more))

    def retry(self, devices: Iterable[str] = (), **more: Any) -> None:
        """Another attempt for tasks of a stage that failed or were not reached."""
        self._client._run(self._made.retry(devices, **more))

    def explain(self) -> list[str]:
        """Why it is where it is, what would change that, and when it ends by itself."""
        return self._client._run(self._made.explain())

    def tasks(self, *, limit: int | None = None, **filters: str | None) -> Iterator[TaskStatus]:
        """Its tasks. `filters`: `stage`, `state`, `ring`, `variant`."""
        return self._client._each(self._made._task_pages(limit, **filters))


async def _next(pages: AsyncIterator[list[T]]) -> list[T] | None:
    return await anext(pages, None)
