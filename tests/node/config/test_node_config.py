"""Configuration: what is accepted, and that every fault is shown where it stands."""

import json
from pathlib import Path

import pytest

from stationkeep.cluster.settings import DEFAULT_PROFILE, PROFILES
from stationkeep.node.config.node_config import ConfigError, load, validate
from stationkeep.node.config.sensors import Marks

GOOD = """\
node: sat-001
cluster: stationkeep-local
data_dir: .stationkeep/sat-001
raft: 127.0.0.1:7701
http: 127.0.0.1:8701
members:
  sat-001: {raft: "127.0.0.1:7701", http: "127.0.0.1:8701"}
  sat-002: {raft: "127.0.0.1:7702", http: "127.0.0.1:8702"}
profile: demo
settings: {action_deadline: 4s}
sensors:
  cpu: off
  memory: {ok: 70, critical: 90}
  command: "exit 0"
hooks:
  primary: echo primary
  timeout: 3s
  actions: {reboot: echo reboot}
policies:
  - {name: quiet, priority: safety, score: 0.5, forbids: ["*->PRIMARY"]}
log: {format: json, level: debug}
"""


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "node.yaml"
        path.write_text(text)
        return path

    return write


def faults(path: Path, env: dict[str, str] | None = None) -> list[tuple[int | None, str]]:
    return [(error.line, error.field) for error in validate(path, env)]


def test_a_full_file_is_read(write) -> None:
    config = load(write(GOOD), {})
    assert config.node == "sat-001"
    assert config.peers == ("sat-002",)
    assert config.settings.action_deadline == 4_000
    assert config.settings.evaluation_interval == PROFILES["demo"].evaluation_interval
    assert config.sensors.cpu is None
    assert config.sensors.memory == Marks(70, 90)
    assert config.hooks.roles == {"PRIMARY": "echo primary"}
    assert config.hooks.actions == {"reboot": "echo reboot"}
    assert config.hooks.timeout == 3.0
    assert config.policies[0].score == 500_000
    assert config.log.format == "json"


def test_who_names_no_profile_gets_the_one_for_the_ground(write) -> None:
    config = load(
        write(GOOD.replace("profile: demo\n", "").replace("{action_deadline: 4s}", "{}")), {}
    )
    assert config.profile == DEFAULT_PROFILE == "ground"
    assert config.settings == PROFILES["ground"]


def test_listening_addresses_default_to_the_advertised_ones(write) -> None:
    text = GOOD.replace("raft: 127.0.0.1:7701\nhttp: 127.0.0.1:8701\n", "")
    assert load(write(text), {}).raft == "127.0.0.1:7701"


def test_what_a_node_advertises_is_where_the_others_reach_it(write) -> None:
    text = GOOD.replace("profile: demo", 'advertise: {raft: "localhost:7709"}\nprofile: demo')
    config = load(write(text), {"STATIONKEEP_ADVERTISE_HTTP": "[::1]:8709"})
    assert config.own == config.members[0]
    assert (config.own.raft, config.own.http) == ("localhost:7709", "[::1]:8709")
    assert (config.raft, config.http) == ("127.0.0.1:7701", "127.0.0.1:8701"), "it listens there"


def test_the_environment_may_say_which_node_it_is(write) -> None:
    assert load(write(GOOD), {"STATIONKEEP_NODE": "sat-002"}).node == "sat-002"
    env = {
        "HOSTNAME": "sat-001", "STATIONKEEP_NODE": "${HOSTNAME}",
        "STATIONKEEP_ADVERTISE_RAFT": "localhost:7709", "STATIONKEEP_CLUSTER": "a${HOSTNAME}",
    }  # fmt: skip
    faults = {error.field for error in validate(write(GOOD), env)}
    assert faults == {"cluster"}, "it is replaced where machines are named, and nowhere else"


@pytest.mark.parametrize(
    ("raft", "rule"),
    [
        ("0.0.0.0:7701", "of one machine"),
        ("[::]:7701", "of one machine"),
        ("::1:7701", "in brackets"),
        ("127.0.0.1:0", "between 1 and 65535"),
        ("127.0.0.1:7702", "every address once"),
    ],
)
def test_what_nobody_could_reach_is_not_advertised(write, raft: str, rule: str) -> None:
    text = GOOD.replace("profile: demo", f'advertise: {{raft: "{raft}"}}\nprofile: demo')
    found = {(error.line, error.field): error.rule for error in validate(write(text))}
    assert set(found) & {(9, "advertise.raft"), (8, "members.sat-002.raft")}, found
    assert any(rule in said for said in found.values())


