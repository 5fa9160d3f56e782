"""Every door has the state machine's rules of names and addresses: the same table goes through all.

A door lets in what the state machine takes and refuses what it refuses, naming field and rule.
"""

import asyncio
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple, get_args
from unittest.mock import Mock
from urllib.parse import quote

import httpx
import pytest
from fastapi import FastAPI
from typer.testing import CliRunner

from stationkeep.cluster.apply import Rejected
from stationkeep.cluster.commands import (
    AddMember,
    CreateRollout,
    MemberSpec,
    Pause,
    RunAction,
    SetFreeze,
)
from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.names import ADDRESS_RULE, NAME_RULE, TEXT_RULE, link_fault
from stationkeep.cluster.roles.policies import PRIORITIES
from stationkeep.cluster.rollouts.plan import Plan
from stationkeep.node.api.app import build
from stationkeep.node.api.resources.nodes import PolicyInput
from stationkeep.node.cli import exchange
from stationkeep.node.cli.main import app as command_line
from stationkeep.node.config.node_config import ConfigError, load
from stationkeep.node.peers.network import PeerNetwork
from stationkeep.node.wire import messages as wire
from tests.cluster.driver import ORBIT, Driver
from tests.founding import founding
from tests.node.api.fake import FakeNode

ADDRESSES = [
    "", "host", "host:", ":1", "host:0", "host:65536", "host:99999", "host:01", "host:+1",
    "host:1 ", " host:1", "host:1\n", "host:\u0661", "h\u00f6st:1", "http://host:1", "host:1/path",
    "host:1?x", "host:1#x", "user@host:1", "user:secret@host:1", "a b:1", "ho\x00st:1", "*:1",
    "*;script-src x:1", "'self':1", "'unsafe-inline':1", "a,b:1", "[b]:1", "0.0.0.0:1", "[::]:1",
    "::1:80", "[::1:80", "[127.0.0.1]:80", "[fe80::1%eth0]:1", "224.0.0.1:1", "[ff02::1]:1",
    "1.2.3:1", "0x7f.1:1", "1:1", "999.1.1.1:1", "01.2.3.4:1", "-a.example:1", "a-.example:1",
    "a..b:1", ".a:1", "a.:1", "x" * 64 + ":1", "a." * 127 + "b:1", "host:" + "1" * 500,
]  # fmt: skip
"""None is an address."""
ELSEWHERE = ["192.0.2.1:7701", "example.org:7701", "[2001:db8::1]:7701", "localhost.example:1"]
"""Addresses of other machines."""
HERE = ["localhost:1", "127.0.0.1:65535", "127.9.9.9:7701", "[::1]:8701"]
NAMES = [
    "", " ", "-x", ".x", "_x", "a b", "a/b", "a:b", "\u00e4", "a\n", "a\x00", "a\x1b[2J", "[/b]",
    "../x", "*", "x" * 65, "x" * 5_000,
]  # fmt: skip
TEXTS = ["\x1b[2J", "a\nb", "a\rb", "\x00", "\x9b2J", "\x7f", "\u202egnp", "\u2066x"]
GOOD_NAMES = ["a", "sat-009", "A.b_c-d", "9", "x" * 64]
PLAN = Plan(Artifact("2.0.0"))
SPEC = MemberSpec("sat-009", "127.0.0.1:7709", "127.0.0.1:8709")


class Refusal(NamedTuple):
    """What a door said."""

    text: str


@cache
def _api() -> FastAPI:
    """Of a node; good until it has taken somebody in."""
    return build(FakeNode().with_primary())


