"""A canned node: what the REST interface answers, without one."""

import copy
import json
from collections.abc import Callable
from typing import Any

import httpx
from typer.testing import Result

Json = dict[str, Any]
Run = Callable[..., Result]

CLUSTER: Json = {
    "cluster_id": "stationkeep-local",
    "node": "sat-001",
    "version": "0.1.0",
    "verdict": "attention",
    "headline": "sat-001 is PRIMARY and healthy, but 2 things need attention",
    "needs": [
        {
            "level": "attention",
            "sentence": "sat-002 is unhealthy for 2 samples in a row",
            "alarm": None,
        },
        {"level": "attention", "sentence": "sat-003 is not heard, for 4 s", "alarm": None},
    ],
    "barred": None,
    "time_ms": 62_400,
    "age_ms": 40,
    "wall_ms": 0,
    "leader": "sat-002",
    "term": 4,
    "commit_index": 120,
    "applied_index": 120,
    "revision": 9,
    "evaluations": 60,
    "quorum": {"members": 3, "needed": 2, "connected": 3, "present": True},
    "members": ["sat-001", "sat-002", "sat-003"],
    "primary": {"id": "sat-001", "epoch": 1, "active": True, "fence_remaining_s": 0.0},
    "paused": None,
    "braked": False,
    "swarm_mode": True,
    "alarms": [],
    "fleet": {
        "total_slaves": 8,
        "healthy_devices": 6,
        "unhealthy_devices": 1,
        "offline_devices": 1,
        "pinned_devices": 1,
        "ring_distribution": {"canary": 2, "dev": 2, "stage": 2, "prod": 2},
        "braked": False,
    },
    "removed": False,
}


def node(number: int, role: str, *risks: float | None, **changes: Any) -> Json:
    """A node's view; a risk of None is a missed sample."""
    history = [
        {
            "at_ms": k,
            "risk": 1.0 if r is None else r,
            "missed": r is None,
            "reports": 5,
            "cause": "",
        }
        for k, r in enumerate(risks)
    ]
    base: Json = {
        "id": f"sat-{number:03d}",
        "role": role,
        "effective_role": role,
        "epoch": None,
        "known": True,
        "alive": True,
        "joining": False,
        "raft_leader": False,
        "risk": history[-1]["risk"] if history else None,
        "cause": "",
        "unable": "",
        "actions": [],
        "recurrence": 0.0,
        "failure_mode": "HEALTHY",
        "consecutive_unhealthy": 0,
        "history": history,
        "cooldown_remaining_s": 0.0,
        "priority": 100,
        "maintenance": None,
        "lease_remaining_s": None,
        "last_heard_s": 0.1,
        "escalated_by": None,
        "policies": [],
        "address": {"raft": f"127.0.0.1:{7700 + number}", "http": f"127.0.0.1:{8700 + number}"},
    }
    return base | changes


NODES = [
    node(1, "PRIMARY", 0.05, 0.1, 0.05, epoch=1, lease_remaining_s=2.1),
    node(2, "BACKUP", 0.0, 0.3, 0.6, raft_leader=True, consecutive_unhealthy=2),
    node(
        3, "STANDBY", 0.1, None, None,
        alive=False, effective_role=None, cooldown_remaining_s=7.2, consecutive_unhealthy=2,
        failure_mode="INTERMITTENT", cause="memory 91 %",
    ),
]  # fmt: skip

VOTE: Json = {
    "voter": "sat-002",
    "approve": False,
    "grounds": "heard_healthy",
    "policy": "",
    "evidence": [{"node": "sat-001", "reports": 5, "risk": 0.1}],
    "at_ms": 61_000,
}
YES: Json = VOTE | {"voter": "sat-001", "approve": True, "grounds": "observations_agree"}

