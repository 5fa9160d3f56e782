"""The page about rollout files lists every key, with the limits and defaults that hold."""

import re
from typing import Any

import pytest

from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.rollouts.plan import Plan
from stationkeep.node.config.yaml_document import ConfigError, Document, parse
from stationkeep.node.guide.pages import find
from stationkeep.node.rollout_file import document, reading

PAGE = find("rollout-file").text
ROW = re.compile(r"^\| `([a-z0-9_.]+)` \| ([^|]*) \| ?([^|]*?) ?\|$", re.MULTILINE)
ROWS = [match.groups() for match in ROW.finditer(PAGE)]
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
SECTION = {
    name: [row[0] for row in ROW.findall(text)]
    for name, text in (part.split("\n", 1) for part in PAGE.split("\n## ")[1:])
}


def with_(section: str, key: str, value: str) -> str:
    """A file in which a key of a section of the page has a value."""
    match section:
        case "Artifacts":
            url = "url: https://a/b, sha256: " + "a" * 64
            return f"artifact: {{version: a, {url}, {key}: {value}}}"
        case "Variants":
            return f"variants: [{{name: A, version: a, {key}: {value}}}]"
        case "Stages":
            return f"artifact: {{version: a}}\nstages: [{{ring: dev, {key}: {value}}}]"
        case "Gates":
            first, _, second = key.partition(".")
            said = f"{first}: {{{second}: {value}}}" if second else f"{first}: {value}"
            return f"artifact: {{version: a}}\ngates: {{{said}}}"
    return f"artifact: {{version: a}}\n{key}: {value}"


def read(text: str) -> Plan:
    return document.load("page", f"rollout: x\n{text}\n".encode()).plan


def keys(section: str) -> list[Any]:
    return [(section, *row) for row in ROWS if row[0] in SECTION[section]]


ALL = [case for section in SECTION for case in keys(section)]
BOUNDED = [
    (section, key, *map(int, bounds.groups()))
    for section, key, value, _ in ALL
    if (bounds := re.match(r"(\d+) to (\d+)", value)) and key not in ("stages", "variants")
]
LONGEST = [
    (section, key, int(most[1]))
    for section, key, value, _ in ALL
    if (most := re.search(r"duration up to (\d+)d", value))
]
DEFAULTS = [
    (section, key, default.strip("`"))
    for section, key, _, default in ALL
    if default.startswith("`") and section != "Stages" and key != "control"
]


def test_every_key_is_listed_and_no_other() -> None:
    assert set(SECTION["The rollout"]) == {"rollout", "comment", *reading.PLAN_KEYS}
    assert set(SECTION["Artifacts"]) == set(reading.ARTIFACT_KEYS)
    own = set(reading.VARIANT_KEYS) - set(reading.ARTIFACT_KEYS)
    assert set(SECTION["Variants"]) == own
    assert set(SECTION["Stages"]) == set(reading.STAGE_KEYS) - set(reading.LIMIT_KEYS)
    assert {key.partition(".")[0] for key in SECTION["Gates"]} == set(reading.GATE_KEYS)
    health = {key.partition(".")[2] for key in SECTION["Gates"] if key.startswith("health.")}
    assert health == set(reading.HEALTH_KEYS)


@pytest.mark.parametrize(("section", "key", "low", "high"), BOUNDED)
def test_limits_are_as_the_page_says(section: str, key: str, *, low: int, high: int) -> None:
    for beyond in (low - 1, high + 1):
        with pytest.raises(ConfigError, match=f"between {low} and {high}"):
            read(with_(section, key, str(beyond)))
    if section != "Variants":
        assert read(with_(section, key, str(high))) != read("artifact: {version: a}")


@pytest.mark.parametrize(("section", "key", "days"), LONGEST)
def test_durations_are_as_long_as_the_page_says(section: str, key: str, days: int) -> None:
    assert read(with_(section, key, f"{days}d"))
    with pytest.raises(ConfigError, match=f"and {days}d"):
        read(with_(section, key, f"{days + 1}d"))


@pytest.mark.parametrize(("section", "key", "default"), DEFAULTS)
def test_defaults_are_as_the_page_says(section: str, key: str, default: str) -> None:
    least = Plan(Artifact("a"))
    if section == "Artifacts":
        assert getattr(Artifact("a"), key) == default
    elif key == "first":  # a rollout's own: written out it is the same
        assert read(f"artifact: {{version: a}}\nfirst: {default}").all_stages() == (
            least.all_stages()
        )
    else:
        assert read(with_(section, key, default)) == least


def test_there_are_bounds_and_defaults_to_check() -> None:
    assert (len(BOUNDED), len(LONGEST), len(DEFAULTS)) == (9, 3, 23)


@pytest.mark.parametrize("text", EXAMPLES)
def test_examples_are_rollouts(text: str) -> None:
    found: Document = parse("example", text)
    assert not found.errors
    assert document.load("example", text.encode()).plan
