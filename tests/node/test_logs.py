"""Logs: what must not stand in them."""

import io
import logging
import sys
from collections.abc import Iterator

import pytest
import structlog

from node.config import LogConfig
from node.logs import configure


@pytest.fixture
def restored() -> Iterator[None]:
    """What `configure` sets for the whole process, as it was before."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()


@pytest.mark.parametrize("level", ["debug", "info"])
def test_where_webhooks_go_is_not_logged(
    restored: None, monkeypatch: pytest.MonkeyPatch, level: str
) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(sys, "stderr", shown)
    configure(LogConfig(level=level), "sat-001")
    for library in ("httpx", "httpcore.connection"):
        logging.getLogger(library).info("HTTP Request: POST https://hooks.example/hunter2")
    logging.getLogger("node").info("seen")
    assert "seen" in shown.getvalue()
    assert "hunter2" not in shown.getvalue()