DECISION: Json = {
    "id": 7,
    "index": 101,
    "at_ms": 61_000,
    "wall_ms": 0,
    "matter": "primary_failed",
    "outcome": "denied",
    "subjects": ["sat-001"],
    "changes": [{"node": "sat-001", "origin": "PRIMARY", "target": "BACKUP"}],
    "reason": "",
    "evidence": {"sat-001": [0.1, 0.45, 0.5]},
    "facts": {},
    "rejected": [{"node": "sat-003", "reason": "not_alive"}],
    "ballots": [VOTE],
    "proposal": 99,
    "actor": "",
    "comment": "",
    "operation": "",
    "sentence": "sat-001 was to become BACKUP after 3 unhealthy samples; sat-002 denied it.",
}
PROPOSAL: Json = {
    "id": 99,
    "rule": "primary_failed",
    "changes": DECISION["changes"],
    "outcome": "open",
    "electorate": ["sat-001", "sat-002", "sat-003"],
    "quorum": 2,
    "opened_at_ms": 61_000,
    "deadline_ms": 63_000,
    "closed_at_ms": None,
    "ballots": [YES, VOTE],
    "sentence": "sat-001 to BACKUP",
}
ROLE_CHANGE: Json = {
    "at_ms": 1_000, "wall_ms": 0, "index": 5, "node": "sat-001", "origin": "STANDBY",
    "target": "PRIMARY", "rule": "seat_empty", "epoch": 1, "proposal": 4, "actor": "",
}  # fmt: skip
ACTION: Json = {
    "id": "a-1", "name": "reboot", "targets": ["sat-001", "sat-002", "sat-003"], "epoch": 1,
    "outcome": "open", "compliance": 1 / 3, "deadline_ms": 90_000,
    "acks": {
        "sat-001": {"success": True, "detail": "", "at_ms": 1},
        "sat-002": {"success": False, "detail": "no hook for reboot", "at_ms": 2},
    },
}  # fmt: skip


def device(number: int, ring: str, **changes: Any) -> Json:
    """A device's view."""
    base: Json = {
        "id": f"slave-{number:03d}",
        "name": "Pixel 8 Pro",
        "os_version": "Android 14",
        "app_version": "1.0.0",
        "capabilities": {"deployment": "true"},
        "labels": {"site": "lab"},
        "ring": ring,
        "ring_since_ms": 12_000,
        "ring_reason": "registered",
        "ring_sentence": "registered",
        "pin": None,
        "policy": None,
        "healthy": True,
        "online": True,
        "status": {
            "battery_level": 85,
            "battery_charging": True,
            "cpu_usage": 45.2,
            "memory_usage": 62.5,
            "disk_usage": 55.0,
            "metrics": {"temperature": 41.5},
        },
        "seen_s": 2.4,
        "session": 1,
        "sequence": 17,
        "served_by": "sat-002",
        "revision": 3,
    }
    return base | changes


PIN: Json = {"actor": "ann@ground", "reason": "the demo", "remaining_s": 90.0}
DEVICES = [
    device(1, "prod", pin=PIN, policy="pixels"),
    device(2, "canary", healthy=False),
    device(3, "dev", online=False, status=None, name="", seen_s=300_000.0),
]
MOVE: Json = {
    "at_ms": 12_000,
    "origin": "stage",
    "target": "canary",
    "reason": "unhealthy",
    "assigned_by": "rebalancer",
    "comment": "",
    "sentence": "it had turned unhealthy",
}
PINNED: Json = MOVE | {
    "reason": "pinned",
    "assigned_by": "ann@ground",
    "comment": "the demo",
    "sentence": "an operator pinned it there",
}
POLICY: Json = {
    "name": "pixels",
    "selector": "model in (Pixel 8, Pixel 9)",
    "rings": ["canary", "dev", "prod"],
    "weights": {"canary": 1, "dev": 3, "prod": 6},
    "devices": 4,
}
OTHER: Json = POLICY | {"name": "old", "selector": "os=Android 9", "weights": None}
RING: Json = {
    "ring": "canary", "devices": 2, "healthy": 1, "unhealthy": 1, "offline": 0, "pinned": 0,
    "quota": 3, "weight": 1, "share": 0.25, "cap": 100,
}  # fmt: skip
RINGS: Json = {
    "items": [
        RING,
        *(RING | {"ring": ring, "cap": None, "quota": 1_250} for ring in ("dev", "stage", "prod")),
    ],
    "health_rule": "battery > 20 and cpu < 80",
    "charging_excuses_battery": True,
    "policies": [POLICY, OTHER],
    "policies_version": "0123456789abcdef",
    "brake": {"since_ms": 60_000, "detail": "7 of 12 devices turned unhealthy at once"},
    "checks": 31,
    "checked_at_ms": 61_000,
}
PLAN: Json = {
    "total": 8,
    "devices": 2,
    "braked": False,
    "moves": [
        {"devices": 2, "origin": "prod", "target": "dev", "reason": "unhealthy",
         "sentence": "it had turned unhealthy"},
    ],
}  # fmt: skip


