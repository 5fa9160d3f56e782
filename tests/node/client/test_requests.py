"""Which node is asked, how often, and how a call ends."""

import asyncio

import httpx
import pytest

from stationkeep.node.client import (
    AnswerError,
    AsyncClient,
    BusyError,
    NoQuorumError,
    NotFoundError,
    OutcomeUnknownError,
    RefusedError,
    UnreachableError,
)
from tests.node.cli.canned import CLUSTER
from tests.node.client.conftest import BUSY, NO_QUORUM, PlayedNodes, done, problem, unknown

STATUS = httpx.Response(200, json=CLUSTER)
LOST = [httpx.ReadTimeout("x"), httpx.ReadError("x"), httpx.RemoteProtocolError("x")]


async def assign(client: AsyncClient, key: str | None = None) -> None:
    await client.assign_slave_to_ring("slave-001", "prod", "it is good", key=key)


# -- reads


@pytest.mark.parametrize("failure", [None, *LOST, httpx.ConnectTimeout("x")])
async def test_a_read_goes_on_to_a_node_that_answers_and_stays_there(
    played: PlayedNodes, client: AsyncClient, failure: Exception | None
) -> None:
    played.replies = {1: [failure] if failure else [], 2: [STATUS]}
    assert (await client.get_cluster_status())["total_slaves"] == 8
    await client.get_cluster_status()
    assert played.ports == [1, 2, 2]


async def test_nobody_there_is_told_soon_with_each_address(
    played: PlayedNodes, client: AsyncClient
) -> None:
    played.replies[2] = [httpx.ReadTimeout("x")]
    with pytest.raises(UnreachableError) as caught:
        await client.get_cluster_status()
    assert caught.value.failed == {
        "http://127.0.0.1:1": "connection refused",
        "http://127.0.0.1:2": "no answer in time",
        "http://127.0.0.1:3": "connection refused",
    }
    assert len(played.requests) == 6


@pytest.mark.parametrize("reply", [NO_QUORUM, BUSY, httpx.Response(500), httpx.Response(502)])
async def test_a_node_that_cannot_is_left_for_the_next(
    played: PlayedNodes, client: AsyncClient, reply: httpx.Response
) -> None:
    played.replies = {1: [reply], 2: [STATUS]}
    assert (await client.get_cluster_status())["verdict"] == "attention"
    assert played.ports == [1, 2]


@pytest.mark.parametrize(("reply", "kind"), [(NO_QUORUM, NoQuorumError), (BUSY, BusyError)])
async def test_when_none_can_before_the_time_is_over_that_is_told(
    played: PlayedNodes, reply: httpx.Response, kind: type[Exception]
) -> None:
    played.replies = {1: [reply], 2: [reply]}
    async with AsyncClient(["http://127.0.0.1:1", "http://127.0.0.1:2"], timeout=0.2) as client:
        with pytest.raises(kind):
            await client.get_cluster_status()
    assert len(played.requests) > 2


async def test_a_read_may_have_to_see_all_that_was_acknowledged(played: PlayedNodes) -> None:
    played.replies[1] = [STATUS]
    async with AsyncClient("http://127.0.0.1:1", consistency="strong") as client:
        await client.get_cluster_status()
    assert played.requests[0].url.query == b"consistency=strong"


# -- changes


async def test_a_change_says_who_wants_it_and_why(played: PlayedNodes, client: AsyncClient) -> None:
    played.replies[1] = [done]
    await assign(client)
    request = played.requests[0]
    assert (request.method, request.url.path) == ("PUT", "/v1/devices/slave-001/ring")
    assert request.headers["X-Stationkeep-Actor"] == "ann"
    assert played.body == {"ring": "prod", "reason": "it is good", "lifetime": None}


@pytest.mark.parametrize("reply", [*LOST, unknown, httpx.Response(500), httpx.Response(504)])
async def test_a_change_whose_answer_is_lost_is_sent_again_under_the_same_key(
    played: PlayedNodes, client: AsyncClient, reply: object
) -> None:
    played.replies = {1: [reply], 2: [done]}
    await assign(client)
    assert played.ports == [1, 2]
    assert len(played.keys) == 1
    assert None not in played.keys


