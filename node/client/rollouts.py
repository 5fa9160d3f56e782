"""`AsyncRollout`: the handle of a rollout."""

from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, Any

from stationkeep.node.client.exchange import part
from stationkeep.node.client.listing import pages
from stationkeep.node.client.results import Page, RolloutStatus, TaskStatus, Written
from stationkeep.node.client.waiting import until_over

if TYPE_CHECKING:
    from stationkeep.node.client.asynchronous import AsyncClient


class AsyncRollout:
    """One rollout, by its name. An order that is none in its state raises `RefusedError`, which
    says what may be ordered instead."""

    def __init__(self, client: "AsyncClient", name: str) -> None:
        self._client = client
        self.name = name

    def __repr__(self) -> str:
        return f"<rollout {self.name}>"

    async def status(self) -> RolloutStatus:
        """Its state now, stage by stage."""
        return await self._client._find(RolloutStatus, self._path())

    async def wait(self, timeout: float | None = None) -> RolloutStatus:  # noqa: ASYNC109
        """Returns its state once it is over: look whether it has `succeeded`. One that is paused
        waits for people, and is aborted after a week. Raises `StillOpenError` after `timeout`
        seconds. Goes on through an outage of all nodes of up to a minute."""
        return await until_over(self.status, f"rollout {self.name}", timeout)

    async def start(self, *, force: bool = False, reason: str = "", key: str | None = None) -> None:
        """Begins it, or asks for the approvals that it needs. `force`: although its artifact is
        blocked."""
        await self._order("start", key, force=force, reason=reason)

    async def approve(
        self, digest: str, *, stage: str = "", reason: str = "", key: str | None = None
    ) -> None:
        """Grants its start, or what a `stage` has come to. `digest`: of the plan that was seen, as
        in its status."""
        await self._order("approve", key, digest=digest, stage=stage, reason=reason)

    async def pause(
        self,
        duration: float | str | None = None,
        *,
        reason: str = "",
        key: str | None = None,
    ) -> None:
        """Has nothing more begin, for a `duration` (seconds, or a text such as "10m") or until it
        is resumed."""
        await self._order("pause", key, duration=duration, reason=reason)

    async def resume(self, *, reason: str = "", key: str | None = None) -> None:
        """Goes on. A stage that is inconclusive is watched for another soak."""
        await self._order("resume", key, reason=reason)

    async def promote(
        self,
        *,
        variant: str = "",
        force: bool = False,
        reason: str = "",
        key: str | None = None,
    ) -> None:
        """Lets the stage that is judged count as passed. `variant`: later stages get it alone.
        `force`: a stage that still deploys, or failed."""
        await self._order("promote", key, variant=variant, force=force, reason=reason)

    async def abort(self, *, reason: str = "", key: str | None = None) -> None:
        """Ends it. Devices that are updated stay so."""
        await self._order("abort", key, reason=reason)

    async def roll_back(self, *, reason: str = "", key: str | None = None) -> None:
        """Has every device run again what it ran before."""
        await self._order("rollback", key, reason=reason)

    async def retry(
        self,
        devices: Iterable[str] = (),
        *,
        stage: str = "",
        reason: str = "",
        key: str | None = None,
    ) -> None:
        """Another attempt for tasks of a stage that failed or were not reached: of these devices,
        by default of all."""
        await self._order("retry", key, devices=list(devices), stage=stage, reason=reason)

    async def explain(self) -> list[str]:
        """Why it is where it is, what would change that, and when it ends by itself."""
        found = await self._client._find(dict[str, Any], self._path("/explain"))
        return [str(line) for line in found["summary"]]

    async def tasks(
        self, *, limit: int | None = None, **filters: str | None
    ) -> AsyncIterator[TaskStatus]:
        """Its tasks. `filters`: `stage`, `state`, `ring`, `variant`."""
        async for page in self._task_pages(limit, **filters):
            for task in page:
                yield task

    def _task_pages(
        self, limit: int | None, **filters: str | None
    ) -> AsyncIterator[list[TaskStatus]]:
        async def fetch(most: int, cursor: str | None) -> Page[TaskStatus]:
            shape, path = Page[TaskStatus], self._path("/tasks")
            return await self._client._find(shape, path, limit=most, cursor=cursor, **filters)

        return pages(fetch, limit)

    async def _order(self, order: str, key: str | None, **body: Any) -> None:
        await self._client._write(Written, "POST", self._path(f"/{order}"), body, key)

    def _path(self, of: str = "") -> str:
        return f"/v1/rollouts/{part(self.name)}{of}"