def test_a_node_whose_peers_are_elsewhere_does_not_advertise_loopback(write) -> None:
    text = GOOD.replace('sat-002: {raft: "127.0.0.1:7702"', 'sat-002: {raft: "10.0.0.2:7702"')
    error = validate(write(text + "insecure: true\n"))[0]
    assert (error.line, error.field) == (7, "members.sat-001.raft")
    assert "10.0.0.2:7702 can reach: this is loopback" in error.rule


@pytest.mark.parametrize(
    ("old", "new", "line", "field", "rule"),
    [
        ("profile: demo", "profle: demo", 9, "profle", "did you mean profile?"),
        ("profile: demo", "profile: moon", 9, "profile", "one of orbit, ground, lan, demo"),
        ("profile: demo", "profile: demo\nprofile: lan", 10, "profile", "given twice"),
        ("{action_deadline: 4s}", "{action_deadline: soon}", 10, "settings.action_deadline",
         "a duration"),
        ("{action_deadline: 4s}", "{primary_lease: 3s}", 10, "settings.primary_lease",
         "primary_lease x 1.05 < failures_to_fail_primary x evaluation_interval"),
        ("{action_deadline: 4s}", "{evaluation_interval: 700ms}", 10, "settings.primary_lease",
         "profile demo says"),
        ("settings: {action_deadline: 4s}", "settings: [4s]", 10, "settings", "a mapping"),
        ("critical: 90", "critical: 70", 13, "sensors.memory.critical", "differs from ok"),
        ("cpu: off", "cpu: 70", 12, "sensors.cpu", "or off"),
        ("timeout: 3s", "timeout: never", 17, "hooks.timeout", "a duration"),
        ("score: 0.5", "score: 5", 20, "policies[0].score", "between 0 and 1"),
        ("*->PRIMARY", "PRIMARY", 20, "policies[0].forbids[0]", "pattern"),
        ("*->PRIMARY", "*->PRIMRY", 20, "policies[0].forbids[0]", "with role names or *"),
        ("raft: 127.0.0.1:7701\n", "raft: 127.0.0.1\n", 4, "raft", "host:port"),
        ("raft: 127.0.0.1:7701\n", "raft: 127.0.0.1:²\n", 4, "raft", "host:port"),
        ("raft: 127.0.0.1:7701\n", "raft: 0.0.0.0:7701\n", 4, "raft", "`tls:` is needed"),
        ("http: 127.0.0.1:8701\n", "http: 192.168.0.7:8701\n", 5, "http", "beyond loopback"),
        ("127.0.0.1:7702", "127.0.0.1:7701", 8, "members.sat-002.raft", "every address once"),
        ("node: sat-001", "node: sat-009", 1, "node", "one of its own members"),
        ("node: sat-001", "node: 'sat 001'", 1, "node", "1 to 64"),
        ("log:", "http_hosts: [a.b, 'a.b:80']\nlog:", 21, "http_hosts[1]", "without a port"),
        ("format: json", "format: xml", 21, "log.format", "one of plain, json"),
        ("cluster: stationkeep-local\n", "", 1, "cluster", "required"),
    ],
)  # fmt: skip
def test_a_fault_names_line_field_and_rule(
    write, old: str, new: str, line: int, *, field: str, rule: str
) -> None:
    assert old in GOOD
    path = write(GOOD.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    error = caught.value
    assert (error.line, error.field) == (line, field)
    assert rule in error.rule
    assert len({str(e) for e in (error, *error.others)}) == 1 + len(error.others)
    assert str(error).startswith(f"{path}:{line}: {field}: ")


def test_faults_are_reported_together(write) -> None:
    text = GOOD.replace("profile: demo", "profile: moon").replace("timeout: 3s", "timeout: x")
    assert faults(write(text)) == [(9, "profile"), (17, "hooks.timeout")]


@pytest.mark.parametrize(
    ("text", "line", "rule"),
    [
        ("node: [", 1, "not YAML"),
        ("- a list", 1, "a mapping at the top level"),
        ("", 1, "a mapping at the top level"),
        ("a: &x 1\nb: *x", 1, "aliases"),
        ("a: " + "[" * 1_000, 1, "levels of nesting"),
        ("a: !!python/object:os.system x", 1, "tags are not used"),
        ("a: 2026-13-45", 1, "a plain YAML value"),
        ("a: 1:30", 1, "YAML takes 1:30 for 90"),
        ("a: 1:30.5", 1, "YAML takes 1:30 for 90"),
        ("a: \x07", None, "not YAML"),
        ("x" * 300_000, 1, "at most"),
    ],
)
def test_what_is_no_configuration_at_all(write, text: str, line: int | None, rule: str) -> None:
    errors = validate(write(text))
    assert errors[0].line == line
    assert rule in errors[0].rule


def test_an_unreadable_file(tmp_path: Path) -> None:
    assert "No such file" in str(validate(tmp_path / "none.yaml")[0])
    (tmp_path / "latin.yaml").write_bytes(b"# one\nnode: \xff")
    latin = validate(tmp_path / "latin.yaml")[0]
    assert (latin.line, latin.value) == (2, "byte 0xff")
    assert "UTF-8" in latin.rule


def test_a_file_without_end_and_a_key_that_steers_terminals(write) -> None:
    assert "not a regular file" in validate("/dev/zero")[0].rule
    assert "\x1b" not in str(validate(write('"\\e[31mred": 1'))[0])


def test_the_environment_overrides_the_file(write) -> None:
    env = {
        "STATIONKEEP_HTTP": "127.0.0.1:9999",
        "STATIONKEEP_LOG_FORMAT": "plain",
        "STATIONKEEP_SETTINGS__REPORT_INTERVAL": "100ms",
        "STATIONKEEP_SETTINGS__SWARM_MODE": "off",
        "STATIONKEEP_URL": "http://elsewhere",
    }
    config = load(write(GOOD.replace("settings: {action_deadline: 4s}\n", "")), env)
    assert config.http == "127.0.0.1:9999"
    assert config.log.format == "plain"
    assert config.settings.report_interval == 100
    assert config.settings.swarm_mode is False


def test_a_fault_of_the_environment_names_the_variable(write) -> None:
    errors = validate(write(GOOD), {"STATIONKEEP_SETTINGS__REPORT_INTERVAL": "2s"})
    assert errors[0].file == "environment variable STATIONKEEP_SETTINGS__REPORT_INTERVAL"
    assert errors[0].line is None
    assert "report_interval x 3 <= evaluation_interval" in errors[0].rule


def with_commands(*lines: str) -> str:
    return GOOD.replace("hooks:\n  primary: echo primary\n", "hooks:\n" + "".join(lines))


def test_commands_that_cannot_be_run_are_faults_and_do_not_keep_a_node_from_starting(
    write, tmp_path: Path
) -> None:
    plain = tmp_path / "plain"
    plain.write_text("")
    text = (
        with_commands(
            f"  primary: {tmp_path}/missing --now\n",
            f"  backup: A=1 {plain}\n",
            "  standby: no-such-program-here\n",
            """  safe_mode: "echo 'unclosed"\n""",
        )
        .replace('"exit 0"', f'"{tmp_path} x"')
        .replace("echo reboot", "rebot now")
    )
    file = write(text)
    said = {error.field: (error.line, error.rule) for error in validate(file)}
    assert said == {
        "sensors.command": (14, f"a command that exists: there is no file '{tmp_path}'"),
        "hooks.primary": (16, f"a command that exists: there is no file '{tmp_path}/missing'"),
        "hooks.backup": (17, f"a command that can be run: '{plain}' is not executable"),
        "hooks.standby": (
            18, "a command that exists: there is no 'no-such-program-here' on the PATH",
        ),
        "hooks.safe_mode": (19, "a command that the shell can read (No closing quotation)"),
        "hooks.actions.reboot": (21, "a command that exists: there is no 'rebot' on the PATH"),
    }  # fmt: skip
    assert load(file, {}).hooks.roles["PRIMARY"] == f"{tmp_path}/missing --now"


@pytest.mark.parametrize(
    "command",
    [
        "true", "A=1 B='x y' /bin/sh -c no-such", "$HOOK go", "~/bin/hook", "cd /x && ./y",
        "[ -e /x ] || no-such", "{ no-such; }", "(no-such)", "if true; then no-such; fi",
        ": nothing", "/bin/ech? x", "`which sh` x", "A=1", " ",
        "/bin/echo hello > /dev/null; no-such", "exec no-such", "! no-such",
        "PATH=/opt/x/bin:$PATH no-such", "2>/dev/null true", "cat <<E\nit's\nE", "\\\n true",
    ],
)  # fmt: skip
def test_what_the_shell_works_out_is_left_to_it(write, command: str) -> None:
    assert validate(write(with_commands(f"  primary: {json.dumps(command)}\n"))) == []


@pytest.mark.parametrize("name", ["role_change", "'a b'"])
def test_an_action_has_a_name_of_its_own(write, name: str) -> None:
    (error,) = validate(write(GOOD.replace("reboot:", f"{name}:")))
    assert (error.line, error.field) == (18, f"hooks.actions.{name.strip(chr(39))}")


def test_a_node_has_hooks_for_so_many_actions(write) -> None:
    many = ", ".join(f"a{n}: 'true'" for n in range(65))
    (error,) = validate(write(GOOD.replace("reboot: echo reboot", many)))
    assert (error.line, error.field, error.rule) == (18, "hooks.actions", "at most 64 actions")
