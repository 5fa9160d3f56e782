"""What `up` writes into a data directory: `cluster.json`, and one configuration file per node."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from stationkeep.cluster.settings import PROFILES
from stationkeep.cluster.unreadable import UNREADABLE, explain
from stationkeep.node.system.process import birth

DEFAULT_DATA_DIR = Path(".stationkeep")
MANIFEST = "cluster.json"
DEVICES = "devices"
"""The name of the simulated devices' process, among the ids of nodes."""


class LocalError(Exception):
    """A command cannot be carried out; says why and what to do."""


class Plan(msgspec.Struct, frozen=True):
    """The options of `up`. None: as in the data directory, else the default."""

    nodes: int | None = None
    """How many."""
    profile: str | None = None
    base_port: int | None = None
    """The first node's Raft port; the others follow."""
    http_port: int | None = None
    """The first node's HTTP port; the others follow."""
    host_sensors: bool = False
    """Whether the host's sensors count towards health."""
    replays: Mapping[str, Path] = {}
    """By node, the recording that it plays as its health."""
    replay_speed: float | None = None
    devices: int = 0
    """How many devices to simulate."""
    tls: Path | None = None
    """The directory of a CA: new nodes have certificates of it, and ask everybody for a token."""


class NodeRecord(msgspec.Struct):
    """One node of the local cluster. Paths are absolute."""

    raft: str
    http: str
    config: str
    data_dir: str
    log: str
    arguments: list[str] = []
    """What follows `node run --config FILE`."""
    pid: int = 0
    """0: not running."""
    birth: str = ""
    """`node.system.process.birth` of the process."""

    @property
    def url(self) -> str:
        return f"http://{self.http}"

    @property
    def running(self) -> bool:
        """Whether the process still exists (a stopped one does, a zombie does not)."""
        return _runs(self.pid, self.birth)


class DevicesRecord(msgspec.Struct):
    """The process that simulates devices; for the other fields see `NodeRecord`."""

    count: int
    """How many devices."""
    log: str
    pid: int = 0
    birth: str = ""

    @property
    def running(self) -> bool:
        return _runs(self.pid, self.birth)


def _runs(pid: int, born: str) -> bool:
    return pid > 0 and born != "" and birth(pid) == born


Started = NodeRecord | DevicesRecord


class Manifest(msgspec.Struct):
    """`cluster.json`."""

    cluster: str
    profile: str
    base_port: int
    http_port: int
    nodes: dict[str, NodeRecord]
    devices: DevicesRecord | None = None

    @property
    def processes(self) -> dict[str, Started]:
        """All processes of the cluster, in the order in which they are stopped."""
        fleet: dict[str, Started] = {} if self.devices is None else {DEVICES: self.devices}
        return fleet | self.nodes


def read_manifest(data_dir: Path) -> Manifest | None:
    """The manifest in a data directory, or None; raises `LocalError` if it is damaged."""
    path = data_dir / MANIFEST
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError:
        return None
    except UNREADABLE as error:
        fault = explain(error, "json")
        raise LocalError(f"{path} is damaged ({fault}); remove {data_dir} to start anew") from error
    except OSError as error:
        raise LocalError(f"{path}: {error.strerror}") from error
    if not manifest.nodes or manifest.profile not in PROFILES:
        what = f"profile {manifest.profile!r}" if manifest.nodes else "no nodes"
        raise LocalError(f"{path} is damaged ({what}); remove {data_dir} to start anew")
    return manifest


def http_addresses(data_dir: Path) -> dict[str, str]:
    """Node id → URL of the local cluster in `data_dir`; empty if there is no readable one."""
    try:
        manifest = read_manifest(data_dir)
    except LocalError:
        return {}
    return {} if manifest is None else {n: record.url for n, record in manifest.nodes.items()}


_SENSORS_OFF = """\
# All nodes of a local cluster run on one machine. Its CPU, memory, disk, temperature and battery
# are the same for every node, so on a busy machine all nodes would seem to fail at once. These
# sensors are off here; the others differ from process to process.
sensors:
  cpu: "off"
  memory: "off"
  disk: "off"
  temperature: "off"
  battery: "off"
"""

_HOOKS_HINT = """\
# Commands to run when this node takes a role, for example:
# hooks:
#   primary: echo "primary, epoch $STATIONKEEP_EPOCH"
#   safe_mode: echo fenced
"""


def config_text(
    manifest: Manifest, node: str, *, host_sensors: bool, tls: Path | None = None
) -> str:
    """The YAML file of one node of a local cluster."""
    import yaml  # noqa: PLC0415 - slow to import, and most commands never write a file

    record = manifest.nodes[node]
    members = {n: {"raft": r.raft, "http": r.http} for n, r in manifest.nodes.items()}
    body = {
        "node": node,
        "cluster": manifest.cluster,
        "data_dir": record.data_dir,
        "raft": record.raft,
        "http": record.http,
        "profile": manifest.profile,
        "members": members,
    }
    if tls is not None:
        body |= {"tls": {"dir": str(tls)}, "auth": "required"}
    head = "# Written once by `stationkeep up`; your edits are kept.\n"
    sensors = "" if host_sensors else _SENSORS_OFF
    return head + yaml.safe_dump(body, sort_keys=False) + sensors + _HOOKS_HINT
