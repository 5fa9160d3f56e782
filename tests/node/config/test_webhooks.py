"""`webhooks:` in a node's file: what is accepted, and that no fault shows a secret."""

import base64
from pathlib import Path

import pytest

from stationkeep.node.config.node_config import ConfigError, load, validate
from tests.node.config.test_node_config import GOOD

KEY = b"0123456789abcdef0123456789abcdef"
SECRET = "whsec_" + base64.b64encode(KEY).decode()
HOOK = f"{{name: pager, url: https://pager.example/in, secret: {SECRET}}}"


def write(directory: Path, *webhooks: str) -> Path:
    path = directory / "node.yaml"
    path.write_text(GOOD + "webhooks:\n" + "".join(f"  - {webhook}\n" for webhook in webhooks))
    return path


def test_a_webhook_is_read_and_its_secret_never_shown(tmp_path: Path) -> None:
    config = load(write(tmp_path, HOOK), {})
    [webhook] = config.webhooks
    assert (webhook.name, webhook.url) == ("pager", "https://pager.example/in")
    assert webhook.topics == ("roles", "alarms")
    assert webhook.secret.sign(b"x") != ""
    for shown in (repr(config), str(config)):
        assert SECRET not in shown
        assert str(KEY) not in shown


def test_without_the_section_nobody_is_told(tmp_path: Path) -> None:
    path = tmp_path / "node.yaml"
    path.write_text(GOOD)
    assert load(path, {}).webhooks == ()


def test_a_secret_may_stand_in_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    other = (
        f"{{name: a, url: http://127.0.0.1:9/, secret_file: {tmp_path}/secret, topics: [roles]}}"
    )
    one, two = load(write(tmp_path, HOOK, other), {}).webhooks
    assert one.secret.sign(b"x") == two.secret.sign(b"x")
    assert two.topics == ("roles",)


@pytest.mark.parametrize(
    ("webhook", "field", "rule"),
    [
        ("{url: https://h/, secret: S}", "webhooks[0].name", "required"),
        ("{name: a b, url: https://h/, secret: S}", "webhooks[0].name", "characters A-Z"),
        ("{name: a, secret: S}", "webhooks[0].url", "required"),
        ("{name: a, url: ftp://h/, secret: S}", "webhooks[0].url", "https://HOST"),
        ("{name: a, url: 'https://[', secret: S}", "webhooks[0].url", "https://HOST"),
        ("{name: a, url: 'https://h:x/', secret: S}", "webhooks[0].url", "https://HOST"),
        ("{name: a, url: http://h/, secret: S}", "webhooks[0].url", "to loopback only"),
        ("{name: a, url: https://h/}", "webhooks[0]", "either secret or secret_file"),
        ("{name: a, url: https://h/, secret: S, secret_file: f}", "webhooks[0]", "either secret"),
        ("{name: a, url: https://h/, secret_file: /no/such}", "webhooks[0].secret_file", "be read"),
        ("{name: a, url: https://h/, secret: S, topics: [x]}", "webhooks[0].topics[0]", "one of"),
        ("{name: a, url: https://h/, secret: S, topic: x}", "webhooks[0].topic", "did you mean"),
    ],
)
def test_a_fault_names_field_and_rule(tmp_path: Path, webhook: str, field: str, rule: str) -> None:
    [error] = validate(write(tmp_path, webhook.replace("secret: S", f"secret: {SECRET}")))
    assert (error.line, error.field) == (23, field)
    assert rule in error.rule
    assert SECRET not in str(error)


@pytest.mark.parametrize(
    "secret",
    ["open-sesame", "whsec_", "whsec_c2hvcnQ=", "whsec_%%%", "12345", "whsec_" + "QUJD" * 30],
)
def test_a_secret_that_is_none_is_refused_without_showing_it(tmp_path: Path, secret: str) -> None:
    webhook = f"{{name: a, url: https://h/, secret: '{secret}'}}"
    with pytest.raises(ConfigError, match="whsec_ and 24 to 64 bytes in base64") as caught:
        load(write(tmp_path, webhook), {})
    assert secret not in str(caught.value).replace("whsec_ and", "") or secret == "whsec_"
    assert "(hidden)" in str(caught.value)


@pytest.mark.parametrize(
    "webhook",
    [
        f"{{name: a, url: https://h/, secrett: {SECRET}}}",
        "{name: a, url: https://h/, secrett: hunter2hunter2}",
        f"{{name: a, url: https://h/, secret_file: {SECRET}}}",
        f"{{name: a, url: {SECRET}, secret: {SECRET}}}",
        f"{{name: {SECRET}, url: https://h/, secret: {SECRET}}}",
        f"{{name: a, url: https://h/, {SECRET}: secret}}",
        f"{{name: a, url: https://h/, secret: {SECRET}, topics: [{SECRET}]}}",
        f"{{name: a, url: https://h/, secret: !tag {SECRET}}}",
        f"{{name: a, url: https://h/, secret: !{SECRET} x}}",
        f"{{name: a, url: https://h/, secret: *{SECRET}}}",
        f"{{name: a, url: https://h/, secret: {SECRET}: 1}}",
        "{name: a, url: https://h/, secret: 'hunter2hunter2}",
        "{name: a, url: http://hooks.example/hunter2hunter2, secret: x}",
        "{name: a, url: https://hooks.example/hunter2hunter2: {}: x}",
        "{name: a, url: 'https://hooks example/hunter2hunter2', secret: x}",
        "{name: a, url: 'hooks.example/hunter2hunter2', secret: x}",
        SECRET,
    ],
)
def test_no_mistake_shows_a_secret(tmp_path: Path, webhook: str) -> None:
    errors = validate(write(tmp_path, webhook))
    assert errors
    for error in errors:
        shown = f"{error} {error.field} {error.value} {error.rule}"
        assert SECRET.removeprefix("whsec_") not in shown
        assert "hunter2" not in shown


def test_topics_that_name_none_are_a_mistake(tmp_path: Path) -> None:
    [error] = validate(write(tmp_path, HOOK.replace("}", ", topics: []}")))
    assert (error.field, error.rule) == (
        "webhooks[0].topics",
        "at least one of roles, alarms, rollouts",
    )


def test_every_webhook_has_its_own_name(tmp_path: Path) -> None:
    [error] = validate(write(tmp_path, HOOK, HOOK))
    assert "its own name" in error.rule


def test_there_are_not_too_many(tmp_path: Path) -> None:
    many = [HOOK.replace("pager,", f"p{n},") for n in range(33)]
    [error] = validate(write(tmp_path, *many))
    assert error.rule == "at most 32 webhooks"
