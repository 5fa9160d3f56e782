"""Writes the reference of node/guide/configuration.md from the code.

The meaning of a field is the docstring under it, its default that of its struct, its range the
constant that is checked; what stands outside of the marks is written by hand.

.venv/bin/python -m scripts.reference
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from stationkeep.cluster import settings
from stationkeep.cluster.commands import MemberSpec, Policy
from stationkeep.cluster.names import HOST_RULE, MAX_NAME
from stationkeep.cluster.roles.policies import PATTERN_RULE, PRIORITIES
from stationkeep.cluster.settings import PROFILES, RELATIONS, Settings, Unit
from stationkeep.cluster.state.state import (
    MAX_ACTIONS_PER_NODE,
    MAX_MEMBERS,
    MAX_POLICIES_PER_NODE,
    MAX_WEBHOOKS,
)
from stationkeep.node.config import node_config as config
from stationkeep.node.config import webhooks
from stationkeep.node.config.hooks import ROLE_HOOKS, HookConfig
from stationkeep.node.config.node_config import LogConfig, NodeConfig
from stationkeep.node.config.sensors import Marks, SensorConfig
from stationkeep.node.config.shell import MAX_COMMAND
from stationkeep.node.config.tls import TlsConfig
from stationkeep.node.config.tracing import TracingConfig
from stationkeep.node.config.webhooks import WebhookConfig
from stationkeep.node.security.foreign_devices import IdFrom

PAGE = Path(__file__).resolve().parent.parent / "node" / "guide" / "configuration.md"

NAME = f"name of at most {MAX_NAME} characters"
DURATION = (
    f"duration, {settings.format_duration(settings.SHORTEST)} to {settings.LONGEST // 3_600_000}h"
)
COMMAND = f"command of at most {MAX_COMMAND} characters"
ADDRESS, URL = "`HOST:PORT`", "`https://…`, or `http://` to loopback"
MARKS = "`{ok: …, critical: …}` or `off`"
GROUPS = {
    "Health": (
        "report_interval", "evaluation_interval", "unhealthy_above", "heartbeat_timeout",
        "hysteresis_window",
    ),
    "Changes of role": (
        "swarm_mode", "failures_to_fail_primary", "failures_to_safe_mode", "promotable_below",
        "promotion_hold", "backup_count", "backup_ceiling", "primary_lease",
    ),
    "Votes and actions": (
        "proposal_timeout", "safety_weight", "performance_weight", "availability_weight",
        "action_deadline", "compliance_threshold",
    ),
    "Raft": ("raft_heartbeat", "election_timeout_min", "election_timeout_max"),
    "Devices": (
        "device_status_interval", "device_offline_after", "unhealthy_statuses", "healthy_statuses",
    ),
    "Rings": (
        "rebalance_interval", "ring_band", "ring_dwell", "recovery_hold", "redistribution",
        "redistribution_fraction", "storm_brake",
    ),
    "Tasks": (
        "offer_timeout", "progress_timeout", "task_timeout", "deployment_deadline",
        "max_in_flight", "task_retries",
    ),
    "Rollouts": (
        "rollout_check", "settle", "soak",
    ),
    "Upgrades": ("level_hold",),
}  # fmt: skip


ADVERTISED = (
    "Where this node is reached, in place of what `members` says of it. When the cluster thinks "
    "otherwise, the node tells it at its start."
)


class Row(NamedTuple):
    """A field of a node's file. `default`: as it is written in a file."""

    path: str
    value: str
    default: str
    meaning: str


