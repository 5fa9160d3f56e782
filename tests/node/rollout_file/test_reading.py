"""What people write of a rollout: every key, and every fault with its place, value and rule."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.deployments.deployment import Limits, Pace
from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.devices.status import Condition, HealthRule
from stationkeep.cluster.rollouts.gates import Gates
from stationkeep.cluster.rollouts.plan import (
    URGENT_STAGES,
    Checks,
    OnFail,
    Plan,
    StagePlan,
    Variant,
    plan_faults,
)
from stationkeep.node.config.yaml_document import MAX_ERRORS, ConfigError
from stationkeep.node.rollout_file.document import MAX_FILE_BYTES, load
from stationkeep.node.rollout_file.reading import PLAN_KEYS, parse
from stationkeep.node.rollout_file.writing import plan_json

HASH = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
FULL = f"""\
rollout: fw-2.1
comment: the one with the new radio
artifact:
  component: app
  version: 2.1.0
  url: https://updates.example/fw-2.1.0.bin
  sha256: {HASH}
  size: 18874368
scope: "model in (Pixel 8, Pixel 9), os=Android 14"
devices: [phone-1, phone-2]
require: "battery > 30"
allow_downgrade: true
priority: 700
approvals: 1
allow_self_approval: true
pace: {{from: 20, to: 2000, factor: 3}}
max_in_flight: 400
deadline: 2h
retries: 3
first: 2
on_fail: pause
fallback: {{version: 1.9.4}}
follow: 7d
rest: false
overrides: [xmas]
window: "Mon-Fri 01:00-05:00, Sat 00:00-24:00"
timezone: device
parameters: {{channel: beta}}
gates:
  failures: {{max: 0.04}}
  coverage: {{min: 60%}}
  health: {{confidence: 0.99, require: "temperature < 70", margin: 2, max_bad: 10%, min_devices: 3}}
stages:
  - canary
  - {{ring: dev, soak: 5m}}
  - {{ring: stage, gates: {{webhook: "https://ci.example/smoke"}}}}
  - {{name: prod-10, ring: prod, share: 10%, soak: 1h, gates: {{approval: 1, health: false}}}}
  - {{name: everybody, ring: all, max_in_flight: 9, first: 0}}
"""
GATES = Gates(40_000, 600_000, 990_000, 100_000, 3, 2_000_000)
COOL = HealthRule((Condition("temperature", "<", 70_000),))
LEAST = "rollout: fw\nartifact: {version: 2.1.0}\n"


def faults(text: str | bytes) -> list[ConfigError]:
    content = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(ConfigError) as caught:
        load("rollout.yaml", content)
    return [caught.value, *caught.value.others]


def test_every_key_of_a_plan_can_be_written() -> None:
    found = load("rollout.yaml", FULL.encode())
    assert (found.rollout, found.comment) == ("fw-2.1", "the one with the new radio")
    checks = Checks(GATES, require=COOL)
    assert found.plan == Plan(
        Artifact("2.1.0", "app", "https://updates.example/fw-2.1.0.bin", HASH, 18_874_368),
        scope="model in (Pixel 8, Pixel 9), os=Android 14",
        devices=("phone-1", "phone-2"),
        stages=(
            StagePlan("canary", Ring.CANARY),
            StagePlan("dev", Ring.DEV, soak=300_000),
            StagePlan(
                "stage", Ring.STAGE, checks=Checks(GATES, True, COOL, "https://ci.example/smoke")
            ),
            StagePlan(
                "prod-10", Ring.PROD, 100_000, 3_600_000, checks=Checks(GATES, False, COOL, "", 1)
            ),
            StagePlan("everybody", limits=Limits(9, first=0)),
        ),
        checks=checks,
        limits=Limits(400, Pace(20, 2_000, 3), 7_200_000, 3, 2),
        on_fail=OnFail.PAUSE,
        priority=700,
        require=HealthRule((Condition("battery", ">", 30),), charging_excuses_battery=True),
        allow_downgrade=True,
        approvals=1,
        allow_self_approval=True,
        rest=False,
        fallback=Artifact("1.9.4"),
        parameters={"channel": "beta"},
        follow=7 * 86_400_000,
        overrides=("xmas",),
        window="Mon-Fri 01:00-05:00, Sat 00:00-24:00",
        timezone="device",
    )
    written = plan_json(found.plan)
    assert set(written) == set(PLAN_KEYS) - {"variants", "emergency"}
    assert parse(written) == found.plan


def test_an_emergency_is_one_stage_of_everybody() -> None:
    plan = parse({"artifact": {"version": "2.1.0"}, "emergency": True})
    assert (plan.stages, plan.precedence) == (URGENT_STAGES, 1_000)
    assert parse(plan_json(plan)) == plan


def test_an_emergency_with_stages_has_these() -> None:
    plan = parse({"artifact": {"version": "2.1.0"}, "emergency": True, "stages": ["canary"]})
    assert plan.stages == (StagePlan("canary", Ring.CANARY),)


def test_variants_stand_in_place_of_an_artifact() -> None:
    text = """\
