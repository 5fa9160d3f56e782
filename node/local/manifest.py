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
"""What the simulated fleet is called where nodes are called by their ids."""


class LocalError(Exception):
    """The local cluster cannot do that; says why and what to do."""


class Plan(msgspec.Struct, frozen=True):
    """What `up` was asked for; None: as the data directory has it, else the default."""

    nodes: int | None = None
    profile: str | None = None
    base_port: int | None = None
    http_port: int | None = None
    host_sensors: bool = False
    replays: Mapping[str, Path] = {}
    replay_speed: float | None = None
    devices: int = 0


class NodeRecord(msgspec.Struct):
    """One node of the local cluster. Paths are absolute; `pid` 0: not running.

    `birth`: when the process was started, as `node.system.process.birth` tells it. `arguments` come
    after `node run --config FILE`.
    """

    raft: str
    http: str
    config: str
    data_dir: str
    log: str
    arguments: list[str] = []
    pid: int = 0
    birth: str = ""

    @property
    def url(self) -> str:
        return f"http://{self.http}"

    @property
    def running(self) -> bool:
        """Whether the process that was started lives (a stopped one does, a zombie does not)."""
        return _runs(self.pid, self.birth)


class DevicesRecord(msgspec.Struct):
    """The process that simulates the fleet beside the nodes; fields as in `NodeRecord`."""

    count: int
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
        """All that belongs to the cluster, in the order in which it is stopped."""
        fleet: dict[str, Started] = {} if self.devices is None else {DEVICES: self.devices}
        return fleet | self.nodes


def read_manifest(data_dir: Path) -> Manifest | None:
    """The local cluster of a data directory; None when there is none; `LocalError` if damaged."""
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
    """Node id → URL of the local cluster in `data_dir`; empty when there is none to be read."""
    try:
        manifest = read_manifest(data_dir)
    except LocalError:
        return {}
    return {} if manifest is None else {n: record.url for n, record in manifest.nodes.items()}


_SENSORS_OFF = """\
# All nodes of a local cluster run on one machine. Its processor, memory, disk, temperature and
# battery say the same of every node, so a busy machine would look like all of them failing at
# once. They are off here; what is kept differs from process to process.
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


def config_text(manifest: Manifest, node: str, *, host_sensors: bool) -> str:
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
    head = "# Written by `stationkeep up`, and kept as you edit it.\n"
    sensors = "" if host_sensors else _SENSORS_OFF
    return head + yaml.safe_dump(body, sort_keys=False) + sensors + _HOOKS_HINT