def meanings(struct: type) -> dict[str, str]:
    """What stands under each field of a class, on one line."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(struct))).body
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, after in pairwise(body.body):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
        ):
            found[field.target.id] = " ".join(str(after.value.value).split())
    return found


# -- files of nodes


def file_rows() -> dict[str, list[Row]]:
    """The fields of a file by section: the top level, then the parts that are made of several."""
    return {
        "Top level": list(_top()),
        "advertise": list(_advertise()),
        "members": list(_members()),
        "sensors": list(_sensors()),
        "hooks": list(_hooks()),
        "policies": list(_policies()),
        "webhooks": list(_webhooks()),
        "tracing": list(_tracing()),
        "tls": list(_tls()),
        "log": list(_log()),
    }


def _top() -> Iterator[Row]:
    meaning, default = meanings(NodeConfig), _defaults(NodeConfig)
    values = {
        "node": NAME,
        "cluster": NAME,
        "data_dir": "path",
        "raft": f"{ADDRESS}; on loopback without `tls`",
        "http": f"{ADDRESS}; on loopback without `tls` and `auth: required`",
        "advertise": "see [advertise](#advertise)",
        "members": f"1 to {MAX_MEMBERS} of [members](#members)",
        "join": "`true` or `false`",
        "profile": _words(PROFILES),
        "settings": "any of the [settings](#settings)",
        "durability": "`sync` or `os`",
        "sensors": "see [sensors](#sensors)",
        "hooks": "see [hooks](#hooks)",
        "policies": f"at most {MAX_POLICIES_PER_NODE} of [policies](#policies)",
        "webhooks": f"at most {MAX_WEBHOOKS} of [webhooks](#webhooks)",
        "tracing": "see [tracing](#tracing)",
        "tls": "see [tls](#tls)",
        "insecure": "`true` or `false`",
        "log": "see [log](#log)",
        "http_hosts": f"at most {config.MAX_HTTP_HOSTS}, each {HOST_RULE}",
        "auth": "`required` or `none`",
        "trusted_proxies": f"at most {config.MAX_PROXIES} networks",
    }
    shown = dict.fromkeys(values, "") | {
        "node": "required",
        "cluster": "required",
        "data_dir": "required",
        "members": "required",
        "raft": "that of `members`; with `tls` and a name there, `0.0.0.0`",
        "http": "that of `members`; with `tls` and a name there, `0.0.0.0`",
        "join": _yaml(default["join"]),
        "profile": _yaml(default["profile"]),
        "durability": _yaml(default["durability"]),
        "insecure": _yaml(default["insecure"]),
        "auth": _yaml(default["auth"]),
    }
    for field, value in values.items():
        yield Row(field, value, shown[field], meaning.get(field, ADVERTISED))


def _advertise() -> Iterator[Row]:
    meaning = meanings(MemberSpec)
    for field in ("raft", "http"):
        yield Row(f"advertise.{field}", ADDRESS, "that of `members`", meaning[field])


def _members() -> Iterator[Row]:
    meaning = meanings(MemberSpec)
    yield Row(
        "members.ID.raft", f"{ADDRESS}; on loopback without `tls`", "required", meaning["raft"]
    )
    yield Row("members.ID.http", ADDRESS, "required", meaning["http"])


def _sensors() -> Iterator[Row]:
    meaning, default = meanings(SensorConfig), _defaults(SensorConfig)
    for field in SensorConfig.__struct_fields__:
        path = f"sensors.{field}"
        if isinstance(default[field], Marks):
            yield Row(path, MARKS, _marks(default[field]), meaning[field])
        elif field == "command":
            yield Row(path, COMMAND, "", meaning[field])
        else:
            yield Row(path, DURATION, _seconds(default[field]), meaning[field])
    for field, what in meanings(Marks).items():
        yield Row(f"sensors.NAME.{field}", "number", "", what)


def _hooks() -> Iterator[Row]:
    meaning, default = meanings(HookConfig), _defaults(HookConfig)
    for field, role in ROLE_HOOKS.items():
        what = meaning["roles"].replace("this role", f"the role {role}")
        yield Row(f"hooks.{field}", COMMAND, "", what)
    value = f"at most {MAX_ACTIONS_PER_NODE}, each `NAME: {COMMAND}`".replace(COMMAND, "COMMAND")
    yield Row("hooks.actions", value, "", meaning["actions"])
    yield Row("hooks.timeout", DURATION, _seconds(default["timeout"]), meaning["timeout"])


def _policies() -> Iterator[Row]:
    meaning = meanings(Policy)
    values = {
        "name": NAME,
        "priority": _words(PRIORITIES),
        "score": "number, 0 to 1",
        "forbids": f"list of `{PATTERN_RULE.partition(' ')[0]}`{_rest(PATTERN_RULE)}",
    }
    for field, value in values.items():
        yield Row(f"policies[].{field}", value, "required", meaning[field])


def _webhooks() -> Iterator[Row]:
    meaning, default = meanings(WebhookConfig), _defaults(WebhookConfig)
    secret = f"`{webhooks.PREFIX}` and {webhooks.SHORTEST} to {webhooks.LONGEST} bytes in base64"
    yield Row("webhooks[].name", NAME, "required", meaning["name"])
    yield Row("webhooks[].url", URL, "required", meaning["url"])
    yield Row("webhooks[].secret", secret, "or `secret_file`", meaning["secret"])
    where = "A file that holds the secret, read at start."
    yield Row("webhooks[].secret_file", "path", "or `secret`", where)
    topics, every = f"list of {_words(webhooks.TOPICS)}", ", ".join(default["topics"])
    yield Row("webhooks[].topics", topics, f"`[{every}]`", meaning["topics"])


def _tracing() -> Iterator[Row]:
    meaning, default = meanings(TracingConfig), _defaults(TracingConfig)
    yield Row("tracing.endpoint", URL, "required", meaning["endpoint"])
    ratio = _yaml(default["sample_ratio"])
    yield Row("tracing.sample_ratio", "number, 0 to 1", ratio, meaning["sample_ratio"])


def _tls() -> Iterator[Row]:
    choice, default = " or ".join(f"`{each}`" for each in IdFrom), f"`{IdFrom.SAN_URI}`"
    unusual = {"dir": ("path", "required"), "device_id_from": (choice, default)}
    for field, meaning in meanings(TlsConfig).items():
        yield Row(f"tls.{field}", *unusual.get(field, ("path", "")), meaning)


def _log() -> Iterator[Row]:
    meaning, default = meanings(LogConfig), _defaults(LogConfig)
    for field, names in (("format", config.LOG_FORMATS), ("level", config.LOG_LEVELS)):
        yield Row(f"log.{field}", _words(names), _yaml(default[field]), meaning[field])


def _defaults(struct: type[msgspec.Struct]) -> dict[str, Any]:
    return {
        field.name: field.default
        if field.default is not msgspec.NODEFAULT
        else field.default_factory
        for field in msgspec.structs.fields(struct)
    }


def _marks(marks: Marks) -> str:
    return f"`{{ok: {marks.ok:g}, critical: {marks.critical:g}}}`"


def _seconds(seconds: float) -> str:
    return f"`{settings.format_duration(round(seconds * 1_000))}`"


def _yaml(value: object) -> str:
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _words(names: Iterable[str]) -> str:
    *most, last = (f"`{name}`" for name in names)
    return f"{', '.join(most)} or {last}"


def _rest(rule: str) -> str:
    """What a rule says after its pattern, with the patterns in it as code."""
    return re.sub(r"(\S*->\S*)", r"`\1`", f" {rule.partition(' ')[2]}")


def node_file() -> str:
    """The reference of a node's file, and of the environment that overrides it."""
    written: list[str] = []
    for section, rows in file_rows().items():
        written += [
            f"### {section}",
            "",
            "| field | value | default | meaning |",
            "| --- " * 4 + "|",
        ]
        written += [f"| `{path}` | {' | '.join(_cell(c) for c in rest)} |" for path, *rest in rows]
        written.append("")
    written += ["### Environment", "", "| variable | overrides |", "| --- | --- |"]
    for name, path in config.OVERRIDES.items():
        written.append(f"| `STATIONKEEP_{name}` | `{'.'.join(path)}` |")
    written.append(f"| `{config.SETTINGS_PREFIX}NAME` | `settings.name`, in upper case |")
    return "\n".join(written)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


