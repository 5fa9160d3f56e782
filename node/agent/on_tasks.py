"""The tasks of a `DeviceAgent`: what it takes to carry them out, and when."""

from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from stationkeep.node.agent.tasks.book import SpoilError
from stationkeep.node.agent.tasks.carrier import Carrier
from stationkeep.node.agent.tasks.commands import CommandInstaller, Commands
from stationkeep.node.agent.tasks.handler import HandlerInstaller, OnTask
from stationkeep.node.agent.tasks.phases import Installer, Phases
from stationkeep.node.agent.tasks.signature import Trust, read_keys
from stationkeep.node.agent.tasks.spool import Spool, SpoolError, Unkept, present_moment

if TYPE_CHECKING:
    from stationkeep.node.agent.client import DeviceAgent


class DeviceTasks:
    """See `DeviceAgent`. Raises ValueError for keys that cannot be read, or are missing where
    signatures are required."""

    def __init__(
        self,
        agent: "DeviceAgent",
        on_task: OnTask | Commands,
        spool: Path | None,
        trust: Path | None,
        *,
        require_signature: bool,
        download: bool,
    ) -> None:
        if require_signature and trust is None:
            raise ValueError("require_signature: True refused: trust says whose signatures count")
        if isinstance(on_task, Commands) and spool is None:
            raise ValueError("spool: None refused: commands need one")
        self._agent, self._on_task = agent, on_task
        self._directory, self._downloads = spool, download
        keys = {} if trust is None else read_keys(trust)
        self._trust = Trust(keys, required=require_signature)
        self._spool: Spool | None = None
        self._carrier: Carrier | None = None
        can = {"deployment": True} | ({"rollback": True} if _goes_back(on_task) else {})
        identity = agent.identity
        agent.identity = replace(identity, capabilities=can | identity.capabilities)

    async def start(self) -> Carrier:
        """Goes on with what was under way. Raises `SpoolError`."""
        self._spool = None if self._directory is None else Spool(self._directory)
        try:
            installer = self._installer()
            file = self._spool.artifact if self._spool is not None and self._downloads else None
            phases = Phases(installer, present_moment, file, self._trust)
            memory = self._spool or Unkept()
            device = self._agent.identity.device_id
            self._carrier = Carrier(device, memory, phases, self._agent, present_moment)
            await self._begin(self._carrier, installer)
        except (SpoilError, OSError) as error:
            await self.stop()
            why = str(error) if isinstance(error, SpoilError) else error.strerror or str(error)
            raise SpoolError(f"{self._directory}: tasks.json: {why}") from error
        return self._carrier

    async def _begin(self, carrier: Carrier, installer: Installer) -> None:
        identity = self._agent.identity
        given = {"app": identity.app_version, "os": identity.os_version}
        seen: dict[str, str] = {}
        if isinstance(installer, CommandInstaller):
            seen = await installer.versions(["app", *carrier.book.installed])
        carrier.start(given | seen, certain=seen)
        self._agent.runs(carrier.versions)

    async def stop(self) -> None:
        """Nothing of a task goes on; another agent may have the spool."""
        if self._carrier is not None:
            await self._carrier.stop()
        if self._spool is not None:
            self._spool.close()
            self._spool = None

    def _installer(self) -> Installer:
        if not isinstance(self._on_task, Commands):
            return HandlerInstaller(self._on_task)
        assert self._spool is not None
        agent = self._agent
        return CommandInstaller(
            agent.identity.device_id, self._on_task, self._spool.directory, lambda: agent.ring
        )


def _goes_back(on_task: OnTask | Commands) -> bool:
    return isinstance(on_task, Commands) and on_task.rollback is not None