def listed(*items: Json) -> Json:
    return {"items": list(items), "next": None}


def deployment(number: int, **changes: Any) -> Json:
    """A deployment's view: open, three of twelve done."""
    states = (
        *("queued", "already_installed", "offered", "in_progress", "succeeded"),
        *("failed", "rejected", "timed_out", "canceled", "unreached"),
    )
    base: Json = {
        "deployment": number,
        "task_type": "deployment",
        "parameters": {"note": "the demo"},
        "component": "app",
        "version": "2.0.0",
        "target": "ring prod",
        "priority": 500,
        "require": "battery > 20",
        "allow_downgrade": False,
        "max_in_flight": 500,
        "retries": 2,
        "pace": {"from": 10, "to": 1_000, "factor": 2, "now": 20},
        "state": "open",
        "reason": "",
        "held": None,
        "members": 12,
        "incapable": 1,
        "tallies": dict(zip(states, (6, 0, 1, 2, 2, 1, 0, 0, 0, 0), strict=True)),
        "in_flight": 3,
        "failures": [{"reason": "install", "text": "disk full", "count": 1, "device": "slave-002"}],
        "actor": "ann@ground",
        "comment": "the release",
        "opened_at": 0,
        "age_s": 62.0,
        "deadline_s": 238.0,
        "closed_s": None,
        "rostered": True,
    }
    return base | changes


TASK: Json = {
    "task_id": "17/slave-001/2",
    "deployment": 17,
    "version": "2.0.0",
    "device": "slave-001",
    "ring": "prod",
    "state": "in_progress",
    "attempt": 2,
    "reason": "",
    "phase": "installing",
    "progress": 40,
    "since_s": 3.2,
    "due_s": 11.8,
    "previous": "1.0.0",
    "canceling": False,
    "waits": None,
}
WAITING: Json = TASK | {
    "task_id": "17/slave-002/1", "device": "slave-002", "state": "queued", "attempt": 1,
    "phase": None, "progress": 0, "waits": "the device is offline; for another 4m",
}  # fmt: skip
MADE: Json = {
    "deployment": 16, "members": 12, "already_installed": 0, "newer_installed": 0, "incapable": 1,
}  # fmt: skip
CLOSED: Json = deployment(
    16, state="closed", reason="completed", closed_s=5.0, pace=None, incapable=0,
    tallies=deployment(16)["tallies"]
    | {"queued": 0, "offered": 0, "in_progress": 0, "succeeded": 12, "failed": 0},
    failures=[],
)  # fmt: skip


def gate(name: str, **changes: Any) -> Json:
    base: Json = {
        "name": name, "value": 0.02, "limit": 0.05, "evidence": 0.4, "needed": 20.0,
        "verdict": "passed", "cause": "within_limit", "sentence": f"{name}: 2 % ≤ 5 %",
    }  # fmt: skip
    return base | changes


