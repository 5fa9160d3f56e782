"""`plan`: its answers in every form, its picture, and what it refuses."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from stationkeep.cluster.odds import Loss, forecast
from stationkeep.cluster.settings import PROFILES, to_user
from stationkeep.node.cli.commands import plan as plan_commands
from stationkeep.node.cli.rendering.plan_view import long_span
from tests.node.cli.canned import CannedNode, Run

YEAR = 365.25 * 86_400
SVG = "{http://www.w3.org/2000/svg}"


def test_the_table_says_it_on_80_columns(stationkeep: Run) -> None:
    output = stationkeep(
        "plan", "--profile", "orbit", "--burst", "10s", "--check", "--cases", "30"
    ).stdout
    assert "5 nodes, profile orbit\n20 % of packets lost, in bursts of 10 s on average" in output
    assert "23 million years" in output
    assert "5.0 days" in output
    assert "false SAFE_MODE, uplink" in output
    assert max(len(line.rstrip()) for line in output.splitlines()) <= 80


def test_json_and_yaml_carry_the_computed_figures(stationkeep: Run) -> None:
    arguments = ("plan", "--profile", "lan", "--loss", "30%", "--nodes", "4")
    answer = json.loads(stationkeep(*arguments, "--format", "json").output)
    assert answer == yaml.safe_load(stationkeep(*arguments, "--format", "yaml").output)
    figures = forecast(PROFILES["lan"], Loss(0.3), 4)
    for name, outlook in figures.outlooks.items():
        shown = answer["models"][name]
        assert shown["sample_missed"] == outlook.miss
        assert shown["false_failover_s"] == outlook.false_failover
        assert shown["false_safe_mode_s"] == outlook.false_safe_mode
        assert shown["detection_s"]["p95"] == outlook.detection.p95
        assert shown["failover_s"]["longest"] == outlook.failover.longest
    assert answer["settings"] == to_user(PROFILES["lan"])
    assert answer["loss"] == {"rate": 0.3, "mean_burst_s": None}


def test_streams_alone_are_said_to_be_what_the_figures_rest_on(stationkeep: Run) -> None:
    arguments = ("plan", "--profile", "demo", "--lane", "stream")
    answer = json.loads(stationkeep(*arguments, "--format", "json").output)
    assert answer["lane"] == "stream"
    links = answer["models"]["links"]
    assert links["detection_s"] is links["failover_s"] is None
    assert links["elections_an_hour_at_most"] > 300
    assert links["no_primary_s_an_hour_at_most"] > 700
    output = stationkeep(*arguments).output
    assert "Lane: streams only" in output
    assert "replaced" not in output
    assert max(len(line.rstrip()) for line in output.splitlines()) <= 80
    assert "Lane: datagrams" in stationkeep("plan").output


def test_never_is_null_for_programs(stationkeep: Run) -> None:
    answer = json.loads(stationkeep("plan", "--loss", "0", "--format", "json").output)
    assert answer["models"]["links"]["false_failover_s"] is None
    assert "never" in stationkeep("plan", "--loss", "0").output
    assert "> 1e270 years" in stationkeep("plan", "--nodes", "99").output
    assert "replaced, each link alone         -" in (
        stationkeep("plan", "--profile", "orbit", "--loss", "0.99", "--nodes", "50").output
    )


def test_overrides_count(stationkeep: Run) -> None:
    changed = (
        "--profile",
        "orbit",
        "--set",
        "failures_to_fail_primary=4",
        "--set",
        "report_interval=10s",
    )
    answer = json.loads(stationkeep("plan", *changed, "--format", "json").output)
    assert answer["reports_per_evaluation"] == 3
    assert answer["settings"]["failures_to_fail_primary"] == 4
    assert answer["models"]["uplink"]["detection_s"]["longest"] == pytest.approx(150.0)


@pytest.mark.parametrize("asked", [["--live"], ["--url", "http://127.0.0.1:8703"]])
def test_the_running_clusters_settings(
    canned: CannedNode, stationkeep: Run, asked: list[str]
) -> None:
    canned.reads["/v1/config"] = {"settings": to_user(PROFILES["lan"])}
    answer = json.loads(stationkeep("plan", *asked, "--format", "json").output)
    assert answer["source"] == "cluster stationkeep-local"
    assert answer["nodes"] == 3
    assert answer["settings"] == to_user(PROFILES["lan"])


def test_a_nodes_file(stationkeep: Run, tmp_path: Path) -> None:
    members = {f"n{i}": {"raft": f"127.0.0.1:{i}", "http": f"127.0.0.1:1{i}"} for i in range(1, 5)}
    file = tmp_path / "node.yaml"
    content = {"node": "n1", "cluster": "c", "data_dir": "d", "raft": "127.0.0.1:1"}
    content |= {"http": "127.0.0.1:11", "members": members, "profile": "demo"}
    file.write_text(yaml.safe_dump(content))
    answer = json.loads(stationkeep("plan", "--config", str(file), "--format", "json").output)
    assert answer["nodes"] == 4
    assert answer["settings"] == to_user(PROFILES["demo"])


@pytest.mark.parametrize("burst", [[], ["--burst", "10s"]])
def test_the_picture_is_svg_and_stays_within_its_frame(
    stationkeep: Run, tmp_path: Path, burst: list[str]
) -> None:
    file = tmp_path / "plan.svg"
    assert stationkeep("plan", "--profile", "orbit", "--plot", str(file), *burst).exit_code == 0
    root = ElementTree.fromstring(file.read_text())
    assert root.tag == f"{SVG}svg"
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    lines = root.findall(f"{SVG}polyline")
    assert len(lines) == 12  # six curves, and six strokes of the legends
    for line in lines:
        for point in line.attrib["points"].split():
            x, y = (float(part) for part in point.split(","))
            assert 0 <= x <= width
            assert 0 <= y <= height
    assert any("5 nodes" in (text.text or "") for text in root.findall(f"{SVG}text"))


def test_a_picture_of_hopeless_loss_can_be_drawn(stationkeep: Run, tmp_path: Path) -> None:
    file = tmp_path / "plan.svg"
    result = stationkeep("plan", "--loss", "0.99", "--nodes", "50", "--plot", str(file))
    assert result.exit_code == 0
    assert "nan" not in file.read_text()


def test_check_counts_every_figure(stationkeep: Run) -> None:
    arguments = ("--profile", "demo", "--nodes", "3", "--loss", "0.4", "--check", "--cases", "60")
    result = stationkeep("plan", *arguments, "--format", "json")
    assert result.exit_code == 0
    checks = json.loads(result.stdout)["check"]
    assert len(checks) == 8
    for check in checks:
        low, high = check["interval_s"]
        assert check["agrees"] is (low <= check["computed_s"] <= high) is True
        assert check["cases"] == 60


def test_a_difference_is_a_failure(stationkeep: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = ("detection, links", 1.0, 0.2, iter([2.0, 2.1] * 20))
    monkeypatch.setattr(plan_commands, "_counts", lambda _figures, _seed: iter([wrong]))
    result = stationkeep("plan", "--check", "--cases", "30")
    assert result.exit_code == 1
    assert "DIFFERS" in result.output
    assert "counted and computed figures differ: detection, links" in result.output


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ("--profile orbit --set evaluation_interval=10s", 5, "primary_lease"),
        ("--set nonsense=1", 5, "no such setting"),
        ("--set unhealthy_above=2", 5, "between 0 and 1"),
        ("--set nonsense", 2, "NAME=VALUE"),
        ("--config missing.yaml", 5, "missing.yaml"),
        ("--profile moon", 2, "orbit, ground, lan, demo"),
        ("--profile lan --live", 2, "one source"),
        ("--profile lan --url http://127.0.0.1:8703", 2, "one source"),
        ("--loss 1", 2, "less than 1"),
        ("--loss -0.1", 2, "at least 0"),
        ("--loss nan", 2, "--loss"),
        ("--loss much", 2, "0.2 or 20%"),
        ("--profile orbit --burst 1s", 2, "report_interval (5 s)"),
        ("--burst soon", 2, "a duration such as"),
        ("--burst 10s --loss 0", 2, "above 0"),
        ("--burst 10s --nodes 21", 2, "at most 20 nodes"),
        ("--lane pigeon", 2, "lane"),
        ("--lane stream --burst 10s", 2, "independent losses only"),
        ("--lane stream --check", 2, "cannot be combined with"),
        ("--measured --loss 0.2", 2, "cannot be combined with"),
        ("--measured --profile lan", 2, "one source"),
        ("--nodes 2", 2, "3 to 99"),
        ("--seed -1", 2, "seed"),
        ("--cases 3", 2, "cases"),
        ("--plot missing/plan.svg", 1, "No such file"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_reason(
    canned: CannedNode, stationkeep: Run, arguments: str, code: int, words: str
) -> None:
    result = stationkeep("plan", *arguments.split())
    assert result.exit_code == code
    assert words in result.output


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "never"),
        (12.34, "12.3 s"),
        (77.5 * 60, "78 minutes"),
        (5 * 3_600, "5.0 hours"),
        (5.004 * 86_400, "5.0 days"),
        (232 * YEAR, "232 years"),
        (3_626_646 * YEAR, "3.63 million years"),
        (5.28e31 * YEAR, "5.3e31 years"),
    ],
)
def test_spans_have_the_unit_that_fits(seconds: float | None, words: str) -> None:
    assert long_span(seconds) == words
