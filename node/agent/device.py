"""A device as its agent knows it: who it is, what it says of itself, the ring that it hears of."""

from typing import Protocol, cast

import msgspec

from stationkeep.cluster.numbers import SESSION
from stationkeep.node.agent.readings import Readings
from stationkeep.node.wire import messages as wire


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What a device is; limits are those of `wire`, judged by the node."""

    device_id: str
    device_name: str = ""
    os_version: str = ""
    app_version: str = ""
    capabilities: dict[str, str | bool | int | float] = {}
    labels: dict[str, str] = {}


def first_session(seconds: int) -> int:
    """Of an agent that starts at these Unix seconds. A clock that is decades ahead, as one without
    a battery may be, must not claim a session that nobody believes (`cluster.numbers`)."""
    return min(seconds, SESSION.base)


class Ringed(msgspec.Struct, frozen=True):
    """A ring, the one before as far as this device knows, why, and since when (ISO 8601)."""

    ring: str
    previous: str | None
    reason: str
    timestamp: str


class Owner(Protocol):
    """Whose link it is."""

    def read(self) -> Readings: ...

    def ringed(self, news: Ringed) -> None:
        """The device is in another ring than it knew of."""
        ...

    def turned_away(self, why: str) -> None:
        """A node will not speak with the device, which goes on trying."""
        ...

    def ended(self, why: str, *, unauthorised: bool = False) -> None:
        """The link has ended for good, and not because it was stopped. `unauthorised`: because of
        what it shows, not of what it says."""
        ...


class TaskListener(Protocol):
    """Who carries out what nodes tell the device to do."""

    def served(self) -> None:
        """A node serves the device, and knows what it runs: what is to be said can be said."""
        ...

    def told(self, message: wire.Task | wire.TaskAck | wire.TaskCancel) -> None: ...

    def refused(self, task_id: str) -> None:
        """A node will not take what was said of a task."""
        ...


def device_status(identity: Identity, ring: str | None, readings: Readings) -> wire.DeviceStatus:
    """The seed's message about a device in this ring, as a node named it."""
    return wire.DeviceStatus(
        slave_id=identity.device_id,
        battery_level=round(readings.battery_level),
        battery_charging=readings.battery_charging,
        cpu_usage=readings.cpu_usage,
        memory_usage=readings.memory_usage,
        disk_usage=readings.disk_usage,
        assigned_ring=cast("wire.Ring | None", ring),
        device_name=identity.device_name,
        os_version=identity.os_version,
        app_version=identity.app_version,
        metrics=readings.metrics,
    )


def registration(
    identity: Identity,
    status: wire.DeviceStatus,
    session: int,
    sequence: int,
    credential_sha256: str | None = None,
) -> wire.Registration:
    """What a device registers with; its versions and name are those of the status."""
    payload = wire.RegistrationPayload(
        capabilities=identity.capabilities,
        labels=identity.labels,
        device_status=status,
        session=session,
        sequence=sequence,
        credential_sha256=credential_sha256,
    )
    return wire.Registration(identity.device_id, payload)
