"""Structured logs on stderr: one line each, for people or as JSON.

Logging never blocks: the reader of a node's stderr may have stopped reading, and a full pipe would
stall the event loop. A thread does the writing; lines that it cannot keep up with are dropped and
counted.
"""

import atexit
import logging
import queue
import sys
import threading
from typing import IO, Any

import structlog
from structlog.typing import EventDict, WrappedLogger

from stationkeep.node.system.confidential import hide
from stationkeep.node.system.printable import printable

OF_SEVERAL_LINES = ("exception", "stack")

MOST_WAITING = 4_096
"""Lines waiting to be written; further ones are dropped."""
LAST_FLUSH = 1.0
"""Seconds for writing what still waits when the process ends."""


class BackgroundHandler(logging.Handler):
    """Writes lines to `stream` on its own thread."""

    def __init__(self, stream: IO[str]) -> None:
        super().__init__()
        self._stream = stream
        self._lines: queue.Queue[str] = queue.Queue(MOST_WAITING)
        self.dropped = 0
        """Lines dropped since the start."""
        threading.Thread(target=self._write, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queues a line, or drops it if the queue is full. Never raises: a caller must not fail
        because of what it logs."""
        try:
            line = hide(self.format(record))
        except Exception as error:  # whatever a value's own text raises
            name = type(error).__name__
            line = f"stationkeep: a log line of {record.name} cannot be formatted: {name}"
        try:
            self._lines.put_nowait(line + "\n")
        except queue.Full:
            self.dropped += 1

    def drain(self, seconds: float) -> None:
        """Waits until everything is written, for at most `seconds`."""
        written = threading.Thread(target=self._lines.join, daemon=True)
        written.start()
        written.join(seconds)

    def _write(self) -> None:
        reported = 0
        while True:
            line = self._lines.get()
            try:
                if self.dropped > reported:
                    dropped, reported = self.dropped - reported, self.dropped
                    self._stream.write(f"stationkeep: {dropped} log lines were dropped here\n")
                self._stream.write(line)
                self._stream.flush()
            except (OSError, ValueError):  # nobody reads any more, or it is closed
                self.dropped += 1
            finally:
                self._lines.task_done()


def dropped() -> int:
    """Log lines that this process has dropped."""
    handlers = logging.getLogger().handlers
    return sum(h.dropped for h in handlers if isinstance(h, BackgroundHandler))


def configure(node: str, level: str, format_: str) -> None:
    """Sets up structlog and routes the standard library's logging (uvicorn's) through it."""
    least = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    renderers: list[Any] = [structlog.processors.JSONRenderer()]
    if format_ == "plain":
        console = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            pad_event_to=0,
            exception_formatter=structlog.dev.plain_traceback,
        )
        renderers = [_legible, console]
    handler = BackgroundHandler(sys.stderr)
    atexit.register(handler.drain, LAST_FLUSH)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                *renderers,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(least)
    for chatty in ("asyncio", "uvicorn", "httpx", "httpcore"):  # httpx logs whole addresses
        logging.getLogger(chatty).setLevel(max(least, logging.WARNING))
    structlog.contextvars.bind_contextvars(node=node)


def _legible(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Makes each value of an event one line without control characters (JSON does its own
    escaping). Tracebacks are indented, so that no message in one can pass for a log line."""
    for name, value in event.items():
        if name in OF_SEVERAL_LINES:
            event[name] = "\n".join(f"    {printable(line)}" for line in value.split("\n"))
        else:
            event[name] = printable(value if isinstance(value, str) else repr(value))
    return event
