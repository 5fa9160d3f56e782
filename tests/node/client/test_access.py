"""Who a program is: what its client shows, and what becomes of a call if that will not do."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from stationkeep.node.client import (
    AsyncClient,
    Client,
    NotAuthorisedError,
    OutcomeUnknownError,
    RefusedError,
)
from stationkeep.node.security.tokens import draw
from tests.node.cli.canned import CLUSTER
from tests.node.client.conftest import PlayedNodes, done, problem

URL = "http://127.0.0.1:1"
OTHER = "http://127.0.0.1:2"
Judge = Callable[[httpx.Request], httpx.Response]
STATUS = httpx.Response(200, json=CLUSTER)


def refused(rule: str) -> httpx.Response:
    status = 403 if rule == "role" else 401
    return problem(status, detail="it will not do", rule=rule)


def asks_for(token: str, then: Judge = lambda _: STATUS) -> Judge:
    def judged(request: httpx.Request) -> httpx.Response:
        good = request.headers.get("Authorization") == f"Bearer {token}"
        return then(request) if good else refused("unknown")

    return judged


def shown(played: PlayedNodes) -> list[str]:
    return [r.headers.get("Authorization", "").removeprefix("Bearer ") for r in played.requests]


async def test_a_token_is_shown_to_every_node_that_was_named(played: PlayedNodes) -> None:
    token = draw().text
    played.replies = {1: [httpx.ReadTimeout("x")], 2: [asks_for(token)]}
    async with AsyncClient([URL, OTHER], token=token) as client:
        await client.get_cluster_status()
        assert token not in repr(client)
    assert shown(played) == [token, token]


def test_so_does_the_plain_client_by_the_environment(
    played: PlayedNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = draw().text
    monkeypatch.setenv("STATIONKEEP_TOKEN", token)
    played.replies = {1: [asks_for(token)]}
    with Client(URL) as client:
        client.get_cluster_status()
    with Client(URL, token="") as client, pytest.raises(NotAuthorisedError):
        client.get_cluster_status()


@pytest.mark.parametrize("rule", ["missing", "malformed", "unknown", "revoked", "expired", "role"])
async def test_who_may_not_is_told_why_and_nobody_is_asked_again(
    played: PlayedNodes, rule: str
) -> None:
    played.replies = {1: [refused(rule)], 2: [STATUS]}
    async with AsyncClient([URL, OTHER], token=draw().text) as client:
        with pytest.raises(NotAuthorisedError, match=f"it will not do .rule: {rule}.") as caught:
            await client.get_cluster_status()
    assert caught.value.rule == rule
    assert isinstance(caught.value, RefusedError)
    assert played.ports == [1]


async def test_a_file_that_was_replaced_is_read_anew_once(
    played: PlayedNodes, tmp_path: Path
) -> None:
    old, new, newest = (draw().text for _ in range(3))
    file = tmp_path / "token"
    file.write_text(old)
    async with AsyncClient(URL, token_file=file) as client:
        played.replies = {1: [asks_for(new)]}
        with pytest.raises(NotAuthorisedError):
            await client.get_cluster_status()
        assert shown(played) == [old]
        file.write_text(new)
        await client.get_cluster_status()
        assert shown(played) == [old, old, new]
        file.write_text(newest)
        played.replies = {1: [asks_for("another")]}
        with pytest.raises(NotAuthorisedError):
            await client.get_cluster_status()
        assert shown(played)[3:] == [new, newest]


async def test_a_write_is_sent_again_under_its_key_with_the_token_of_now(
    played: PlayedNodes, tmp_path: Path
) -> None:
    old, new = draw().text, draw().text
    file = tmp_path / "token"
    file.write_text(old)
    played.replies = {1: [asks_for(new, done)]}
    async with AsyncClient(URL, token_file=file) as client:
        file.write_text(new)
        await client.release_slave("slave-001")
    assert (shown(played), len(played.keys)) == ([old, new], 1)


async def test_what_a_lost_write_came_to_is_not_known_to_who_may_not_ask_any_more(
    played: PlayedNodes,
) -> None:
    played.replies = {1: [httpx.ReadTimeout("x")], 2: [refused("revoked")]}
    async with AsyncClient([URL, OTHER], token=draw().text) as client:
        with pytest.raises(OutcomeUnknownError):
            await client.release_slave("slave-001")


def test_a_token_does_not_leave_the_machine_in_plain_text() -> None:
    with pytest.raises(ValueError, match="over https, or over http to this machine alone"):
        AsyncClient([URL, "http://10.0.0.1:8701"], token=draw().text)
