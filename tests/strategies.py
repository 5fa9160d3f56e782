"""Hypothesis strategies for what enters the log, extremes of number and text included."""

from typing import Any

import msgspec
import numpy as np
from hypothesis import strategies as st

from stationkeep.cluster import commands as c
from stationkeep.cluster.alarms import ALARMS
from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.deployments.deployment import Limits, Pace, Target
from stationkeep.cluster.devices.policies import RingPolicy, version_of
from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.devices.status import Condition, HealthRule, Reading
from stationkeep.cluster.progression.advance import Due
from stationkeep.cluster.rollouts.gates import Gates
from stationkeep.cluster.rollouts.plan import Checks, OnFail, Plan, StagePlan, Variant
from stationkeep.cluster.settings import PPM, PROFILES, Settings, Stored, choices_of, merge
from stationkeep.cluster.settings import SettingsError as _SettingsError
from stationkeep.cluster.state.state import Access
from stationkeep.cluster.transitions import Role, Rule

NODES = ("sat-001", "sat-002", "sat-003", "sat-004", "sat-005")

wire_integers = st.sampled_from([0, 1, -1, 2**53, 2**63 - 1, -(2**63), 2**64 - 1]) | st.integers(
    -(2**63), 2**64 - 1
)
"""Every integer that msgpack can carry."""
small = st.integers(0, 6)
texts = st.text(max_size=12) | st.sampled_from(["", "\x00", "é" * 40, "𝕊\u202e", "x" * 2_000])
nodes = st.sampled_from(NODES) | texts
members = st.sampled_from(NODES)
risks = st.integers(0, PPM) | wire_integers
facts = st.dictionaries(texts, wire_integers | texts, max_size=3)
rejected = st.lists(st.tuples(nodes, texts), max_size=3).map(tuple)


def tuples_of(element: st.SearchStrategy[Any], most: int = 6) -> st.SearchStrategy[Any]:
    """Tuples of up to `most` elements."""
    return st.lists(element, max_size=most).map(tuple)


