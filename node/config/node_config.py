"""The configuration of one node: one YAML file, environment overrides, parsed once at start.

Every error is a `ConfigError` with file, line, field, value and rule; those of one file are
reported together. Replicated settings only get their initial values from the file: once the
cluster is founded, they are changed through it (roles.md, "Settings and defaults").
"""

import ipaddress
import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Literal, cast

import msgspec
import yaml

from stationkeep.cluster import settings as replicated
from stationkeep.cluster.commands import MemberSpec, Policy
from stationkeep.cluster.names import HOST_RULE, host_fault
from stationkeep.cluster.settings import Settings, SettingsError
from stationkeep.node.config.hooks import ROLE_HOOKS, HookConfig, read_hooks
from stationkeep.node.config.members import read_listener, read_members
from stationkeep.node.config.policies import read_policies
from stationkeep.node.config.sensors import SensorConfig, read_sensors
from stationkeep.node.config.shell import command_fault
from stationkeep.node.config.tls import TlsConfig, read_tls, uid_of
from stationkeep.node.config.tracing import TracingConfig, read_tracing
from stationkeep.node.config.webhooks import WebhookConfig, read_webhooks
from stationkeep.node.config.yaml_document import MAX_BYTES, ConfigError, Document, Value, parse
from stationkeep.node.system.operator_files import regular

__all__ = ["ConfigError", "NodeConfig", "load", "validate"]


LOG_FORMATS = ("plain", "json")
LOG_LEVELS = ("debug", "info", "warning", "error")


class LogConfig(msgspec.Struct, frozen=True):
    """What is logged, and how. Logs always go to stderr."""

    format: Literal["plain", "json"] = "plain"
    """Lines for people, or one JSON object per line."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe lines that are written."""


class NodeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration of one node. `members` is sorted by id."""

    node: str
    """The id of this node, one of `members`."""
    cluster: str
    """The name of the cluster, the same for all of its nodes. What tells it from another of the
    same name is its uid, which is drawn at the founding."""
    data_dir: Path
    """The directory of this node's journal, snapshots and audit file, shared with no other node. A
    relative path is relative to the working directory."""
    raft: str
    """The address, TCP and UDP, on which the node listens for the other members."""
    http: str
    """The address on which the node listens for clients and devices."""
    members: tuple[MemberSpec, ...]
    """Every member, this node included, with the addresses at which the others and clients reach
    it. They found the cluster; later they are where to dial first, or next."""
    join: bool = False
    """Whether the cluster exists already, so that the node waits until it is added as a member."""
    profile: str = replicated.DEFAULT_PROFILE
    """The set of settings that the cluster is founded with."""
    settings: Settings = replicated.PROFILES[replicated.DEFAULT_PROFILE]
    """Single settings that override the profile. They are replicated: once the cluster is founded,
    those in the file have no effect."""
    durability: Literal["sync", "os"] = "sync"
    """`sync`: what is acknowledged is on disk. `os`: it survives a crash of the process, but not a
    power cut."""
    sensors: SensorConfig = SensorConfig()
    """Which components make up the health of this node."""
    hooks: HookConfig = HookConfig()
    """Commands that are run when the node's role changes, or when an action is ordered."""
    policies: tuple[Policy, ...] = ()
    """Local policies that let this node deny a change of role when it votes."""
    webhooks: tuple[WebhookConfig, ...] = ()
    """Where decisions are sent. Every node that may become leader needs the same list."""
    tracing: TracingConfig | None = None
    """Where traces are sent. Absent: nowhere."""
    tls: TlsConfig | None = None
    """Certificates for the links between members and for HTTP. Absent: both in clear."""
    insecure: bool = False
    """Whether to listen beyond loopback without being able to tell friend from stranger."""
    log: LogConfig = LogConfig()
    """What the node writes to stderr."""
    http_hosts: tuple[str, ...] = ()
    """Further host names that clients use for this node. Requests for any other are refused."""
    auth: Literal["required", "none"] = "none"
    """`required`: whoever asks this node over HTTP shows a token. `none`: whoever reaches the port
    is an administrator, which is possible on loopback alone."""
    trusted_proxies: tuple[str, ...] = ()
    """Networks such as 10.0.0.0/8 of proxies whose `X-Forwarded-For` says where a request comes
    from."""
    file: str = ""
    """The path that the configuration was read from."""
    uid: str = ""
    """Of the cluster, as its CA has it; empty without one: then it is drawn at the founding."""

    @property
    def own(self) -> MemberSpec | None:
        """This node among the members; None where it is not one of them."""
        return next((member for member in self.members if member.id == self.node), None)

    @property
    def peers(self) -> tuple[str, ...]:
        """Ids of the other members."""
        return tuple(member.id for member in self.members if member.id != self.node)


