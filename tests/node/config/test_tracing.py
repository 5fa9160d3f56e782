"""`tracing:` in a node's file."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import yaml

from stationkeep.node.config import tracing as tracing_config
from stationkeep.node.config.node_config import load, validate
from stationkeep.node.config.tracing import TracingConfig

ADDRESSES = {"raft": "127.0.0.1:7701", "http": "127.0.0.1:8701"}


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def written(tracing: Any) -> Path:
        content = {
            "node": "sat-001",
            "cluster": "solo",
            "data_dir": str(tmp_path),
            "members": {"sat-001": ADDRESSES},
            "tracing": tracing,
        }
        path = tmp_path / "node.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return path

    return written


def test_it_is_off_unless_wanted(write: Any) -> None:
    assert load(write(None), {}).tracing is None


def test_endpoint_and_share(write: Any) -> None:
    path = write({"endpoint": "https://collector.example:4318/", "sample_ratio": 0.1})
    assert load(path, {}).tracing == TracingConfig("https://collector.example:4318", 0.1)


def test_the_environment_switches_it_on(write: Any) -> None:
    env = {"STATIONKEEP_TRACING_ENDPOINT": "http://127.0.0.1:4318"}
    assert load(write(None), env).tracing == TracingConfig("http://127.0.0.1:4318", 1.0)
    env["STATIONKEEP_TRACING_SAMPLE_RATIO"] = "0.25"
    assert load(write(None), env).tracing == TracingConfig("http://127.0.0.1:4318", 0.25)


@pytest.mark.parametrize(
    ("tracing", "field", "rule"),
    [
        ({}, "tracing.endpoint", "required"),
        ({"endpoint": "127.0.0.1:4318"}, "tracing.endpoint", "https://HOST"),
        ({"endpoint": "http://[::1"}, "tracing.endpoint", "https://HOST"),
        ({"endpoint": "http://127.0.0.1:99999"}, "tracing.endpoint", "https://HOST"),
        ({"endpoint": "https://h/?token=x"}, "tracing.endpoint", "https://HOST"),
        ({"endpoint": "http://10.0.0.7:4318"}, "tracing.endpoint", "to loopback only"),
        ({"endpoint": "https://h", "sample_ratio": 2}, "tracing.sample_ratio", "between 0 and 1"),
        ({"endpoint": "https://h", "ratio": 1}, "tracing.ratio", "no such field"),
        ("on", "tracing", "a mapping"),
    ],
)
def test_a_fault_names_field_and_rule(write: Any, tracing: Any, field: str, rule: str) -> None:
    error = validate(write(tracing))[0]
    assert error.field == field
    assert rule in error.rule


@pytest.mark.parametrize("missing", ["spec", "parent"])
def test_without_the_extra_it_is_refused_by_name(
    write: Any, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    def find_spec(name: str) -> Any:
        if missing == "parent":
            raise ModuleNotFoundError(name)
        return None if "otlp" in name else importlib.util.find_spec(name)

    monkeypatch.setattr(tracing_config, "find_spec", find_spec)
    (error,) = validate(write({"endpoint": "http://127.0.0.1:4318"}))
    assert error.field == "tracing"
    assert "pip install 'stationkeep[tracing]'" in error.rule
    assert validate(write(None)) == []