@st.composite
def valid_settings(draw: st.DrawFn) -> Settings:
    """A set that keeps every relation: a profile with some fields changed, where that may be."""
    settings = PROFILES[draw(st.sampled_from(sorted(PROFILES)))]
    for _ in range(draw(st.integers(0, 4))):
        field = draw(st.sampled_from(Settings.__struct_fields__))
        old = getattr(settings, field)
        if isinstance(old, bool):
            new: Stored = draw(st.booleans())
        elif isinstance(old, str):
            new = draw(st.sampled_from(choices_of(field)))
        else:
            new = draw(st.integers(old // 2, 2 * old + 1) | st.integers(0, PPM))
        try:
            settings = merge(settings, {field: new})
        except _SettingsError:
            continue
    return settings


def wild_settings() -> st.SearchStrategy[Settings]:
    """Any integers at all in a settings record, as a hostile or broken proposer might send."""
    fields = {name: _wild(default) for name, default in msgspec.structs.asdict(Settings()).items()}
    return st.builds(Settings, **fields)


def _wild(default: Stored) -> st.SearchStrategy[Stored]:
    if isinstance(default, bool):
        return st.booleans()
    anything = texts if isinstance(default, str) else wire_integers
    return anything | st.just(default)


def changes() -> st.SearchStrategy[c.Change]:
    return st.builds(c.Change, nodes, st.sampled_from(Role), st.sampled_from(Role))


def policies() -> st.SearchStrategy[c.Policy]:
    return st.builds(
        c.Policy,
        texts,
        st.sampled_from(["safety", "performance", "availability"]) | texts,
        wire_integers,
        tuples_of(st.sampled_from(["*->PRIMARY", "sat-002:*->*"]) | texts, 3),
        st.none() | wire_integers,
        wire_integers,
    )


def _motions() -> st.SearchStrategy[c.Motion]:
    evidence = st.dictionaries(nodes, tuples_of(wire_integers), max_size=3)
    return st.builds(
        c.Motion,
        st.sampled_from(Rule),
        tuples_of(changes(), 3),
        small | wire_integers,
        evidence,
        facts,
        rejected,
    )


_complaints = st.builds(c.Complaint, st.sampled_from(sorted(ALARMS)) | texts, texts)
_levels = st.integers(1, 3) | st.just(255)
_releases = st.sampled_from(["0.1", "2.0rc1"]) | texts
_samples = st.builds(
    c.Measured, nodes, small | wire_integers, risks, texts, wire_integers,
    st.none() | tuples_of(_complaints, 3), texts, _releases, small | wire_integers,
)  # fmt: skip
_echoes = st.builds(
    c.Echo, nodes, small | wire_integers, small | wire_integers, small | wire_integers
)
_held = st.builds(c.Held, st.sampled_from(Rule), nodes, texts, facts, rejected)
_specs = st.builds(c.MemberSpec, nodes, texts, texts)
_newcomers = _specs | st.builds(
    c.MemberSpec, nodes, st.sampled_from(["h:1", "h:2"]), st.sampled_from(["h:3", "h:4"])
)
_observations = st.builds(c.Observation, nodes, wire_integers, risks)
_settings_fields = st.sampled_from(Settings.__struct_fields__) | texts

# The fleet: a few ids and rows, so that commands meet the same devices again and again.

devices = st.sampled_from([f"device-{n}" for n in range(6)]) | texts
_metrics = st.dictionaries(
    st.sampled_from(["temperature", "network"]) | texts, small | wire_integers, max_size=2
)
_figures = st.integers(0, 100) | wire_integers
readings = st.builds(
    Reading, _figures, st.booleans(), st.integers(0, 10_000) | wire_integers,
    st.integers(0, 10_000), st.integers(0, 10_000), _metrics,
)  # fmt: skip
_labels = st.dictionaries(
    st.sampled_from(["model", "site"]) | texts, st.sampled_from(["a", "b"]) | texts, max_size=2
)
_capabilities = st.just({"deployment": "true"}) | _labels
_versions = st.sampled_from(["1.0.0", "2.0.0", "blue"]) | texts
registrations = st.builds(
    c.Registration, devices, texts, st.sampled_from(["Android 14", "iOS 17"]) | texts, _versions,
    _capabilities, _labels, small | wire_integers, small | wire_integers, st.none() | readings,
    st.booleans(), st.sampled_from([b"", b"", b"\1" * 32]) | st.binary(max_size=40),
    st.sampled_from(["", "", "aaaaaaaa"]),
)  # fmt: skip
conditions = st.builds(
    Condition,
    st.sampled_from(["battery", "cpu", "memory", "disk", "temperature"]) | texts,
    st.sampled_from(["<", ">"]) | texts,
    _figures,
)
_four = st.tuples(*[small | wire_integers] * 4) | st.just((5, 10, 25, 60))
ring_policies = st.builds(
    RingPolicy,
    texts,
    st.sampled_from(["model=a", "model in (a, b), os=Android 14", "site!=b"]) | texts,
    tuples_of(st.sampled_from(Ring), 4),
    st.none() | _four,
)


def column(dtype: str, values: st.SearchStrategy[int], rows: int) -> st.SearchStrategy[bytes]:
    """A column of `rows` values as the commands carry it."""
    drawn = st.lists(values, min_size=rows, max_size=rows)
    return drawn.map(lambda items: np.array(items, dtype).tobytes())


@st.composite
def columns_of(draw: st.DrawFn, *columns: tuple[str, st.SearchStrategy[int]]) -> list[bytes]:
    """Columns about a few distinct rows, the rows first; now and then one of them is damaged."""
    rows = sorted(draw(st.sets(st.integers(0, 6) | st.just(2**32 - 1), max_size=6)))
    drawn = [np.array(rows, "<u4").tobytes()]
    drawn += [draw(column(dtype, values, len(rows))) for dtype, values in columns]
    if draw(st.integers(0, 9)) == 0:
        drawn[draw(st.integers(0, len(drawn) - 1))] = draw(st.binary(max_size=24))
    return drawn


_u32 = st.integers(0, 6) | st.just(2**32 - 1)
_u8 = st.integers(0, 8) | st.just(255)
_report_columns = columns_of(
    ("<u4", _u32), ("<u4", st.integers(0, 6)), ("<u4", st.integers(0, 20)),
    ("u1", st.integers(0, 100)), ("u1", st.integers(0, 1)), ("<u2", st.integers(0, 10_000)),
    ("<u2", st.integers(0, 10_000)), ("<u2", st.integers(0, 10_000)), ("u1", st.integers(0, 255)),
    ("u1", st.integers(0, 8)),
)  # fmt: skip
_metric_columns = st.builds(
    c.MetricColumn,
    st.sampled_from(["temperature", "network"]) | texts,
    st.sets(st.integers(0, 6), max_size=2).map(lambda s: np.array(sorted(s), "<u4").tobytes()),
    st.lists(st.integers(-(2**31), 2**31 - 1), max_size=2).map(
        lambda values: np.array(values, "<i4").tobytes()
    ),
)


@st.composite
def _reports(draw: st.DrawFn) -> c.ReportDevices:
    metrics = draw(tuples_of(_metric_columns, 2))
    return c.ReportDevices(draw(nodes), *draw(_report_columns), metrics)


# Deployments: few numbers and attempts, for the same reason.

_targets = st.builds(Target, everyone=st.just(True)) | st.builds(
    Target,
    st.none() | st.sampled_from(Ring),
    st.sampled_from(["", "model=a", "id in (device-1, device-2)", "ring!=prod, health=healthy"])
    | texts,
    tuples_of(devices, 3),
    st.booleans(),
)
_artifacts = st.builds(Artifact, _versions) | st.builds(
    Artifact,
    _versions,
    st.sampled_from(["app", "os"]) | texts,
    st.sampled_from(["", "https://h/f", "http://127.0.0.1/f", "http://h/f", "https://[h/f"])
    | texts,
    st.sampled_from(["", "0" * 64, "f" * 64]) | texts,
    small | wire_integers,
    texts,
    texts,
    texts,
)
_durations = st.none() | st.integers(0, 10**6) | wire_integers
_limits = st.builds(
    Limits,
    st.none() | small | wire_integers,
    st.none() | st.builds(Pace, small | wire_integers, small | wire_integers, small),
    _durations,
    st.none() | small | wire_integers,
)
_numbers = st.integers(0, 4) | wire_integers
_task_columns = columns_of(
    ("<u4", _u32), ("<u4", st.integers(0, 4)), ("u1", st.integers(0, 3)), ("u1", st.integers(0, 5)),
    ("u1", st.integers(0, 5)), ("u1", st.integers(0, 100)), ("u1", st.integers(0, 11)),
)  # fmt: skip
_notes = st.builds(c.TaskNote, small | wire_integers, texts, small | wire_integers)


@st.composite
def _task_reports(draw: st.DrawFn) -> c.ReportTasks:
    return c.ReportTasks(draw(nodes), *draw(_task_columns), draw(tuples_of(_notes, 2)))


def _batches(kind: type[c.OfferTasks | c.ExpireTasks]) -> st.SearchStrategy[Any]:
    return st.builds(
        lambda number, drawn: kind(number, *drawn),
        _numbers,
        columns_of(("u1", st.integers(0, 3))),
    )


_COMMANDS: dict[type[c.Command], st.SearchStrategy[Any]] = {
    c.FoundCluster: st.builds(
        c.FoundCluster,
        texts,
        tuples_of(_specs),
        valid_settings() | wild_settings(),
        _levels,
        _releases,
        st.just("0123456789abcdef") | texts,
    ),
    c.RecordEvaluation: st.builds(
        c.RecordEvaluation, small | wire_integers, tuples_of(_samples), tuples_of(_echoes)
    ),
    c.RenewLeases: st.builds(c.RenewLeases, tuples_of(_echoes)),
    c.AdoptPlan: st.builds(
        c.AdoptPlan, small | wire_integers, tuples_of(_motions(), 3), tuples_of(_held, 3)
    ),
    c.CastVote: st.builds(
        c.CastVote,
        small | wire_integers,
        nodes,
        st.booleans(),
        texts,
        texts,
        tuples_of(_observations),
    ),
    c.Acknowledge: st.builds(
        c.Acknowledge, small.map(lambda n: f"act-{n}") | texts, nodes, st.booleans(), texts
    ),
    c.AdvanceTime: st.builds(c.AdvanceTime),
    c.Barrier: st.builds(c.Barrier),
    c.Switchover: st.builds(c.Switchover, st.none() | nodes),
    c.Failover: st.builds(c.Failover, nodes, st.booleans()),
    c.Pause: st.builds(c.Pause, st.integers(0, 10**6) | wire_integers),
    c.Resume: st.builds(c.Resume),
    c.SetMaintenance: st.builds(c.SetMaintenance, nodes, st.integers(0, 10**6) | wire_integers),
    c.SetPriority: st.builds(c.SetPriority, nodes, small | wire_integers),
    c.PutPolicy: st.builds(
        c.PutPolicy,
        nodes,
        st.sampled_from(["a", "b"]) | texts,
        st.sampled_from(["safety", "performance", "availability"]) | texts,
        risks,
        tuples_of(st.sampled_from(["*->PRIMARY", "sat-002:*->*"]) | texts, 3),
        small | wire_integers,
    ),
    c.RemovePolicy: st.builds(c.RemovePolicy, nodes, st.sampled_from(["a", "b"]) | texts),
    c.ChangeSettings: st.builds(
        c.ChangeSettings,
        st.dictionaries(
            _settings_fields, st.booleans() | wire_integers | small | texts, max_size=3
        ),
    ),
    c.AddMember: st.builds(c.AddMember, _newcomers),
    c.RemoveMember: st.builds(c.RemoveMember, nodes, st.booleans()),
    c.MoveMember: st.builds(
        c.MoveMember,
        st.builds(
            c.MemberSpec,
            nodes,
            st.sampled_from(["127.0.0.1:1", "127.0.0.1:2"]) | texts,
            st.sampled_from(["h:3", "h:4"]) | texts,
        ),
    ),
    c.RaiseLevel: st.builds(c.RaiseLevel, _levels, _releases),
    c.RecordMembers: st.builds(c.RecordMembers, tuples_of(nodes), tuples_of(nodes)),
    c.RegisterDevices: st.builds(c.RegisterDevices, nodes, tuples_of(registrations, 4)),
    c.ReportDevices: _reports(),
    c.MarkOffline: columns_of(("<u4", _u32)).map(lambda drawn: c.MarkOffline(*drawn)),
    c.RecordRebalance: st.builds(
        lambda after, more, drawn: c.RecordRebalance(after, more, *drawn),
        small | wire_integers,
        st.booleans(),
        columns_of(("<u4", _u32), ("u1", _u8), ("u1", _u8)),
    ),
    c.AssignRing: st.builds(
        c.AssignRing, devices, st.sampled_from(Ring), st.integers(0, 10**6) | wire_integers
    ),
    c.ReleaseRing: st.builds(c.ReleaseRing, devices),
    c.RemoveDevice: st.builds(c.RemoveDevice, devices),
    c.RevokeCredential: st.builds(c.RevokeCredential, devices),
    c.ResetCredential: st.builds(c.ResetCredential, devices),
    c.SetRingShares: st.builds(c.SetRingShares, _four, _four),
    c.SetHealthRule: st.builds(c.SetHealthRule, tuples_of(conditions, 3), st.booleans()),
    c.SetRingPolicies: st.builds(
        c.SetRingPolicies,
        tuples_of(ring_policies, 3),
        st.sampled_from(["", version_of(()), "0" * 16]),
    ),
    c.ReleaseBrake: st.builds(c.ReleaseBrake),
    c.RequestRebalance: st.builds(c.RequestRebalance),
    c.AcknowledgeAlarm: st.builds(
        c.AcknowledgeAlarm, st.sampled_from([*ALARMS, "disk_low@sat-002"]) | texts
    ),
    c.RecordDelivery: st.builds(
        c.RecordDelivery, st.sampled_from(["pager", "chat"]) | texts, small | wire_integers
    ),
    c.CreateDeployment: st.builds(
        c.CreateDeployment,
        _targets,
        st.just("deployment") | texts,
        st.dictionaries(texts, texts, max_size=2),
        st.none() | _artifacts,
        st.sampled_from([0, 500, 1_000]) | wire_integers,
        _limits,
        st.none() | st.builds(HealthRule, tuples_of(conditions, 2), st.booleans()),
        st.booleans(),
    ),
    c.CancelDeployment: st.builds(c.CancelDeployment, _numbers),
    c.RetryTasks: st.builds(c.RetryTasks, _numbers, tuples_of(devices, 3)),
    c.OfferTasks: _batches(c.OfferTasks),
    c.ExpireTasks: _batches(c.ExpireTasks),
    c.ReportTasks: _task_reports(),
    c.AnnounceActions: st.builds(
        c.AnnounceActions, nodes, tuples_of(st.sampled_from(["beacon", "role_change"]) | texts, 3)
    ),
    c.RunAction: st.builds(
        c.RunAction,
        st.sampled_from(["beacon", "role_change"]) | texts,
        tuples_of(nodes, 3),
        st.dictionaries(texts, texts, max_size=3),
        st.integers(0, 10**6) | wire_integers,
    ),
}


_OF_THE_FLEET = (
    c.RegisterDevices, c.ReportDevices, c.MarkOffline, c.RecordRebalance, c.AssignRing,
    c.ReleaseRing, c.RemoveDevice, c.RevokeCredential, c.ResetCredential, c.SetRingShares,
    c.SetHealthRule, c.SetRingPolicies, c.ReleaseBrake, c.RequestRebalance,
)  # fmt: skip


def fleet_commands() -> st.SearchStrategy[Any]:
    """Any command about devices, and settings and time beside them."""
    kinds = (*_OF_THE_FLEET, c.ChangeSettings, c.AdvanceTime)
    return st.one_of(*[_COMMANDS[kind] for kind in kinds])


_rollouts = st.sampled_from(["fw", "other"]) | texts
_gates = st.builds(
    Gates,
    max_failures=st.sampled_from([0, 50_000]) | wire_integers,
    min_coverage=st.sampled_from([0, 500_000]) | wire_integers,
    min_devices=st.just(1) | wire_integers,
)
_checks = st.builds(
    Checks, _gates, st.booleans(), st.none(), st.sampled_from(["", "https://ci/x"]) | texts,
    st.integers(0, 1),
)  # fmt: skip
_stage_plans = st.builds(
    StagePlan, st.sampled_from("abc") | texts, st.none() | st.sampled_from(Ring),
    st.sampled_from([PPM, 500_000]) | wire_integers, st.none() | st.just(60_000) | wire_integers,
    st.just(Limits()) | st.just(Limits(3, first=0)) | _limits, st.none() | _checks,
)  # fmt: skip
_variants = st.builds(Variant, st.sampled_from("ABC") | texts, small | wire_integers, _artifacts)
plans = st.just(Plan(Artifact("2.0.0"), stages=(StagePlan("all"),))) | st.builds(
    Plan, st.just(Artifact("2.0.0")) | st.none() | _artifacts,
    st.just(()) | tuples_of(_variants, 3), st.sampled_from(["", "os=Android 14"]) | texts,
    st.just(()) | tuples_of(devices, 3), st.just((StagePlan("all"),)) | tuples_of(_stage_plans, 3),
    st.just(Checks()) | _checks, st.just(Limits(first=0)) | _limits, st.sampled_from(OnFail),
    st.sampled_from([500, 900]) | wire_integers, st.none(), st.booleans(), st.integers(0, 2),
    st.booleans(), st.booleans(), st.none() | _artifacts,
)  # fmt: skip
_revisions = st.none() | small | wire_integers
_digests = st.sampled_from([Plan(Artifact("2.0.0"), stages=(StagePlan("all"),)).digest]) | texts
_COMMANDS |= {
    c.CreateRollout: st.builds(c.CreateRollout, _rollouts, plans, st.booleans()),
    c.StartRollout: st.builds(c.StartRollout, _rollouts, _revisions, st.booleans()),
    c.ApproveRollout: st.builds(
        c.ApproveRollout, _rollouts, _revisions, _digests, st.just("") | st.just("all") | texts
    ),
    c.PauseRollout: st.builds(c.PauseRollout, _rollouts, _revisions, small | wire_integers),
    c.ResumeRollout: st.builds(c.ResumeRollout, _rollouts, _revisions),
    c.PromoteRollout: st.builds(
        c.PromoteRollout, _rollouts, _revisions, st.just("") | st.just("A") | texts, st.booleans()
    ),
    c.AbortRollout: st.builds(c.AbortRollout, _rollouts, _revisions),
    c.RollBackRollout: st.builds(c.RollBackRollout, _rollouts, _revisions),
    c.SetFreeze: st.builds(
        c.SetFreeze, texts | st.just("xmas"), st.just(60_000) | wire_integers,
        tuples_of(st.sampled_from(Ring), 2), st.just("") | st.just("os=Android 14") | texts,
    ),
    c.LiftFreeze: st.builds(c.LiftFreeze, texts | st.just("xmas")),
    c.UnblockArtifact: st.builds(c.UnblockArtifact, texts | st.just("app"), _versions),
    c.OpenStage: st.builds(c.OpenStage, _rollouts, small | wire_integers, small | wire_integers),
    c.AdvanceRollout: st.builds(
        c.AdvanceRollout, _rollouts, small | wire_integers, st.sampled_from(Due) | texts
    ),
    c.CheckRollouts: st.builds(c.CheckRollouts, small | wire_integers),
    c.RecordGate: st.builds(
        c.RecordGate, _rollouts, small | wire_integers, st.just("all") | texts, st.booleans(), texts
    ),
}  # fmt: skip
_token_ids = st.sampled_from(["aaaaaaaa", "bbbbbbbb", "cccccccc"]) | texts
_hashes = st.binary(min_size=32, max_size=32) | st.binary()
_pins = st.sampled_from([f"sha256:{digit * 64}" for digit in "abc"]) | texts
_COMMANDS |= {
    c.CreateToken: st.builds(
        c.CreateToken, _token_ids, st.sampled_from(["ann", "ci"]) | texts,
        st.sampled_from(Access) | texts, _hashes,
        st.sampled_from([0, 60_000, 2**40]) | wire_integers,
        st.sampled_from(["", "", "*", "sensor-*"]) | texts, st.just("") | _token_ids,
        st.just(0) | wire_integers, st.sampled_from([0, 0, 2]) | wire_integers, _labels,
    ),
    c.RevokeToken: st.builds(c.RevokeToken, _token_ids),
    c.NoteAccess: st.builds(
        c.NoteAccess,
        st.lists(
            st.builds(c.Use, _token_ids, st.sampled_from(["192.0.2.1", "2001:db8::/64"]) | texts),
            max_size=3,
        ).map(tuple),
        st.lists(st.just("192.0.2.9") | texts, max_size=1).map(tuple),
    ),
    c.RevokeCertificate: st.builds(
        c.RevokeCertificate, st.sampled_from(["1", "ab12", "f" * 40, "0a"]) | texts
    ),
    c.TrustCa: st.builds(
        c.TrustCa, _pins, st.just("PEM") | texts, st.lists(_pins, max_size=2).map(tuple)
    ),
    c.FollowCa: st.builds(
        c.FollowCa, nodes, _pins, st.sampled_from(["", "trusts", "shows"]) | texts
    ),
    c.SwitchCa: st.builds(c.SwitchCa, st.just("") | _pins, st.just(10) | wire_integers),
    c.AbortCa: st.builds(c.AbortCa, st.just("") | _pins),
    c.Invite: st.builds(
        c.Invite, _token_ids, _hashes, st.integers(1, 3) | wire_integers,
        st.just(3_600_000) | wire_integers, st.sampled_from(["", "", "f"]) | texts,
    ),
    c.AcceptInvitation: st.builds(
        c.AcceptInvitation, _token_ids, _newcomers, _hashes, st.just(1) | wire_integers,
        st.just(2) | wire_integers,
    ),
    c.RevokeInvitation: st.builds(c.RevokeInvitation, _token_ids),
}  # fmt: skip
_OF_ROLLOUTS = (
    c.CreateRollout, c.StartRollout, c.ApproveRollout, c.PauseRollout, c.ResumeRollout,
    c.PromoteRollout, c.AbortRollout, c.RollBackRollout, c.SetFreeze, c.LiftFreeze,
    c.UnblockArtifact, c.OpenStage, c.AdvanceRollout, c.CheckRollouts, c.RecordGate,
)  # fmt: skip


def rollout_commands() -> st.SearchStrategy[Any]:
    """Any command about rollouts, and what else changes them."""
    kinds = (
        *_OF_ROLLOUTS, c.OfferTasks, c.ReportTasks, c.ExpireTasks, c.RegisterDevices,
        c.RemoveDevice, c.AdvanceTime, c.Pause, c.Resume,
    )  # fmt: skip
    return st.one_of(*[_COMMANDS[kind] for kind in kinds])


_OF_DEPLOYMENTS = (
    c.CreateDeployment, c.CancelDeployment, c.RetryTasks, c.OfferTasks, c.ExpireTasks,
    c.ReportTasks,
)  # fmt: skip


def delivery_commands() -> st.SearchStrategy[Any]:
    """Any command about deployments, and what else changes their tasks."""
    kinds = (*_OF_DEPLOYMENTS, c.RegisterDevices, c.RemoveDevice, c.MarkOffline, c.AdvanceTime)
    return st.one_of(*[_COMMANDS[kind] for kind in kinds])


def commands() -> st.SearchStrategy[Any]:
    """Any command of the union, well-formed as bytes, not necessarily sensible."""
    return st.one_of(*_COMMANDS.values())


def covered_commands() -> set[type[c.Command]]:
    """The commands that `commands()` can draw."""
    return set(_COMMANDS)


def drafts() -> st.SearchStrategy[c.Draft]:
    """Drafts with and without keys, from few enough keys that some repeat."""
    keys = st.sampled_from(["", "", "k1", "k2"]) | texts
    return st.builds(c.Draft, commands(), keys, texts, texts, texts, texts)


def entries() -> st.SearchStrategy[c.Entry]:
    """Stamped drafts; times may jump and may even go back."""
    times = st.integers(0, 10**6) | st.sampled_from([0, (1 << 53) - 1])
    return st.builds(c.Entry, times, times, drafts())
