"""Structured logs on stderr: one line each, for people or as JSON."""

import logging
import sys
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

from node.config import LogConfig
from node.printable import printable

OF_SEVERAL_LINES = ("exception", "stack")


def configure(config: LogConfig, node: str) -> None:
    """Sets up structlog and, through it, the standard library's logging (uvicorn's)."""
    level = logging.getLevelNamesMapping()[config.level.upper()]
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
    if config.format == "plain":
        console = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            pad_event_to=0,
            exception_formatter=structlog.dev.plain_traceback,
        )
        renderers = [_legible, console]
    handler = logging.StreamHandler(sys.stderr)
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
    root.setLevel(level)
    for chatty in ("asyncio", "uvicorn", "httpx", "httpcore"):  # the latter tell whole addresses
        logging.getLogger(chatty).setLevel(max(level, logging.WARNING))
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