@pytest.mark.parametrize("reply", [*LOST, unknown, httpx.Response(500), httpx.Response(503)])
async def test_a_change_that_nothing_confirms_in_time_may_have_been_made(
    played: PlayedNodes, reply: object
) -> None:
    played.replies[1] = [reply]
    async with AsyncClient("http://127.0.0.1:1", timeout=0.2) as client:
        with pytest.raises(OutcomeUnknownError) as caught:
            await assign(client, key="op-9")
    assert caught.value.operation == "op-9"
    assert "op-9" in str(caught.value)
    assert len(played.requests) > 1


async def test_a_change_that_may_have_been_made_is_not_called_undone_when_all_nodes_die(
    played: PlayedNodes,
) -> None:
    refused = httpx.ConnectError("x")
    played.replies[1] = [httpx.ReadError("x"), refused]
    async with AsyncClient("http://127.0.0.1:1", timeout=0.2) as client:
        with pytest.raises(OutcomeUnknownError, match="the connection broke"):
            await assign(client)


async def test_a_change_that_never_reached_a_node_has_not_been_made(
    played: PlayedNodes, client: AsyncClient
) -> None:
    with pytest.raises(UnreachableError):
        await assign(client)


async def test_a_change_that_no_quorum_takes_has_not_been_made(played: PlayedNodes) -> None:
    played.replies[1] = [NO_QUORUM]
    async with AsyncClient("http://127.0.0.1:1", timeout=0.2) as client:
        with pytest.raises(NoQuorumError, match="no leader"):
            await assign(client)


async def test_a_change_under_way_when_the_time_is_over_may_have_been_made(
    played: PlayedNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(request: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(
        "stationkeep.node.client.nodes.open_http",
        lambda **_: httpx.AsyncClient(transport=httpx.MockTransport(never)),
    )
    async with AsyncClient("http://127.0.0.1:1", timeout=0.1) as client:
        with pytest.raises(OutcomeUnknownError, match="no answer in time"):
            await assign(client)
        with pytest.raises(UnreachableError, match="no node answered in time"):
            await client.get_cluster_status()


async def test_what_the_log_refuses_is_refused_whatever_was_in_doubt_before(
    played: PlayedNodes, client: AsyncClient
) -> None:
    told = problem(404, "no such device", rule="unknown_device", operation="op-1")
    played.replies = {1: [httpx.ReadError("x")], 2: [told]}
    with pytest.raises(NotFoundError) as caught:
        await assign(client)
    assert (caught.value.rule, caught.value.operation) == ("unknown_device", "op-1")


async def test_a_refusal_in_front_of_the_log_says_nothing_of_a_change_in_doubt(
    played: PlayedNodes, client: AsyncClient
) -> None:
    played.replies = {1: [httpx.ReadError("x")], 2: [problem(400, "reason: refused")]}
    with pytest.raises(OutcomeUnknownError):
        await assign(client)


async def test_a_share_that_is_used_up_is_told_at_once(
    played: PlayedNodes, client: AsyncClient
) -> None:
    played.replies[1] = [problem(429, "your share", rule="quota", operation="op-1")]
    with pytest.raises(BusyError) as caught:
        await assign(client)
    assert caught.value.rule == "quota"
    assert len(played.requests) == 1


async def test_a_refusal_names_field_value_and_rule(
    played: PlayedNodes, client: AsyncClient
) -> None:
    played.replies[1] = [
        problem(400, "ring: blue refused: one of four", field="ring", value="blue",
                rule="one of four"),
    ]  # fmt: skip
    with pytest.raises(RefusedError) as caught:
        await client.assign_slave_to_ring("slave-001", "blue")
    error = caught.value
    assert (error.field, error.value, error.rule, error.status) == (
        "ring", "blue", "one of four", 400,
    )  # fmt: skip
    assert str(error) == "ring: blue refused: one of four"
    assert not isinstance(error, NotFoundError)


async def test_each_change_has_a_key_of_its_own(played: PlayedNodes, client: AsyncClient) -> None:
    played.replies[1] = [done]
    await assign(client)
    await assign(client)
    assert len(played.keys) == 2


# -- what cannot be sent


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:8701", "ftp://x", "http://", "http://x:0x", "http://x:99999", "http://x/?a=1",
     "http://x y", "http://x\n", "http://[::1", "http://x/#a"],
)  # fmt: skip
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="must be an address such as"):
        AsyncClient(url)


def test_so_many_addresses_are_taken() -> None:
    with pytest.raises(ValueError, match="0 refused: from 1 to 128"):
        AsyncClient([])
    with pytest.raises(ValueError, match="129 refused: from 1 to 128"):
        AsyncClient(f"http://x:{port}" for port in range(1, 130))