# -- replicated settings


def settings_reference() -> str:
    """Every setting: meaning, range, value in each profile, and what it must agree with."""
    assert sorted(sum(GROUPS.values(), ())) == sorted(Settings.__struct_fields__)
    meaning = meanings(Settings)
    written: list[str] = []
    for group, fields in GROUPS.items():
        written += [f"### {group}", ""]
        for field in fields:
            written += [f"#### {field}", "", meaning[field], ""]
            written += [f"- Value: {_range(field)}.", f"- {_in_profiles(field)}."]
            rules = [f"`{relation.rule}`" for relation in RELATIONS if _concerns(relation, field)]
            if rules:
                written.append(f"- Must hold: {'; '.join(rules)}.")
            written.append("")
    return "\n".join(written).rstrip("\n")


def _concerns(relation: settings.Relation, field: str) -> bool:
    return re.search(rf"\b{field}\b", relation.rule) is not None


def _range(field: str) -> str:
    match settings.unit_of(field):
        case Unit.DURATION:
            return DURATION
        case Unit.RATIO:
            return "number, 0 to 1"
        case Unit.COUNT:
            low, high = settings.counts_of(field)
            return f"whole number, {low} to {high}"
        case Unit.CHOICE:
            return _words(settings.choices_of(field))
        case Unit.FLAG:
            return "`on` or `off`"


def _in_profiles(field: str) -> str:
    values = {name: _written(field, getattr(of, field)) for name, of in PROFILES.items()}
    if len(set(values.values())) == 1:
        return f"In every profile: {next(iter(values.values()))}"
    return "In the profiles: " + ", ".join(f"{name} {value}" for name, value in values.items())


def _written(field: str, stored: Any) -> str:
    if isinstance(stored, bool):
        return "`on`" if stored else "`off`"
    return f"`{settings.as_written(field, stored)}`"


def renewed(page: str) -> str:
    """The text of the page with both parts written anew."""
    for part, content in (("node-file", node_file()), ("settings", settings_reference())):
        pattern = rf"(<!-- {part}:[^>]*-->\n).*?(\n<!-- /{part} -->)"
        page, count = re.subn(
            pattern, lambda m, c=content: f"{m[1]}\n{c}\n{m[2]}", page, flags=re.DOTALL
        )
        assert count == 1, f"{PAGE.name} has no part {part}"
    return page


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
