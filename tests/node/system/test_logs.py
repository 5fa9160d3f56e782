"""Logs: what must not stand in them."""

import io
import logging
import os
import sys
import threading
import unicodedata
from collections.abc import Iterator
from typing import Literal

import pytest
import structlog

from stationkeep.node.system.logs import MOST_WAITING, BackgroundHandler, configure, dropped


def settle() -> None:
    """Until every line is written."""
    (handler,) = logging.getLogger().handlers
    assert isinstance(handler, BackgroundHandler)
    handler.drain(5.0)


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
    configure("sat-001", level, "plain")
    for library in ("httpx", "httpcore.connection"):
        logging.getLogger(library).info("HTTP Request: POST https://hooks.example/hunter2")
    logging.getLogger("node").info("seen")
    settle()
    assert "seen" in shown.getvalue()
    assert "hunter2" not in shown.getvalue()


def test_a_pipe_that_nobody_reads_holds_up_nobody(
    restored: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = os.pipe()
    with open(ours) as reading, open(theirs, "w") as pipe:
        monkeypatch.setattr(sys, "stderr", pipe)
        configure("sat-001", "info", "json")
        (handler,) = logging.getLogger().handlers
        assert isinstance(handler, BackgroundHandler)
        log = logging.getLogger("node")
        for number in range(3 * MOST_WAITING):
            log.info("line %d %s", number, "x" * 100)
        assert dropped() > MOST_WAITING, "the pipe holds a few hundred"
        lines: list[str] = []
        reader = threading.Thread(target=lambda: lines.extend(reading))
        reader.start()
        handler.drain(5.0)
        log.info("read again")
        handler.drain(5.0)
        pipe.close()
        reader.join()
    told = [int(line.split()[1]) for line in lines if "were dropped" in line]
    assert sum(told) == dropped()
    assert len(lines) - len(told) + dropped() == 3 * MOST_WAITING + 1
    assert "read again" in lines[-1]


HOSTILE = "x\x1b]0;owned\x07\x9b2J\u202e\r\n2026-01-01 [error] all is lost\x7f"


@pytest.mark.parametrize("format_", ["plain", "json"])
def test_what_others_said_cannot_act_on_a_terminal_nor_begin_a_line(
    restored: None, monkeypatch: pytest.MonkeyPatch, format_: Literal["plain", "json"]
) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(sys, "stderr", shown)
    configure("sat-001", "info", format_)
    log = structlog.get_logger("node")
    log.warning(
        "heard", detail=HOSTILE, by=[HOSTILE, {HOSTILE: HOSTILE}], error=ValueError(HOSTILE)
    )
    log.warning(HOSTILE)
    logging.getLogger("library").warning("said %s", HOSTILE)
    settle()
    lines = shown.getvalue().splitlines()
    assert len(lines) == 3
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        log.exception("failed")
        logging.getLogger("library").exception("failed")
    settle()
    said = shown.getvalue()
    assert "Traceback" in said
    assert not {c for c in said if c != "\n" and unicodedata.category(c) in {"Cc", "Cf"}}
    assert "\n2026-01-01 [error] all is lost" not in said


def test_a_log_line_has_a_length(restored: None, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(sys, "stderr", shown)
    configure("sat-001", "info", "plain")
    structlog.get_logger("node").warning("heard", detail="x" * 1_000_000)
    settle()
    assert len(shown.getvalue()) < 10_000


def test_what_cannot_be_told_does_not_fail_who_logs_it(
    restored: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Mute:
        def __str__(self) -> str:
            raise RuntimeError("no words")

        __repr__ = __str__

    shown = io.StringIO()
    monkeypatch.setattr(sys, "stderr", shown)
    configure("sat-001", "info", "plain")
    logging.getLogger("library").warning("%s", Mute())
    logging.getLogger("library").warning("goes on")
    settle()
    assert "a log line of library cannot be formatted: RuntimeError" in shown.getvalue()
    assert "goes on" in shown.getvalue()