@pytest.mark.parametrize("key", ["", " ", "a\nb", "é", "x" * 129])
async def test_a_key_that_no_node_takes_is_not_sent(
    played: PlayedNodes, client: AsyncClient, key: str
) -> None:
    with pytest.raises(ValueError, match=r"^key: "):
        await assign(client, key)
    assert not played.requests


async def test_a_name_is_one_part_of_a_path(played: PlayedNodes, client: AsyncClient) -> None:
    played.replies[1] = [done]
    for name in ("..", ".", "a/b", "a?b", "a%2Fb"):
        await client.release_slave(name)
        assert played.requests[-1].url.path == f"/v1/devices/{name}/ring"
    with pytest.raises(ValueError, match="surrogates"):
        await client.release_slave("\ud800")


async def test_a_text_that_is_not_utf_8_is_not_sent(
    played: PlayedNodes, client: AsyncClient
) -> None:
    with pytest.raises(ValueError, match="surrogates"):
        await client.assign_slave_to_ring("slave-001", "prod", "\ud800")
    assert not played.requests


async def test_an_actor_with_any_name_can_ask(played: PlayedNodes) -> None:
    played.replies[1] = [done]
    async with AsyncClient("http://127.0.0.1:1", actor="jürgen\r\nHost: x") as client:
        await assign(client)
    assert played.requests[0].headers["X-Stationkeep-Actor"] == "j%C3%BCrgen%0D%0AHost: x"


# -- what answers may be anything


BODIES = {
    "nothing": b"",
    "no JSON": b"<html>\x1b[2J",
    "no UTF-8": b'{"verdict": "\xff\xfe"}',
    "a list": b"[]",
    "null": b"null",
    "an empty object": b"{}",
    "nested without end": b'{"fleet": ' + b"[" * 100_000,
    "nested in what nobody looks at": b'{"x": ' + b"[" * 100_000,
    "5,000 digits": b'{"applied_index": ' + b"9" * 5_000 + b"}",
    "half a pair": b'{"verdict": "\\ud800"}',
    "not a number": b'{"verdict": NaN}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("status", [200, 204, 302, 400, 404, 409, 500, 503])
async def test_an_answer_of_nobodys_ends_in_an_error_of_ours(
    played: PlayedNodes, body: bytes, status: int
) -> None:
    played.replies[1] = [httpx.Response(status, content=body)]
    async with AsyncClient("http://127.0.0.1:1", timeout=0.05) as client:
        with pytest.raises((AnswerError, RefusedError, NoQuorumError)) as caught:
            await client.get_cluster_status()
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 3_000
        with pytest.raises((OutcomeUnknownError, RefusedError)):
            await assign(client)


@pytest.mark.parametrize("field", ["detail", "title", "rule", "field", "value", "operation"])
@pytest.mark.parametrize("value", [None, 7, [], {}, "\x1b[2J" * 10_000, "\u202e"])
async def test_a_problem_with_anything_in_it_is_an_error_of_ours(
    played: PlayedNodes, client: AsyncClient, field: str, value: object
) -> None:
    played.replies[1] = [httpx.Response(409, json={"detail": "no", field: value})]
    with pytest.raises(RefusedError) as caught:
        await assign(client)
    assert str(caught.value).isprintable()
    assert caught.value.rule.isprintable()
    assert caught.value.value.isprintable()


async def test_a_body_without_end_is_not_read_to_its_end(
    played: PlayedNodes, client: AsyncClient
) -> None:
    sent = 0

    async def endless():
        nonlocal sent
        while True:
            sent += 1 << 20
            yield b" " * (1 << 20)

    played.replies[1] = [lambda _: httpx.Response(200, content=endless())]
    with pytest.raises(UnreachableError, match="the answer is too large"):
        await client.get_cluster_status()
    assert sent < 64 << 20


async def test_an_answer_that_was_compressed_is_not_unpacked(
    played: PlayedNodes, client: AsyncClient
) -> None:
    packed = {"Content-Encoding": "gzip"}
    played.replies[1] = [lambda _: httpx.Response(200, headers=packed, stream=_Raw())]
    with pytest.raises(UnreachableError, match="the answer is too large"):
        await client.get_cluster_status()


class _Raw(httpx.AsyncByteStream):
    async def __aiter__(self):
        yield b"\x1f\x8b"
