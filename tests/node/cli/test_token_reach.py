"""Whom any command shows a token: who it was made for, and who proves to be of the same cluster.

What a node tells of others, and what lies in the directory where one is, is not to be believed."""

import copy
from collections.abc import Callable
from pathlib import Path

import httpx
import msgspec
import pytest

from stationkeep.node.cli import contexts, exchange, watch
from stationkeep.node.local.manifest import DEFAULT_DATA_DIR, MANIFEST, Manifest, NodeRecord
from stationkeep.node.security.tokens import draw
from tests.node.cli.canned import NODES, CannedNode, Run
from tests.node.cli.every_command import Command, every_command
from tests.node.security.issuing import files

ASKING = [command for command in every_command() if command.asks and not command.is_device]
TOKEN = draw().text
OWN = "127.0.0.1:8701"
TOLD = ("127.0.0.1:8702", "sat-003.example.net:8703")
LYING_ABOUT = "127.0.0.1:6666"


class Network:
    """Where requests go. `dead`: addresses at which nobody answers; `shown`: those that got the
    token, with the scheme."""

    def __init__(self, canned: CannedNode) -> None:
        self.canned, self.dead = canned, set[str]()
        self.asked, self.shown = set[str](), set[str]()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        place = request.url.netloc.decode()
        self.asked.add(place)
        if "Authorization" in request.headers:
            assert request.headers["Authorization"] == f"Bearer {TOKEN}"
            self.shown.add(f"{request.url.scheme}://{place}")
        if place in self.dead:
            raise httpx.ConnectError("refused")
        return self.canned(request)

    def open(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.MockTransport(self))


@pytest.fixture
def network(canned: CannedNode, monkeypatch: pytest.MonkeyPatch) -> Network:
    """Members at several addresses, and a local cluster that somebody has left here."""
    found = Network(canned)
    monkeypatch.setattr(exchange, "open_http", found.open)
    monkeypatch.setitem(watch.run.__kwdefaults__, "opener", found.open)
    members = copy.deepcopy(NODES)
    for member, http in zip(members, (OWN, *TOLD), strict=True):
        member["address"]["http"] = http
    canned.reads["/v1/nodes"] = canned.reads["/v1/nodes"] | {"items": members}
    record = NodeRecord("127.0.0.1:7666", LYING_ABOUT, "", "", "")
    DEFAULT_DATA_DIR.mkdir()
    manifest = Manifest("x", "demo", 7666, 6666, {"sat-001": record})
    (DEFAULT_DATA_DIR / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    return found


def by_variable(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    monkeypatch.setenv("STATIONKEEP_TOKEN", TOKEN)
    if scheme == "https":
        monkeypatch.setenv("STATIONKEEP_URL", f"https://{OWN}")


def by_context(_: pytest.MonkeyPatch, scheme: str) -> None:
    contexts.put("prod", contexts.Context(f"{scheme}://{OWN}", TOKEN))


Way = Callable[[pytest.MonkeyPatch, str], None]
WAYS = pytest.mark.parametrize("way", [by_variable, by_context], ids=["variable", "context"])


@WAYS
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("command", ASKING, ids=str)
def test_no_command_shows_its_token_to_another_node_than_its_own(
    command: Command,
    scheme: str,
    way: Way,
    *,
    network: Network,
    stationkeep: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    way(monkeypatch, scheme)
    for network.dead in (set(), {OWN}):
        for arguments in command.variants(tmp_path / "file"):
            stationkeep(*arguments)
    assert network.shown <= {f"{scheme}://{OWN}"}


@WAYS
def test_a_node_that_proves_to_be_of_the_cluster_is_shown_it_too(
    way: Way, network: Network, stationkeep: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    way(monkeypatch, "https")
    ca = files(tmp_path / "tls", "sat-001").ca
    monkeypatch.setenv("STATIONKEEP_CA", str(ca))
    assert stationkeep("nodes", "links", "--all").exit_code == 0
    assert network.shown == {f"https://{place}" for place in (OWN, *TOLD)}


def test_an_option_says_which_cluster_whatever_the_environment_says(
    network: Network, stationkeep: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_context(monkeypatch, "https")
    contexts.put("staging", contexts.Context("https://staging:8701", draw().text))
    monkeypatch.setenv("STATIONKEEP_URL", "https://staging:8701")
    monkeypatch.setenv("STATIONKEEP_TOKEN", draw().text)
    assert stationkeep("--context", "prod", "alarms", "list").exit_code == 0
    assert network.shown == {f"https://{OWN}"}


def test_the_token_of_a_context_in_the_environment_goes_to_no_other_address(
    network: Network, stationkeep: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_context(monkeypatch, "https")
    monkeypatch.setenv("STATIONKEEP_CONTEXT", "prod")
    stationkeep("alarms", "list", "--url", "https://staging:8701")
    assert (network.asked, network.shown) == ({"staging:8701"}, set())
    stationkeep("alarms", "list", "--url", f"https://{OWN}/")
    assert network.shown == {f"https://{OWN}"}


@pytest.mark.parametrize("command", ASKING, ids=str)
def test_who_names_a_node_asks_none_of_the_cluster_that_is_about(
    command: Command, network: Network, stationkeep: Run, tmp_path: Path
) -> None:
    """Not even where that node does not answer: it would be another cluster's answer."""
    for network.dead in (set(), {OWN}):
        for arguments in command.variants(tmp_path / "file"):
            stationkeep(*arguments, "--url", f"http://{OWN}")
    assert LYING_ABOUT not in network.asked


def log_in(stationkeep: Run, scheme: str, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    result = stationkeep("login", f"{scheme}://{OWN}", "--token-file", str(file), "--name", "prod")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("command", ["alarms list", "pause --for 1m", "watch --once"])
def test_when_the_node_of_a_login_is_dead_another_one_of_its_cluster_is_asked(
    command: str, network: Network, stationkeep: Run, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("STATIONKEEP_CA", str(files(tmp_path / "tls", "sat-001").ca))
    log_in(stationkeep, "https", tmp_path)
    network.dead, network.shown = {OWN}, set()
    result = stationkeep(*command.split())
    assert result.exit_code == 0, result.output
    assert network.shown == {f"https://{OWN}", f"https://{TOLD[0]}"}
    network.asked.clear()
    assert stationkeep("alarms", "list", "--url", f"https://{OWN}").exit_code == 4
    assert network.asked == {OWN}, "which node is asked was said"


def test_but_none_that_does_not_prove_to_be_of_it(
    network: Network, stationkeep: Run, tmp_path: Path
) -> None:
    for scheme in ("http", "https"):
        log_in(stationkeep, scheme, tmp_path)
        network.dead, network.asked = {OWN}, set()
        assert stationkeep("alarms", "list").exit_code == 4
        assert network.asked == {OWN}
        network.dead = set()