_FIELDS = (
    "node", "cluster", "data_dir", "raft", "http", "advertise", "members", "join", "profile",
    "settings",
    "durability", "sensors", "hooks", "policies", "webhooks", "tracing", "tls", "insecure", "log",
    "http_hosts",
    "auth", "trusted_proxies",
)  # fmt: skip
OVERRIDES = {
    "NODE": ("node",),
    "ADVERTISE_RAFT": ("advertise", "raft"),
    "ADVERTISE_HTTP": ("advertise", "http"),
    "CLUSTER": ("cluster",),
    "DATA_DIR": ("data_dir",),
    "RAFT": ("raft",),
    "HTTP": ("http",),
    "PROFILE": ("profile",),
    "DURABILITY": ("durability",),
    "TRACING_ENDPOINT": ("tracing", "endpoint"),
    "TRACING_SAMPLE_RATIO": ("tracing", "sample_ratio"),
    "LOG_FORMAT": ("log", "format"),
    "LOG_LEVEL": ("log", "level"),
    "AUTH": ("auth",),
}
HOSTED = frozenset(
    OVERRIDES[name] for name in ("NODE", "RAFT", "HTTP", "ADVERTISE_RAFT", "ADVERTISE_HTTP")
)
"""Those in whose variables `${HOSTNAME}` stands for this machine's name, and nothing else does."""
MAX_HTTP_HOSTS = 16
MAX_PROXIES = 16
SETTINGS_PREFIX = "STATIONKEEP_SETTINGS__"


def load(path: str | Path, env: Mapping[str, str] | None = None) -> NodeConfig:
    """The configuration in `path`, overridden by `STATIONKEEP_*` of `env` (default: the process's).

    Raises the first `ConfigError`, with the further ones in its `others`. A relative `data_dir` is
    relative to the working directory.
    """
    document = _open(path, os.environ if env is None else env)
    config = None if document.errors else _read(document)
    document.raise_errors()
    assert config is not None
    return config


def validate(path: str | Path, env: Mapping[str, str] | None = None) -> list[ConfigError]:
    """All errors of a file. Empty when a node would start with it and, as far as can be checked
    here, could run its commands. `env` defaults to an empty one."""
    try:
        document = _open(path, {} if env is None else env)
        if not document.errors:
            _read(document)
            _check_commands(document.root)
        document.raise_errors()
    except ConfigError as error:
        return [error, *error.others]
    return []


def _check_commands(root: Value) -> None:
    """Checks that what the commands run exists. `load` does not: the file may appear later, and a
    hook that cannot be run fails and says so."""
    for value in _commands(root):
        fault = command_fault(value.raw) if isinstance(value.raw, str) else None
        if fault is not None:
            value.refuse(fault)


def _commands(root: Value) -> Iterator[Value]:
    """Every command that the file sets."""
    hooks, sensors = root.child("hooks"), root.child("sensors")
    actions = hooks.child("actions") if hooks is not None else None
    found = [hooks.child(field) for field in ROLE_HOOKS] if hooks is not None else []
    found.append(sensors.child("command") if sensors is not None else None)
    yield from (value for value in found if value is not None)
    if actions is not None and isinstance(actions.raw, dict):
        yield from actions.mapping().values()


def _open(path: str | Path, env: Mapping[str, str]) -> Document:
    try:
        with open(path, "rb", opener=regular) as file:
            content = file.read(4 * MAX_BYTES + 1)  # 4 bytes a character: surely too long
    except OSError as error:
        raise ConfigError(str(path), None, "", str(path), f"readable: {error.strerror}") from error
    document = parse(str(path), _decoded(str(path), content))
    if not document.errors:
        _override(document, env)
    return document


def _decoded(path: str, content: bytes) -> str:
    if len(content) > 4 * MAX_BYTES:  # its last character may be cut in two
        return content.decode(errors="replace")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        shown = f"byte 0x{content[error.start]:02x}"
        raise ConfigError(path, line, "", shown, "UTF-8 text") from error


def _override(document: Document, env: Mapping[str, str]) -> None:
    """Applies the environment; variables of other programs (STATIONKEEP_URL …) are ignored."""
    for name in sorted(env):
        if name.startswith(SETTINGS_PREFIX):
            target: tuple[str, ...] = ("settings", name.removeprefix(SETTINGS_PREFIX).lower())
        elif name.removeprefix("STATIONKEEP_") in OVERRIDES and name.startswith("STATIONKEEP_"):
            target = OVERRIDES[name.removeprefix("STATIONKEEP_")]
        else:
            continue
        text = env[name]
        if target in HOSTED:
            text = text.replace("${HOSTNAME}", env.get("HOSTNAME") or os.uname().nodename)
        document.override(target, _scalar(text), f"environment variable {name}")