class InProcess(httpx.BaseTransport):
    """To the API of a node without sockets, for those who ask without a loop."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return asyncio.run(self._ask(request))

    async def _ask(self, request: httpx.Request) -> httpx.Response:
        answer = await httpx.ASGITransport(_api()).handle_async_request(request)
        return httpx.Response(
            answer.status_code, headers=answer.headers, content=await answer.aread()
        )


def _asking() -> httpx.Client:
    return httpx.Client(transport=InProcess(), base_url="http://localhost")


def _asking_from_a_loop() -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(_api()), base_url="http://localhost")


def state(spec: MemberSpec) -> Refusal | None:
    outcome = Driver(3).do(AddMember(spec), key="k").outcome
    return Refusal(outcome.detail) if isinstance(outcome, Rejected) else None


def rest(spec: MemberSpec) -> Refusal | None:
    with _asking() as asking:
        body = {"id": spec.id, "raft": spec.raft, "http": spec.http}
        answer = asking.post("/v1/nodes", json=body)
    if answer.status_code == 200:
        _api.cache_clear()
        return None
    assert answer.status_code == 400
    return Refusal(answer.json()["detail"])


def shell(spec: MemberSpec) -> Refusal | None:
    options = ["nodes", "join", f"--raft={spec.raft}", f"--http={spec.http}", "--", spec.id]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exchange, "open_http", _asking_from_a_loop)
        ended = CliRunner().invoke(command_line, options)
    if ended.exit_code == 0:
        _api.cache_clear()
        return None
    return Refusal(ended.output)


def file(spec: MemberSpec, folder: Path) -> Refusal | None:
    members = {spec.id: {"raft": spec.raft, "http": spec.http}}
    host = "127.0.0.1" if link_fault(spec.raft) is None else "192.0.2.2"  # all there, or none
    own = {"sat-001": {"raft": f"{host}:7", "http": "127.0.0.1:8"}}
    path = folder / "node.yaml"
    told = {
        "node": "sat-001", "cluster": "c", "data_dir": "d", "members": own | members,
        "insecure": True,
    }  # fmt: skip
    path.write_text(json.dumps(told))
    try:
        load(path, {})
    except ConfigError as error:
        return Refusal(str(error))
    return None


def told(spec: MemberSpec) -> Refusal | None:
    """By a peer; of HTTP addresses peers say nothing."""
    network = PeerNetwork(node_id="a", cluster="c", listen="127.0.0.1:1", peers={})
    network.loop = Mock(time=lambda: 0.0)  # it was not started
    network.deliver("b", {"kind": "peers", "version": -1, "peers": {spec.id: spec.raft}})
    return Refusal("bad_peers") if network.rejected else None


@pytest.fixture
def doors(tmp_path: Path) -> dict[str, Callable[[MemberSpec], Refusal | None]]:
    return {
        "state": state,
        "rest": rest,
        "shell": shell,
        "file": lambda spec: file(spec, tmp_path),
        "told": told,
    }


def _spec(field: str, value: str) -> MemberSpec:
    return MemberSpec(**{"id": SPEC.id, "raft": SPEC.raft, "http": SPEC.http, field: value})


TABLE = [
    *(("raft", value, ADDRESS_RULE) for value in ADDRESSES),
    *(("http", value, ADDRESS_RULE) for value in ADDRESSES),
    *(("id", value, NAME_RULE) for value in NAMES),
]


@pytest.mark.parametrize(("field", "value", "rule"), TABLE)
def test_no_door_lets_in_what_breaks_a_rule(doors, field: str, value: str, rule: str) -> None:
    spec = _spec(field, value)
    said = {name: door(spec) for name, door in doors.items() if (name, field) != ("told", "http")}
    assert [name for name, refusal in said.items() if refusal is None] == []
    told_by_state = said["state"]
    assert told_by_state is not None
    assert told_by_state.text.startswith(f"{field}: ")
    assert rule in told_by_state.text


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("id", value) for value in GOOD_NAMES),
        *(("raft", value) for value in [*HERE, *ELSEWHERE]),
        *(("http", value) for value in [*HERE, *ELSEWHERE, "sat_1.example:80"]),
    ],
)
def test_every_door_lets_in_what_keeps_the_rules(doors, field: str, value: str) -> None:
    said = {name: door(_spec(field, value)) for name, door in doors.items()}
    assert [(name, refusal) for name, refusal in said.items() if refusal is not None] == []


@pytest.mark.parametrize("text", TEXTS)
def test_no_door_keeps_a_text_that_steers_a_terminal(text: str) -> None:
    driver = Driver(3)
    for field in ("actor", "reason"):
        outcome = driver.do(Pause(5_000), key="k", **{field: text}).outcome
        assert outcome == Rejected("invalid", f"{field}: not {TEXT_RULE}")
    assert driver.state.pause is None
    with _asking() as asking:
        answer = asking.post("/v1/pause", json={"duration": "5s", "reason": text})
    assert (answer.status_code, answer.json()["rule"]) == (400, TEXT_RULE)


def test_no_door_takes_what_no_hook_can_be_given() -> None:
    outcome = Driver(3).do(RunAction("a", ("sat-001",), {"K": "a\0b"})).outcome
    assert isinstance(outcome, Rejected)
    assert "parameters.K" in outcome.detail
    with _asking() as asking:
        answer = asking.post("/v1/actions", json={"name": "a", "parameters": {"K": "a\0b"}})
    assert answer.status_code == 400


@pytest.mark.parametrize("name", NAMES)
def test_nobody_is_born_under_another_name(name: str) -> None:
    driver = Driver(3)
    driver.state.cluster_id = ""
    outcome = driver.do(founding("c", (_spec("id", name),), ORBIT)).outcome
    assert isinstance(outcome, Rejected)
    assert NAME_RULE in outcome.detail


@pytest.mark.parametrize("name", [*NAMES, *GOOD_NAMES])
def test_rollouts_and_freezes_are_named_as_everything_is(name: str) -> None:
    good = name in GOOD_NAMES
    for command in (CreateRollout(name, PLAN), SetFreeze(name, 60_000)):
        outcome = Driver(3).do(command, key="k").outcome
        assert isinstance(outcome, Rejected) is not good
        assert good or NAME_RULE in str(outcome)
    body = {"rollout": name, "plan": {"artifact": {"version": "2.0.0"}}}
    with _asking() as asking:
        laid_down = asking.post("/v1/rollouts", json=body)
        frozen = asking.put(f"/v1/freezes/{quote(name, safe='')}", json={"duration": "1m"})
    _api.cache_clear()
    assert laid_down.status_code == (201 if good else 400)
    assert good or laid_down.json()["field"] == "rollout"
    assert frozen.status_code in ((200,) if good else (400, 404, 405))


@pytest.mark.parametrize("text", TEXTS)
def test_no_order_about_a_rollout_keeps_a_text_that_steers_a_terminal(text: str) -> None:
    with _asking() as asking:
        for path, body in (
            ("/v1/rollouts", {"rollout": "fw", "plan": {}, "comment": text}),
            ("/v1/rollouts/fw/abort", {"reason": text}),
            ("/v1/rollouts/fw/approve", {"digest": text}),
            ("/v1/rollouts/fw/promote", {"variant": text}),
            ("/v1/rollouts/fw/retry", {"stage": text}),
        ):
            answer = asking.post(path, json=body)
            assert (answer.status_code, answer.json()["rule"]) == (400, TEXT_RULE), path


def test_what_types_must_spell_out_is_what_the_state_machine_has() -> None:
    assert get_args(wire.Ring) == tuple(Ring)
    assert get_args(PolicyInput.model_fields["priority"].annotation) == PRIORITIES
