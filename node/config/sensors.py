"""`sensors:` in a node's file: what makes up its health, and from which readings on it is ill."""

import msgspec

from stationkeep.node.config.shell import MAX_COMMAND
from stationkeep.node.config.yaml_document import Value


class Marks(msgspec.Struct, frozen=True):
    """Risk rises linearly from 0 at `ok` to 1 at `critical`. With `ok > critical` it rises as the
    reading falls."""

    ok: float
    """The reading up to which the risk is 0."""
    critical: float
    """The reading from which the risk is 1. If it is below `ok`, a falling reading is the risk."""


class SensorConfig(msgspec.Struct, frozen=True):
    """Which components make up the health of this node; None = off."""

    cpu: Marks | None = Marks(70, 100)
    """Load of the host's CPUs in percent, averaged over half a minute."""
    memory: Marks | None = Marks(80, 100)
    """Used memory of the host in percent."""
    disk: Marks | None = Marks(85, 100)
    """How full the disk of the data directory is, in percent."""
    battery: Marks | None = Marks(30, 5)
    """Charge of the battery in percent, if there is one that is not being charged."""
    temperature: Marks | None = Marks(80, 105)
    """The hottest sensor of the host in °C, if it has any."""
    loop_lag: Marks | None = Marks(0.25, 2)
    """How late the node's event loop is, in seconds."""
    replication_lag: Marks | None = Marks(2_000, 50_000)
    """Log entries that are committed and not applied yet."""
    command: str = ""
    """Your own check. Exit status 0 is risk 0, any other is risk 1. For a value between, exit with
    0 and print `{"risk": 0.4, "cause": "…"}`."""
    command_interval: float = 5.0
    """The shortest time between two runs of the check, in seconds."""
    command_timeout: float = 5.0
    """A check that takes longer, in seconds, is killed and counts as risk 1."""


def read_sensors(value: Value | None) -> SensorConfig:
    """The sensors that a file configures; errors go into its document."""
    if value is None:
        return SensorConfig()
    value.known(SensorConfig.__struct_fields__)
    found: dict[str, object] = {}
    for field, item in value.mapping().items():
        if field == "command":
            found[field] = item.text("a shell command", MAX_COMMAND)
        elif field in ("command_interval", "command_timeout"):
            found[field] = item.seconds()
        elif field in SensorConfig.__struct_fields__:
            found[field] = _marks(item)
    return msgspec.structs.replace(SensorConfig(), **found)


def _marks(value: Value) -> Marks | None:
    if value.raw is False or value.raw == "off":  # YAML reads a bare off as false
        return None
    if not isinstance(value.raw, dict):
        value.refuse("{ok: …, critical: …} or off")
        return None
    value.known(("ok", "critical"))
    ok, critical = (value.required(mark, "both marks of a sensor") for mark in ("ok", "critical"))
    if ok is None or critical is None:
        return None
    marks = Marks(ok.number(-1e9, 1e9), critical.number(-1e9, 1e9))
    if marks.ok == marks.critical:
        critical.refuse("a critical mark differs from ok")
    return marks