def stage(name: str, **changes: Any) -> Json:
    """A stage of twelve devices that has passed, but for what changes."""
    states = (*deployment(17)["tallies"],)
    base: Json = {
        "name": name,
        "ring": "canary",
        "share": 1.0,
        "state": "passed",
        "reason": "",
        "since_s": 62.0,
        "exit": None,
        "held": None,
        "deployment": 17,
        "rounds": [],
        "members": 12,
        "tallies": dict.fromkeys(states, 0) | {"succeeded": 11, "failed": 1},
        "gates": [
            gate("failures"),
            gate("coverage", value=1.0, limit=0.5, evidence=None, needed=None),
            gate("health", limit=0.2),
        ],
        "twins": {
            "updated": 11, "bad": 1, "whole": 11, "compared": 11, "twins": 44, "bad_twins": 2,
        },
        "proven": None,
        "promoted": False,
        "turned_bad": [{"device": "slave-003", "ring": "canary"}],
        "failures": [{"reason": "install", "text": "disk full", "count": 1, "device": "slave-002"}],
        "looks": [],
        "series": [],
    }  # fmt: skip
    return base | changes


def rollout(name: str, **changes: Any) -> Json:
    """A rollout that is paused, as its second stage is inconclusive."""
    base: Json = {
        "rollout": name,
        "number": 3,
        "state": "paused",
        "reason": "inconclusive:dev:failures",
        "why": "stage dev is inconclusive: failures",
        "since_s": 12.0,
        "exit": {"becomes": "aborting", "reason": "pause_expired", "in_s": 604_000.0},
        "held": {
            "reason": "paused",
            "until_s": None,
            "sentence": "the rollout is paused",
            "when": "somebody resumes it",
            "holds": [],
        },
        "revision": 9,
        "digest": "5f" * 16,
        "author": "ann@ground",
        "comment": "the new radio",
        "created_at": 1_700_000_000_000,
        "age_s": 182.0,
        "component": "app",
        "versions": ["2.1.0"],
        "priority": 500,
        "on_fail": "rollback",
        "needed": 1,
        "approvals": [{"actor": "ines", "stage": None, "age_s": 170.0}],
        "forced": False,
        "variant": None,
        "members": 24,
        "updated": 22,
        "in_flight": 0,
        "rollback": None,
        "orders": ["resume", "abort", "rollback", "promote"],
        "stages": [
            stage("canary"),
            stage("dev", state="inconclusive", reason="failures", ring="dev"),
            stage("prod", state="pending", ring="prod", since_s=None, members=0, gates=[],
                  twins=None, turned_bad=[], failures=[]),
        ],
        "plan": {"artifact": {"version": "2.1.0"}, "stages": ["canary", "dev", "prod"]},
        "timeline": [MOMENT],
    }  # fmt: skip
    return base | changes


