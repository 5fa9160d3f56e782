"""The reference of the configuration is what the code says."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import reference
from stationkeep.cluster.settings import Settings
from stationkeep.node.config.node_config import validate

MEMBERS = {"sat-001": {"raft": "127.0.0.1:7701", "http": "127.0.0.1:8701"}}
WHOLE: dict[str, Any] = {
    "node": "sat-001",
    "cluster": "fleet",
    "data_dir": "data",
    "members": MEMBERS,
}
UNKNOWN = {"xyzzy": 1}
SECTIONS: dict[str, Any] = {
    "Top level": UNKNOWN,
    "advertise": {"advertise": UNKNOWN},
    "members": {"members": {"sat-001": UNKNOWN | MEMBERS["sat-001"]}},
    "sensors": {"sensors": UNKNOWN},
    "sensors.NAME": {"sensors": {"cpu": UNKNOWN | {"ok": 1, "critical": 2}}},
    "hooks": {"hooks": UNKNOWN},
    "policies": {"policies": [UNKNOWN]},
    "webhooks": {"webhooks": [UNKNOWN]},
    "tracing": {"tracing": UNKNOWN},
    "tls": {"tls": UNKNOWN},
    "log": {"log": UNKNOWN},
}
"""A file with an unknown field in each section: the refusal names those that there are."""


def test_the_page_is_what_the_code_says() -> None:
    """On a mismatch: `python -m scripts.reference`."""
    page = reference.PAGE.read_text(encoding="utf-8")
    assert page == reference.renewed(page)


@pytest.mark.parametrize("section", SECTIONS)
def test_every_field_that_a_file_may_have_is_in_the_reference(section: str, tmp_path: Path) -> None:
    file = tmp_path / "node.yaml"
    file.write_text(yaml.safe_dump(WHOLE | SECTIONS[section]))
    (refusal,) = (fault for fault in validate(file) if "no such field" in fault.rule)
    known = set(refusal.rule.partition("known: ")[2].split(", "))
    place, _, _ = section.partition(".")
    paths = [row.path for row in reference.file_rows()[place]]
    head = "sensors.NAME." if section == "sensors.NAME" else ""
    described = {
        path.rpartition(".")[2]
        for path in paths
        if path.startswith(head) and (head or not path.startswith("sensors.NAME."))
    }
    assert described == known


def test_every_field_has_a_meaning_and_every_setting_a_place() -> None:
    for rows in reference.file_rows().values():
        assert all(row.meaning.endswith(".") for row in rows)
    meanings = reference.meanings(Settings)
    assert list(meanings) == list(Settings.__struct_fields__)
    for field in Settings.__struct_fields__:
        assert f"#### {field}\n" in reference.settings_reference()
