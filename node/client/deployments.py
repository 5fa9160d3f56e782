"""`AsyncDeployment`: the handle of a deployment."""

from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING

from stationkeep.node.client.results import DeploymentStatus, TaskStatus
from stationkeep.node.client.waiting import until_over

if TYPE_CHECKING:
    from stationkeep.node.client.asynchronous import AsyncClient


class AsyncDeployment:
    """One deployment. `members`: how many devices have a task of it."""

    def __init__(self, client: "AsyncClient", number: int, members: int) -> None:
        self._client = client
        self.number = number
        self.members = members

    def __repr__(self) -> str:
        return f"<deployment {self.number} of {self.members} devices>"

    async def status(self) -> DeploymentStatus:
        """Its state now."""
        return await self._client._deployment_status(self.number)

    async def wait(self, timeout: float | None = None) -> DeploymentStatus:  # noqa: ASYNC109
        """Returns its state once it is over, which its deadline guarantees. Raises `StillOpenError`
        after `timeout` seconds. Goes on through an outage of all nodes of up to a minute."""
        return await until_over(self.status, f"deployment {self.number}", timeout)

    async def cancel(self, reason: str = "", *, key: str | None = None) -> None:
        """Cancels all tasks that have not begun to install."""
        await self._client._cancel(self.number, reason, key)

    async def retry(
        self, devices: Iterable[str] = (), reason: str = "", *, key: str | None = None
    ) -> None:
        """Another attempt for tasks that failed or timed out, and for devices that were not
        reached: of these devices, by default of all."""
        await self._client._retry(self.number, devices, reason, key)

    async def tasks(
        self, *, state: str | None = None, ring: str | None = None, limit: int | None = None
    ) -> AsyncIterator[TaskStatus]:
        """Its tasks that match all arguments."""
        async for page in self._client._task_pages(self.number, limit, state=state, ring=ring):
            for task in page:
                yield task
