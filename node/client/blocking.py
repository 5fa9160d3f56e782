"""`Client`: the same for a program without an event loop."""

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
from typing import Any, Self, TypeVar

from stationkeep.node.client.asynchronous import (
    SECONDS,
    AsyncClient,
    AsyncDeployment,
    Consistency,
)
from stationkeep.node.client.exchange import DEFAULT_URL
from stationkeep.node.client.listing import DeviceStatuses, RingAssignments
from stationkeep.node.client.results import (
    ClusterStatus,
    DeploymentStatus,
    DeviceStatus,
    OperationStatus,
    TaskStatus,
)

T = TypeVar("T")


class LoopThread:
    """An event loop on a thread of its own. `last`: what it does before it ends."""

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
        """What the coroutine returns, or raises. Any thread may ask, except the loop's own."""
        with self._lock:
            if self._closed or not self._thread.is_alive():  # no thread lives on after a fork
                coroutine.close()
                raise RuntimeError("the client is closed, or belongs to another process")
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise RuntimeError("the client was closed meanwhile") from None
        except BaseException:  # Ctrl-C: nobody waits for it any more
            future.cancel()
            raise

    def end(self) -> None:
        """Cancels what is under way. The garbage collector may call this on any thread."""
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
    """Asks the nodes of a cluster, and gives them orders.

        with Client(["http://127.0.0.1:8701", "http://127.0.0.1:8702"]) as master:
            master.assign_slave_to_ring("slave-001", RingType.PROD)

    Arguments and methods are those of `AsyncClient`, without `await`. Threads may share one; it
    has an event loop on a thread of its own, so that it can be used where one runs already.
    """

    def __init__(
        self,
        urls: str | Iterable[str] = DEFAULT_URL,
        *,
        actor: str | None = None,
        timeout: float = SECONDS,
        consistency: Consistency = "local",
    ) -> None:
        self._client = AsyncClient(urls, actor=actor, timeout=timeout, consistency=consistency)
        thread = LoopThread(self._client.close)
        self._run = thread.run
        self._end = weakref.finalize(self, thread.end)

    @property
    def ring_assignments(self) -> RingAssignments:
        """Ring → ids of its devices, a ring being asked for when it is first looked at."""
        return RingAssignments(
            lambda ring: tuple(device.slave_id for device in self.devices(ring=ring))
        )

    @property
    def device_statuses(self) -> DeviceStatuses:
        """Id → device; for a large fleet there is `devices`."""
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
        """Devices that match all that is given, asked for page by page."""
        filters = {"ring": ring, "healthy": healthy, "online": online, "selector": selector}
        return self._each(self._client.device_pages(limit, **filters))

    def device(self, slave_id: str) -> DeviceStatus:
        """One device. Raises `NotFoundError`."""
        return self._run(self._client.device(slave_id))

    def device_tasks(self, slave_id: str) -> list[TaskStatus]:
        """What the device is to do now and was to do before."""
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
        """What became of a change, by its key. Raises `NotFoundError`."""
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
        """Has a device (`target` of the parameters) or a `ring` of them do something."""
        made = self._client.submit_task(task_type, parameters, reason=reason, key=key, **options)
        return Deployment(self, self._run(made))

    def deployment(self, number: int) -> "Deployment":
        """A deployment that was made before. Raises `NotFoundError`."""
        return Deployment(self, self._run(self._client.deployment(number)))

    def deployments(self, *, limit: int | None = None) -> Iterator[DeploymentStatus]:
        """All that are remembered, the newest first."""
        return self._each(self._client.deployment_pages(limit))

    # -- its end --------------------------------------------------------------------------------

    def close(self) -> None:
        """Closes the connections; what other threads wait for ends with `RuntimeError`."""
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
    """A deployment: its `number`, and how many `members` have a task."""

    def __init__(self, client: Client, made: AsyncDeployment) -> None:
        self._client = client
        self._made = made
        self.number = made.number
        self.members = made.members

    def __repr__(self) -> str:
        return repr(self._made)

    def status(self) -> DeploymentStatus:
        """How far it is."""
        return self._client._run(self._made.status())

    def wait(self, timeout: float | None = None) -> DeploymentStatus:
        """Returns when no task of it will change any more; `StillOpenError` after `timeout`
        seconds."""
        return self._client._run(self._made.wait(timeout))

    def cancel(self, reason: str = "", *, key: str | None = None) -> None:
        """Cancels what has not begun, and what can still be left off."""
        self._client._run(self._made.cancel(reason, key=key))


async def _next(pages: AsyncIterator[list[T]]) -> list[T] | None:
    return await anext(pages, None)
