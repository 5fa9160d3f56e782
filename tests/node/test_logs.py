"""Logs: what must not stand in them."""

import io
import logging
import os
import sys
import threading
from collections.abc import Iterator

import pytest
import structlog

from node.config import LogConfig
from node.logs import MOST_WAITING, Unhurried, configure, dropped


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
    for handler in logging.getLogger().handlers:
        assert isinstance(handler, Unhurried)
        handler.settle(5.0)
    assert "seen" in shown.getvalue()
    assert "hunter2" not in shown.getvalue()


def test_a_pipe_that_nobody_reads_holds_up_nobody(
    restored: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = os.pipe()
    with open(ours) as reading, open(theirs, "w") as pipe:
        monkeypatch.setattr(sys, "stderr", pipe)
        configure(LogConfig(format="json"), "sat-001")
        (handler,) = logging.getLogger().handlers
        assert isinstance(handler, Unhurried)
        log = logging.getLogger("node")
        for number in range(3 * MOST_WAITING):
            log.info("line %d %s", number, "x" * 100)
        assert dropped() > MOST_WAITING, "the pipe holds a few hundred"
        lines: list[str] = []
        reader = threading.Thread(target=lambda: lines.extend(reading))
        reader.start()
        handler.settle(5.0)
        log.info("read again")
        handler.settle(5.0)
        pipe.close()
        reader.join()
    told = [int(line.split()[1]) for line in lines if "were dropped" in line]
    assert sum(told) == dropped()
    assert len(lines) - len(told) + dropped() == 3 * MOST_WAITING + 1
    assert "read again" in lines[-1]
