"""Structured logs on stderr: one line each, for people or as JSON.

Whoever logs never waits: who reads a node's stderr may have stopped reading, and a full pipe would
hold up the event loop. A thread writes; what it cannot write in time is dropped and counted.
"""

import atexit
import logging
import queue
import sys
import threading
from typing import IO, Any

import structlog
from structlog.typing import EventDict, WrappedLogger

from stationkeep.node.system.printable import printable

OF_SEVERAL_LINES = ("exception", "stack")

MOST_WAITING = 4_096
"""Lines that wait to be written; further ones are dropped."""
FAREWELL = 1.0
"""Seconds for what still waits when the process ends."""


class Unhurried(logging.Handler):
    """Writes lines to `stream` on a thread of its own."""

    def __init__(self, stream: IO[str]) -> None:
        super().__init__()
        self._stream = stream
        self._lines: queue.Queue[str] = queue.Queue(MOST_WAITING)
        self.dropped = 0
        """Lines, since the start."""
        threading.Thread(target=self._write, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Hands a line over; drops it where too many wait. Never raises: whoever logs is not to
        fail by what is logged."""
        try:
            line = self.format(record)
        except Exception as error:
            line = f"stationkeep: a line of {record.name} cannot be told: {type(error).__name__}"
        try:
            self._lines.put_nowait(line + "\n")
        except queue.Full:
            self.dropped += 1

    def settle(self, seconds: float) -> None:
        """Waits until everything is written, or for so long."""
        written = threading.Thread(target=self._lines.join, daemon=True)
        written.start()
        written.join(seconds)

    def _write(self) -> None:
        told = 0
        while True:
            line = self._lines.get()
            try:
                if self.dropped > told:
                    dropped, told = self.dropped - told, self.dropped
                    self._stream.write(f"stationkeep: {dropped} lines of log were dropped here\n")
                self._stream.write(line)
                self._stream.flush()
            except (OSError, ValueError):  # nobody reads any more, or it is closed
                self.dropped += 1
            finally:
                self._lines.task_done()


def dropped() -> int:
    """Lines of this process that were not written."""
    return sum(h.dropped for h in logging.getLogger().handlers if isinstance(h, Unhurried))


def configure(node: str, level: str, format_: str) -> None:
    """Sets up structlog and, through it, the standard library's logging (uvicorn's)."""
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
    handler = Unhurried(sys.stderr)
    atexit.register(handler.settle, FAREWELL)
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
    for chatty in ("asyncio", "uvicorn", "httpx", "httpcore"):  # the latter tell whole addresses
        logging.getLogger(chatty).setLevel(max(least, logging.WARNING))
    structlog.contextvars.bind_contextvars(node=node)


def _legible(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """An event whose values are each one line that no terminal acts upon. JSON escapes for
    itself. Tracebacks are indented, so that no message in one can pass for a line of the log."""
    for name, value in event.items():
        if name in OF_SEVERAL_LINES:
            event[name] = "\n".join(f"    {printable(line)}" for line in value.split("\n"))
        else:
            event[name] = printable(value if isinstance(value, str) else repr(value))
    return event