MOMENT: Json = {
    "at_ms": 60_000, "wall_ms": 1_700_000_060_000, "stage": "canary", "state": "passed",
    "reason": "", "actor": "", "decision": 7, "sentence": "stage canary of fw passed: 11 of 12",
}  # fmt: skip
ROLLED_BACK: Json = rollout(
    "fw-2.0", state="rolled_back", why="", reason="", exit=None, held=None, approvals=[], needed=0,
    rollback={"deployment": 19, "back": 3, "pending": 1, "failed": 0, "stranded": 1}, orders=[],
)  # fmt: skip
LAID_DOWN: Json = {"rollout": "fw-2.1", "digest": "5f" * 16, "revision": 1}
ARM: Json = {
    "name": "A", "version": "2.1.0", "share": 0.45, "assigned": 450, "reached": 440,
    "succeeded": 430, "failed": 10, "watched": 430, "turned_bad": 2, "odds": None, "bad_odds": None,
    "device_hours": 71.5, "hazard": {"ratio": None, "low": 0.5, "high": 2.2},
    "metrics": [{"metric": "cpu", "low": 11.0, "median": 20.5, "high": 31.0, "devices": 430}],
}  # fmt: skip
FREEZE: Json = {
    "freeze": "xmas", "rings": ["prod"], "selector": "site=harbour", "actor": "ann@ground",
    "reason": "nobody is there", "age_s": 62.0, "ends_s": 1_200_000.0,
}  # fmt: skip
PREVIEW: Json = {
    "rollout": "fw-2.1",
    "component": "app",
    "versions": ["2.1.0"],
    "digest": "5f" * 16,
    "devices": 12_000,
    "scope": 11_204,
    "incapable": 37,
    "stages": [
        {
            "name": "canary", "ring": "canary", "members": 50, "already": 4, "newer": 2,
            "offline": 11, "first": 1, "soak_s": 60.0, "at_least_s": 300.0,
            "gates": ["failures ≤ 5%", "coverage ≥ 50%", "health, bad ≤ 20%"],
            "power": [
                {"ill": 0.2, "stopped": 0.95, "doubted": 0.02},
                {"ill": 0.1, "stopped": 0.51, "doubted": 0.15},
            ],
            "note": "",
        },
        {
            "name": "follow", "ring": None, "members": None, "already": 0, "newer": 0,
            "offline": 0, "first": 0, "soak_s": 60.0, "at_least_s": 0.0,
            "gates": ["failures ≤ 5%"], "power": [], "note": "whoever comes later",
        },
    ],
    "overlaps": [
        {
            "rollout": "fw-2.0", "state": "running", "priority": 500, "devices": 312,
            "sentence": "fw-2.0 (running, priority 400) waits for it on 312 devices",
        }
    ],
    "freezes": [{"freeze": "xmas", "ends_s": 1_200_000.0, "devices": 5_776}],
    "window": {"hours": "Mon-Fri 01:00-05:00", "timezone": "device", "opens_s": 11_520.0},
    "refusals": ["artifact_blocked: artifact: app 2.1.0 failed health in stage dev of fw-1"],
}  # fmt: skip
ALARMS: list[Json] = [
    {
        "id": "no_primary",
        "name": "no_primary",
        "subject": None,
        "severity": "critical",
        "meaning": "The PRIMARY seat is empty for longer than one evaluation.",
        "since_ms": 58_000,
        "wall_ms": 0,
        "detail": "the PRIMARY seat is empty",
        "acknowledged": None,
    },
    {
        "id": "disk_low@sat-002",
        "name": "disk_low",
        "subject": "sat-002",
        "severity": "warning",
        "meaning": "The disk of a member is nearly full.",
        "since_ms": 12_000,
        "wall_ms": 0,
        "detail": "disk 93 % in use, 1.2 GB free",
        "acknowledged": {"actor": "ann@ground", "at_ms": 20_000, "comment": "ordered"},
    },
]


def link(peer: str, **changes: Any) -> Json:
    """A link from `peer` on which one datagram of 50 is lost."""
    base: Json = {
        "peer": peer,
        "connected": True,
        "streams": 1,
        "stalled": False,
        "in_doubt": False,
        "window_s": 60.0,
        "sent": 400,
        "heard": 392,
        "longest_silence_s": 1.1,
        "received_total": 10_231,
        "lost_total": 209,
        "duplicates_total": 7_712,
        "refused_total": {"forged": 0, "malformed": 0, "replayed": 3, "too_many": 0},
        "address": "127.0.0.1:7702",
        "error": None,
        "since_s": 512.25,
    }
    return base | changes


LINKS: Json = {
    "node": "sat-001",
    "links": [
        link("sat-002", heard=280, in_doubt=True, stalled=True, longest_silence_s=3.04),
        link("sat-003", sent=0, heard=0, in_doubt=True, longest_silence_s=60.0),
    ],
}

