"""Logs: one configuration for every process. A leaf. Metrics live with what they count.

Log calls carry an event name and key-value pairs, never message text and never secrets. Logs go
to standard error, so that standard output stays for what a command prints.
"""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from typing import Any, TextIO

import structlog
from structlog.typing import FilteringBoundLogger


class _Output:
    """Writes lines. A log that can't be written (its disk is full, its reader gone) costs the line
    and nothing else: work must not fail because telling of it does."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def msg(self, message: str) -> None:
        with suppress(OSError):
            print(message, file=self._stream, flush=True)

    log = debug = info = warn = warning = error = critical = exception = fatal = failure = err = msg


def configure(level: str, fmt: str, *, process: str) -> None:
    """Sets up structlog and the standard library's logging for this process.

    `level`: debug, info, warning or error. `fmt`: text, json, or auto (text on a terminal)."""
    as_json = fmt == "json" or (fmt == "auto" and not sys.stderr.isatty())
    number = getattr(logging, level.upper())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _json_tracebacks if as_json else _traceback_as_text,
    ]
    renderer = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: _Output(sys.stderr),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(process=process)
    logging.basicConfig(level=max(number, logging.WARNING), stream=sys.stderr, force=True)


# Without the frames' local variables: those hold secrets and what people wrote.
_json_tracebacks = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)


def _traceback_as_text(_: Any, __: str, event: Any) -> Any:
    return event


def logger(name: str) -> FilteringBoundLogger:
    """A bound logger; `name` is the part that speaks, such as `matrix.sync`."""
    bound: FilteringBoundLogger = structlog.get_logger(part=name)
    return bound
