"""Hypothesis strategies for what enters the log, extremes of number and text included."""

from typing import Any

import msgspec
from hypothesis import strategies as st

from cluster import commands as c
from cluster.roles.transitions import Role, Rule
from cluster.settings import PPM, PROFILES, Settings, merge
from cluster.settings import SettingsError as _SettingsError

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
            new: int = draw(st.booleans())
        else:
            new = draw(st.integers(old // 2, 2 * old + 1) | st.integers(0, PPM))
        try:
            settings = merge(settings, {field: new})
        except _SettingsError:
            continue
    return settings


def wild_settings() -> st.SearchStrategy[Settings]:
    """Any integers at all in a settings record, as a hostile or broken proposer might send."""
    fields = {
        name: st.booleans() if name == "swarm_mode" else wire_integers | st.just(default)
        for name, default in msgspec.structs.asdict(Settings()).items()
    }
    return st.builds(Settings, **fields)


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


_samples = st.builds(c.Measured, nodes, small | wire_integers, risks, texts, wire_integers)
_echoes = st.builds(
    c.Echo, nodes, small | wire_integers, small | wire_integers, small | wire_integers
)
_held = st.builds(c.Held, st.sampled_from(Rule), nodes, texts, facts, rejected)
_specs = st.builds(c.MemberSpec, nodes, texts, texts)
_observations = st.builds(c.Observation, nodes, wire_integers, risks)
_settings_fields = st.sampled_from(Settings.__struct_fields__) | texts

_COMMANDS: dict[type[c.Command], st.SearchStrategy[Any]] = {
    c.FoundCluster: st.builds(
        c.FoundCluster, texts, tuples_of(_specs), valid_settings() | wild_settings()
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
        st.dictionaries(_settings_fields, st.booleans() | wire_integers | small, max_size=3),
    ),
    c.AddMember: st.builds(
        c.AddMember,
        _specs
        | st.builds(
            c.MemberSpec, nodes, st.sampled_from(["h:1", "h:2"]), st.sampled_from(["h:3", "h:4"])
        ),
    ),
    c.RemoveMember: st.builds(c.RemoveMember, nodes),
    c.RecordMembers: st.builds(c.RecordMembers, tuples_of(nodes), tuples_of(nodes)),
    c.RunAction: st.builds(
        c.RunAction,
        st.sampled_from(["beacon", "role_change"]) | texts,
        tuples_of(nodes, 3),
        st.dictionaries(texts, texts, max_size=3),
        st.integers(0, 10**6) | wire_integers,
    ),
}


def commands() -> st.SearchStrategy[Any]:
    """Any command of the union, well-formed as bytes, not necessarily sensible."""
    return st.one_of(*_COMMANDS.values())


def covered_commands() -> set[type[c.Command]]:
    """The commands that `commands()` can draw."""
    return set(_COMMANDS)


def drafts() -> st.SearchStrategy[c.Draft]:
    """Drafts with and without keys, from few enough keys that some repeat."""
    keys = st.sampled_from(["", "", "k1", "k2"]) | texts
    return st.builds(c.Draft, commands(), keys, texts, texts)


def entries() -> st.SearchStrategy[c.Entry]:
    """Stamped drafts; times may jump and may even go back."""
    times = st.integers(0, 10**6) | st.sampled_from([0, (1 << 53) - 1])
    return st.builds(c.Entry, times, times, drafts())