TOKEN: Json = {
    "token": "k3jd92ma", "name": "ci", "role": "operator", "state": "good", "ids": "",
    "created_by": "local-admin@sat-001", "created_wall_ms": 1_760_000_000_000,
    "expires_wall_ms": None,
}  # fmt: skip
INVITATION: Json = {
    "invitation": "q7w2e9ab", "state": "used", "node": "", "uses": 1, "taken": ["sat-004"],
    "created_by": "local-admin@sat-001", "created_wall_ms": 1_760_000_000_000,
    "expires_wall_ms": 1_760_003_600_000,
}  # fmt: skip
INVITATIONS: Json = {
    "items": [INVITATION], "next": None, "uid": "0123456789abcdef", "pin": f"sha256:{'5a' * 32}",
}  # fmt: skip
READS: dict[str, Json] = {
    "/v1/alarms": {"items": ALARMS},
    "/v1/cluster": CLUSTER,
    "/v1/nodes": listed(*NODES),
    "/v1/nodes/sat-003": NODES[2],
    "/v1/nodes/sat-003/explain": {
        "node": "sat-003",
        "role": "STANDBY",
        "summary": ["It has been STANDBY since it joined."],
        "why_not_primary": ["It was not heard for 4 s."],
        "decisions": [DECISION],
    },
    "/v1/decisions": listed(DECISION),
    "/v1/proposals": listed(PROPOSAL),
    "/v1/roles": {
        "items": [
            {"node": "sat-001", "role": "PRIMARY", "effective_role": "PRIMARY", "since_ms": 1_000}
        ]
    },
    "/v1/roles/history": listed(ROLE_CHANGE),
    "/v1/actions": listed(ACTION),
    "/v1/links": LINKS,
    "/v1/level": {
        "level": 1,
        "release": "0.1",
        "hold": None,
        "next": 2,
        "obstacles": ["sat-002 runs 0.1 and has levels up to 1"],
        "raises_in_s": None,
        "members": [
            {"node": "sat-001", "release": "0.2", "highest": 2},
            {"node": "sat-002", "release": "0.1", "highest": 1},
            {"node": "sat-003", "release": None, "highest": None},
        ],
    },
    "/v1/config": {"settings": {"evaluation_interval": "1s"}, "profile_hint": "demo"},
    "/v1/devices": listed(*DEVICES),
    "/v1/devices/slave-001": DEVICES[0],
    "/v1/devices/slave-001/history": listed(PINNED, MOVE),
    "/v1/devices/slave-001/explain": {
        "device": "slave-001",
        "ring": "prod",
        "summary": ["pinned by ann@ground for another 90 s: the demo"],
        "history": [MOVE],
    },
    "/v1/devices/slave-001/tasks": listed(TASK),
    "/v1/deployments": listed(deployment(17), CLOSED),
    "/v1/deployments/16": CLOSED,
    "/v1/deployments/16/tasks": listed(),
    "/v1/deployments/17": deployment(17),
    "/v1/deployments/17/tasks": listed(TASK, WAITING),
    "/v1/rollouts": listed(rollout("fw-2.1"), ROLLED_BACK),
    "/v1/rollouts:validate": PREVIEW,
    "/v1/rollouts/fw-2.1": rollout("fw-2.1"),
    "/v1/rollouts/fw-2.1/explain": {"rollout": "fw-2.1", "summary": ["fw-2.1 is paused for 12s"]},
    "/v1/rollouts/fw-2.1/timeline": {"rollout": "fw-2.1", "items": [MOMENT]},
    "/v1/rollouts/fw-2.1/tasks": listed(TASK, WAITING),
    "/v1/rollouts/fw-2.1/report": {
        "rollout": "fw-2.1",
        "state": "running",
        "variants": [
            ARM,
            ARM | {"name": "B", "odds": {"ratio": 1.2, "low": 0.8, "high": None}},
        ],
        "controls": ["none"],
        "sample_ratio": {"evidence": 0.6, "needed": 1_000.0},
        "hazard": {"ratio": 2.0, "low": 1.4, "high": None},
        "conclusions": ["B fails more often than A"],
        "withheld": None,
    },
    "/v1/freezes": listed(FREEZE),
    "/v1/rings": RINGS,
    "/v1/rings/plan": PLAN,
    "/v1/rings/health-rule/plan": {
        "online": 7,
        "to_unhealthy": 5,
        "to_healthy": 1,
        "warnings": ["no device reports temprature; did you mean temperature?"],
    },
    "/v1/rings/policies/plan": {
        "devices": 8,
        "changed": 3,
        "astray": 1,
        "policies": [{"name": "pixels", "devices": 4}, {"name": "beta", "devices": 0}],
        "warnings": ["beta rules no device now"],
    },
    "/v1/tokens": {"items": [TOKEN], "next": None},
    "/v1/tokens/k3jd92ma": TOKEN,
    "/v1/invitations": INVITATIONS,
    "/v1/tls/ca": {"uid": "0" * 16, "pins": ["a" * 64], "issued_by": "a" * 64, "pem": "PEM"},
    "/v1/tls/rotation": {
        "phase": "trusting",
        "second": f"sha256:{'2' * 64}",
        "first": [f"sha256:{'1' * 64}"],
        "members": 3,
        "lagging": [],
        "waits": "",
        "devices_behind": 2,
        "exposed": ["sat-004"],
    },
    "/v1/me": {"actor": "ci#k3jd92ma", "role": "operator", "because": ""},
    "/v1/operations/op-7": {"operation": "op-7", "status": "done", "index": 12},
}