rollout: ab
variants:
  - {name: A, weight: 45, version: 2.1.0}
  - {name: B, weight: 45, component: app, version: 2.2.0}
  - {name: none, weight: 10, control: true}
"""
    plan = load("rollout.yaml", text.encode()).plan
    assert plan == Plan(
        variants=(
            Variant("A", 45, Artifact("2.1.0")),
            Variant("B", 45, Artifact("2.2.0")),
            Variant("none", 10),
        )
    )
    assert parse(plan_json(plan)) == plan


def test_what_is_not_said_is_as_by_default() -> None:
    assert load("rollout.yaml", LEAST.encode()).plan == Plan(Artifact("2.1.0"))
    assert plan_json(Plan(Artifact("2.1.0"))) == {
        "artifact": {"component": "app", "version": "2.1.0"},
        "stages": ["canary", "dev", "stage", "prod"],
    }


def test_none_takes_back_what_all_stages_are_asked() -> None:
    text = """
gates: {webhook: "https://ci.example/a", health: {require: heat < 3, margin: 2}}
require: none
stages: [canary, {ring: dev, gates: {webhook: none, health: {require: none, margin: none}}}]
"""
    plan = load("rollout.yaml", (LEAST + text).encode()).plan
    assert plan.require is None
    assert plan.stages[0].checks is None
    assert plan.stages[1].checks == Checks()
    assert parse(plan_json(plan)) == plan


@pytest.mark.parametrize(
    ("text", "line", "path", "value", "rule"),
    [
        ("prioritty: 3", 3, "prioritty", "(hidden)", "did you mean priority?"),
        ("priority: 1001", 3, "priority", 1001, "a whole number between 0 and 1000"),
        ("priority: high", 3, "priority", "high", "a whole number between"),
        ("priority: true", 3, "priority", True, "a whole number between"),
        ("approvals: 6", 3, "approvals", 6, "a whole number between 0 and 5"),
        ("allow_downgrade: 1", 3, "allow_downgrade", 1, "true or false"),
        ("rest: maybe", 3, "rest", "maybe", "true or false"),
        ("follow: 91d", 3, "follow", "91d", "a duration between 10ms and 90d"),
        ("follow: soon", 3, "follow", "soon", "a duration such as"),
        ("deadline: -3", 3, "deadline", -3, "a duration between"),
        ("retries: 11", 3, "retries", 11, "a whole number between 0 and 10"),
        ("first: 1.5", 3, "first", 1.5, "a whole number between 0 and 1000"),
        ("max_in_flight: 0", 3, "max_in_flight", 0, "a whole number between 1 and"),
        ("pace: fast", 3, "pace", "fast", "a mapping"),
        ("pace: {from: 9, to: 3}", 3, "pace", "9 to 3", "from is at most to"),
        ("pace: {from: 0}", 3, "pace.from", 0, "a whole number between 1 and"),
        ("pace: {till: 9}", 3, "pace.till", "(hidden)", "known: factor, from, to"),
        ("on_fail: explode", 3, "on_fail", "explode", "one of rollback, pause, abort"),
        ("scope: model", 3, "scope", "model", "character 6: =, != or in (…) is expected"),
        ("scope: 3", 3, "scope", 3, "one line of text"),
        ("devices: all", 3, "devices", "all", "a list"),
        ("devices: [a, 3]", 3, "devices[1]", 3, "one line of text"),
        ("devices: [a, a]", 3, "devices", "a list", "a device is named twice"),
        ("require: warm", 3, "require", "warm", "'warm' is not METRIC < NUMBER"),
        ("require: battery > 300", 3, "require", "battery > 300", "no device can ever have"),
        ("fallback: 1.9.4", 3, "fallback", "1.9.4", "a mapping"),
        ("fallback: {url: 'https://a/b'}", 3, "fallback.version", None, "required"),
        ("fallback: {version: 1, component: os}", 3, "fallback.version", 1, "in quotes if"),
        ("fallback: {version: a, component: os}", 2, "artifact", "a mapping", "the same"),
        ("overrides: [a b]", 3, "overrides[0]", "a b", "1 to 64 of the characters"),
        ("window: nights", 3, "window", "nights", "days and times such as Mon-Fri 01:00-05:00"),
        ("window: ''", 3, "window", "", "days and times"),
        ("window: 01:00-01:00", 3, "window", "01:00-01:00", "days and times"),
        ("timezone: Berlin", 3, "timezone", "Berlin", "a time zone such as Europe/Berlin"),
        ("timezone: ../etc/passwd", 3, "timezone", "../etc/passwd", "a time zone such as"),
        ("timezone: 2", 3, "timezone", 2, "a time zone such as"),
        ("emergency: now", 3, "emergency", "now", "true or false"),
        ("parameters: {n: 3}", 3, "parameters.n", 3, "a text, in quotes"),
        ("parameters: {a b: c}", 3, "parameters", "a mapping", "'a b' is not a name"),
        ("gates: strict", 3, "gates", "strict", "a mapping"),
        ("gates: {failure: 3}", 3, "gates.failure", "(hidden)", "did you mean failures?"),
        ("gates:\n  failures: {max: 7}", 4, "gates.failures.max", 7, "between 0% and 100%"),
        ("gates: {coverage: {min: 101%}}", 3, "gates.coverage.min", "101%", "a share such as"),
        ("gates: {health: {confidence: 0.5}}", 3, "gates.health.confidence", 0.5, "80%"),
        ("gates: {health: {margin: 1}}", 3, "gates.health.margin", 1, "a number above 1"),
        ("gates: {health: {margin: .nan}}", 3, "gates.health.margin", None, "a number above 1"),
        ("gates: {health: {min_devices: 0}}", 3, "gates.health.min_devices", 0, "between 1"),
        ("gates: {health: hot}", 3, "gates.health", "hot", "a mapping"),
        ("gates: {webhook: 'http://a/b'}", 3, "gates.webhook", "http://a/b", "https://…"),
        ("gates: {approval: 9}", 3, "gates.approval", 9, "between 0 and 5"),
        ("stages: canary", 3, "stages", "canary", "a list"),
        ("stages: []", 3, "stages", 0, "1 to 16 stages"),
        ("stages: [cannary]", 3, "stages[0]", "cannary", "did you mean canary?"),
        ("stages:\n- dev\n- dev", 5, "stages[1]", "dev", "each name once"),
        ("stages:\n- dev\n- {share: 9%}", 5, "stages[1].ring", None, "required: whom it is about"),
        ("stages: [{ring: prd}]", 3, "stages[0].ring", "prd", "one of canary, dev, stage, prod"),
        ("stages: [{name: rest, ring: dev}]", 3, "stages[0].name", "rest", "another name"),
        ("stages: [{ring: dev, share: 0}]", 3, "stages[0].share", 0, "a share such as"),
        ("stages: [{ring: dev, soak: 31d}]", 3, "stages[0].soak", "31d", "10ms and 30d"),
        ("stages: [{ring: dev, gates: {webhook: x}}]", 3, "stages[0].gates.webhook", "x", "https"),
        ("stages: [[dev]]", 3, "stages[0]", "a list", "a mapping"),
        ("variants: []", 3, "variants", "a list", "one of artifact and variants"),
        ("rollout: again", 3, "rollout", "rollout", "given twice, first in line 1"),
        ("scope: &a b", 3, "", "&a", "anchors, aliases and tags"),
        ("scope: !!str b", 3, "", "tag:yaml.org,2002:str", "anchors, aliases and tags"),
        ("scope: [", 4, "", "", "not YAML"),
        ("--- {}", 3, "", "--- {}", "not YAML"),
        ("? [a]\n: b", 3, "", "", "a plain name"),
    ],
)  # fmt: skip
def test_a_fault_names_line_field_value_and_rule(
    text: str, line: int, path: str, *, value: Any, rule: str
) -> None:
    found = [error for error in faults(LEAST + text + "\n") if rule in error.rule]
    assert len(found) == 1, faults(LEAST + text + "\n")
    (error,) = found
    assert (error.line, error.field) == (line, path)
    if value is not None:
        assert error.value == value
    assert str(error).startswith(f"rollout.yaml:{line}: ")


@pytest.mark.parametrize(
    ("text", "path", "rule"),
    [
        ("rollout: fw", "artifact", "required: what is installed"),
        ("artifact: {version: 2.1.0}", "rollout", "required: its name"),
        ("rollout: 7\nartifact: {version: a}", "rollout", "1 to 64 of the characters"),
        ("rollout: fw\nartifact: {version: 2.10}", "artifact.version", "in quotes"),
        ("rollout: fw\nartifact: {version: 2026-11-30}", "artifact.version", "in quotes"),
        ("rollout: fw\nartifact: {version: a b}", "artifact.version", "1 to 64 of"),
        ("rollout: fw\nartifact: {version: a, size: 3}", "artifact.url", "address"),
        ("rollout: fw\nartifact: {version: a, size: 0}", "artifact.size", "between 1 and"),
        ("rollout: fw\nartifact: {version: a, component: bios}", "artifact.component", "app, os"),
        (f"rollout: fw\nartifact: {{version: a, url: 'https://a/b', sha256: {HASH[:9]}, size: 1}}",
         "artifact.sha256", "64 of the digits"),
        ("rollout: fw\nvariants: [{name: A, version: a}]", "variants[0].weight", "required"),
        ("rollout: fw\nvariants: [{name: A, weight: 1}]", "variants[0].version", "required"),
        ("rollout: fw\nvariants: [{name: A, weight: 1, control: true}]",
         "variants", "at least one"),
        ("rollout: fw\nvariants: [{name: A, weight: 1, control: true, version: a}]",
         "variants[0].control", "a control installs nothing"),
        ("rollout: fw\nvariants: [3]", "variants[0]", "a mapping"),
    ],
)  # fmt: skip
def test_what_is_installed_must_be_clear(text: str, path: str, rule: str) -> None:
    assert [e.field for e in faults(text) if rule in e.rule] == [path], faults(text)


def test_a_duration_in_base_60_is_refused_and_a_quoted_time_is_none() -> None:
    (fault,) = faults(LEAST + "follow: 1:30\n")
    assert (fault.field, fault.value, "90s" in fault.rule) == ("follow", "1:30", True)
    quoted = load("rollout.yaml", (LEAST + 'window: "01:30-05:00"\n').encode())
    assert quoted.plan.window == "01:30-05:00"


def test_all_faults_of_a_file_are_told_in_its_order_and_not_only_the_first() -> None:
    text = LEAST + "priority: 9999\nstages:\n- cannary\n- {ring: dev, soak: 5x}\nfolow: 1d\n"
    assert [(error.line, error.field) for error in faults(text)] == [
        (3, "priority"), (5, "stages[0]"), (6, "stages[1].soak"), (7, "folow"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]",
        "a: " + "[" * 9_000,
        "a: " + "{a: " * 3_000,
        "\n".join(f"key{n}: 1" for n in range(1_500)),
        f"{'k' * 8_000}: 1",
        "priority: " + "9" * 9_000,
        "\x00",
        "",
        "- a",
    ],
)
def test_a_file_that_is_made_to_cost_is_refused_soon(text: str) -> None:
    found = faults(text)
    assert 1 <= len(found) <= MAX_ERRORS
    assert all(len(str(error)) < 20_000 for error in found)


def test_a_file_has_a_size_and_an_encoding() -> None:
    (large,) = faults(LEAST + "#" * MAX_FILE_BYTES)
    assert "at most 16384 bytes" in large.rule
    (latin,) = faults(b"rollout: fw\nscope: \xff")
    assert (latin.line, latin.value, latin.rule) == (2, "byte 0xff", "UTF-8 text")


def test_a_plan_that_is_too_large_for_the_log_is_refused_as_a_whole() -> None:
    value = {"artifact": {"version": "a"}, "devices": [f"{n}" * 20 for n in range(1_000)]}
    with pytest.raises(ConfigError, match="at most 16384"):
        parse(value)


def test_a_request_that_nests_deeply_is_refused() -> None:
    deep: Any = []
    for _ in range(100):
        deep = [deep]
    with pytest.raises(ConfigError, match="levels of nesting"):
        parse({"artifact": {"version": "a"}, "devices": deep})


_words = st.sampled_from(
    ["canary", "prod", "2.0.0", "10%", "5m", "0", "none", "", "a=b", "battery > 3", "https://a/b"]
)
_scalars = st.none() | st.booleans() | st.integers(-2, 3_000) | st.floats() | _words | st.text()
_keys = st.sampled_from([
    *PLAN_KEYS, "name", "ring", "share", "soak", "version", "url", "size", "weight", "control",
    "failures", "coverage", "health", "webhook", "approval", "max", "min", "require", "margin",
    "from", "to", "factor",
]) | st.text(max_size=5)  # fmt: skip
_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_keys, inner, max_size=6),
    max_leaves=20,
)


@given(_values)
def test_whatever_is_sent_is_a_plan_that_apply_takes_or_is_refused(value: Any) -> None:
    for sent in (value, {"artifact": {"version": "2.0.0"}, "stages": value}, {"gates": value}):
        try:
            plan = parse(sent)
        except ConfigError:
            continue
        assert not list(plan_faults(plan))
        assert parse(plan_json(plan)) == plan


@pytest.mark.parametrize("share", [1, 7, 99_999, 123_456, 333_333, 999_999, 1_000_000])
def test_a_share_is_written_exactly(share: int) -> None:
    plan = Plan(Artifact("a"), stages=(StagePlan("x", share=share),))
    assert parse(plan_json(plan)) == plan