def _scalar(text: str) -> object:
    """A variable's text parsed as YAML would be in a file; anything but a scalar stays text."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    return value if isinstance(value, bool | int | float | str) else text


def _read(document: Document) -> NodeConfig:
    root = document.root.known(_FIELDS)
    id_ = root.required("node", "the id of this node")
    cluster = root.required("cluster", "the name of the cluster")
    node = id_.name() if id_ else ""
    members = read_members(root, node)
    own = next((m for m in members if m.id == node), None)
    if members and node and own is None:
        cast(Value, root.child("node")).refuse("a node is one of its own members")
    profile_value = root.child("profile")
    profile = replicated.DEFAULT_PROFILE
    if profile_value:
        profile = profile_value.choice(tuple(replicated.PROFILES))
    data_dir = root.required("data_dir", "the directory that is this node's alone")
    directory = Path(data_dir.text("a path") if data_dir else ".")
    durability, insecure = root.child("durability"), root.child("insecure")
    tls = read_tls(root.child("tls"), node, directory)
    return NodeConfig(
        node=node,
        cluster=cluster.name() if cluster else "",
        data_dir=directory,
        raft=read_listener(root, "raft", own.raft if own else ""),
        http=read_listener(root, "http", own.http if own else ""),
        tls=tls,
        uid="" if tls is None else uid_of(tls),
        insecure=insecure is not None and insecure.flag(),
        members=members,
        join=_join(root.child("join"), members),
        profile=profile,
        settings=_settings(root.child("settings"), profile),
        durability=cast(
            Literal["sync", "os"], durability.choice(("sync", "os")) if durability else "sync"
        ),
        sensors=read_sensors(root.child("sensors")),
        hooks=read_hooks(root.child("hooks")),
        policies=read_policies(root.child("policies")),
        webhooks=read_webhooks(root.child("webhooks")),
        tracing=read_tracing(root.child("tracing")),
        log=_log(root.child("log")),
        http_hosts=_hosts(root.child("http_hosts")),
        auth=_auth(root.child("auth")),
        trusted_proxies=_networks(root.child("trusted_proxies")),
        file=document.file,
    )


def _join(value: Value | None, members: tuple[MemberSpec, ...]) -> bool:
    if value is None:
        return False
    joins = value.flag()
    if joins and len(members) == 1:
        value.refuse("a node that joins lists the existing members among its members")
    return joins


def _hosts(value: Value | None) -> tuple[str, ...]:
    if value is None:
        return ()
    items = value.items(MAX_HTTP_HOSTS, "names")
    for item in items:
        if not isinstance(item.raw, str) or host_fault(item.raw) is not None:
            item.refuse(HOST_RULE)
    return tuple(str(item.raw).lower() for item in items)


def _auth(value: Value | None) -> Literal["required", "none"]:
    if value is None:
        return "none"
    return cast(Literal["required", "none"], value.choice(("required", "none")))


def _networks(value: Value | None) -> tuple[str, ...]:
    if value is None:
        return ()
    items = value.items(MAX_PROXIES, "networks")
    for item in items:
        if not isinstance(item.raw, str) or not _is_network(item.raw):
            item.refuse("a network such as 10.0.0.0/8, with nothing but zeros behind its length")
    return tuple(str(item.raw) for item in items)


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


def _settings(value: Value | None, profile: str) -> Settings:
    base = replicated.PROFILES[profile]
    if value is None:
        return base
    value.known(Settings.__struct_fields__)
    changes: dict[str, replicated.Stored] = {}
    for field, item in value.mapping().items():
        if field in Settings.__struct_fields__:
            nothing: dict[str, replicated.Stored] = {}
            changes |= item.through(partial(_one_setting, field), nothing)
    try:
        return replicated.merge(base, changes)
    except SettingsError as error:
        given = value.child(error.field)
        if given is not None:
            given.refuse(error.rule, error.value)
        else:
            rule = f"{error.rule} (profile {profile} says {error.value}; set both together)"
            value.refuse(rule, error.value, error.field)
        return base


def _one_setting(field: str, raw: object) -> dict[str, replicated.Stored]:
    return replicated.parse_changes({field: raw})


def _log(value: Value | None) -> LogConfig:
    if value is None:
        return LogConfig()
    value.known(("format", "level"))
    form, level = value.child("format"), value.child("level")
    chosen = {
        "format": form.choice(LOG_FORMATS) if form else LOG_FORMATS[0],
        "level": level.choice(LOG_LEVELS) if level else LogConfig().level,
    }
    return msgspec.convert(chosen, LogConfig)