EVENTS = b"".join(
    b"id: %s\nevent: %s\ndata: %s\n\n" % (id_, kind, json.dumps(data).encode())
    for id_, kind, data in (
        (b"40.0", b"vote_counted", {"voter": "sat-002", "approve": True}),
        (b"41.0", b"role_changed", {"index": 41, "at_ms": 1, "wall_ms": 0, "node": "sat-001"}),
        (b"42.0", b"decided", {"index": 42, "at_ms": 61_000, "wall_ms": 0} | DECISION),
    )
)


class CannedNode:
    """Answers reads from `reads`, writes with `answer`, and keeps the requests it saw."""

    def __init__(self) -> None:
        self.reads = copy.deepcopy(READS)
        self.local: dict[int, dict[str, Any]] = {}
        """Port → what only the node there says; a node without any does not answer there."""
        self.raw: dict[str, bytes] = {"/v1/events": EVENTS}
        """Path → bytes that are answered there."""
        self.answer: httpx.Response | Exception | None = None
        self.answer_to_writes: httpx.Response | Exception | None = None
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answer or (self.answer_to_writes if request.method != "GET" else None)
        if isinstance(answer, Exception):
            raise answer
        if answer is not None:
            return answer
        if request.method != "GET" and not request.url.path.endswith(("/plan", ":validate")):
            key = request.headers["Idempotency-Key"]
            if request.url.path == "/v1/rollouts":
                return httpx.Response(201, json={"operation": key, **LAID_DOWN})
            if request.url.path == "/v1/tasks":
                return httpx.Response(201, json={"operation": key, **MADE})
            return httpx.Response(200, json={"operation": key, "status": "done", "index": 42})
        if request.url.path in self.raw:
            return httpx.Response(200, content=self.raw[request.url.path])
        body = self.reads.get(request.url.path)
        if body is None and request.url.port in self.local:
            body = self.local[request.url.port].get(request.url.path)
            if body is None:
                raise httpx.ConnectError("refused") from ConnectionRefusedError(111, "refused")
        if body is None:
            return problem(404, f"no such path: {request.url.path}")
        return httpx.Response(200, json=body)

    @property
    def body(self) -> Any:
        """The JSON of the last request."""
        return json.loads(self.requests[-1].content)


def problem(status: int, detail: str, rule: str | None = None) -> httpx.Response:
    body: Json = {"type": "urn:stationkeep:problem:x", "title": "No", "status": status}
    body |= {"detail": detail} | ({} if rule is None else {"rule": rule})
    return httpx.Response(status, json=body)
