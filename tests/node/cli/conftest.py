from functools import cache
from pathlib import Path

import httpx
import pytest
import typer.testing
from typer.main import get_command

from stationkeep.node.cli import event_stream, exchange, watch
from stationkeep.node.cli.commands import demo, events
from stationkeep.node.cli.main import app
from tests.node.cli.canned import CannedNode, Run


@pytest.fixture
def canned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CannedNode:
    """Every connection of the command line leads to this node; no local cluster is about."""
    node_ = CannedNode()

    def open_http() -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.MockTransport(node_))

    def open_watching() -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.MockTransport(node_))

    monkeypatch.setattr(exchange, "open_http", open_http)
    monkeypatch.setattr(event_stream, "open_http", open_http)
    for wait in ("PAUSE_SECONDS", "PATIENCE"):
        monkeypatch.setattr(event_stream, wait, 0.0)
    monkeypatch.setattr(events, "POLL_SECONDS", 0.0)
    openers = {**watch.run.__kwdefaults__, "opener": open_watching}
    monkeypatch.setattr(watch.run, "__kwdefaults__", openers)
    monkeypatch.setattr(demo, "NODE_COMMAND", ("true",))
    monkeypatch.setattr(demo, "PATIENCE", 0.0)
    for variable in ("URL", "TOKEN", "CONTEXT", "CA"):
        monkeypatch.setenv(f"STATIONKEEP_{variable}", "")  # what a command sets is taken away again
        monkeypatch.delenv(f"STATIONKEEP_{variable}")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    return node_


BUILT = cache(get_command)
"""The command of an app; Typer's runner makes it anew for each run, and that takes longer than most
runs."""


@pytest.fixture
def stationkeep(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command with these arguments."""
    monkeypatch.setattr(typer.testing, "_get_command", BUILT)
    runner = typer.testing.CliRunner()
    return lambda *arguments: runner.invoke(app, list(arguments), catch_exceptions=False)
