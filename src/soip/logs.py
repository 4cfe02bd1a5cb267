"""One set-up of structured logs for all processes: to standard error, readable on a terminal, JSON elsewhere
if asked.

Every line carries UTC time, level, role and event; passwords, tokens and keys are never logged. What people outside
said is logged with its control characters made visible: a terminal obeys them, and a newline would forge a line.
"""

from __future__ import annotations

import logging
import re
import sys
from contextlib import suppress

import structlog
from structlog.typing import Processor

from soip.config import Settings

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_CONTROL_BUT_LAYOUT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def configure(settings: Settings, role: str) -> None:
    """Sets up structlog and the standard library's logging for this process."""
    level = _LEVELS[settings.log_level]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.format_exc_info,
        _printable,
    ]
    structlog.configure(
        processors=[*shared, _renderer(settings)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _Logger(sys.stderr),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(role=role)
    handler = logging.StreamHandler(sys.stderr)
    # Other people's records (uvicorn, SQLAlchemy) get the same form; theirs are interesting from "warning"
    # on.
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[_drop_meta, _renderer(settings)])
    )
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)


class _Logger(structlog.WriteLogger):
    """Writes, as long as there is something to write to.

    A terminal that hung up, a closed pipe or a full disk under the log must not end a recording. A line and its end are
    one write: processes that share a log do not come between each other's.
    """

    def msg(self, message: str) -> None:
        with suppress(OSError):
            super().msg(message)

    log = debug = info = warn = warning = fatal = failure = err = error = critical = exception = msg


def _printable(_logger: object, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Replaces control characters by their escapes. A traceback has lines of its own; what is no text is shown by its
    `repr`, which does the same.
    """
    for name, value in event.items():
        if isinstance(value, str):
            control = _CONTROL_BUT_LAYOUT if name == "exception" else _CONTROL
            event[name] = control.sub(lambda found: f"\\x{ord(found[0]):02x}", value)
    return event


def _drop_meta(_logger: object, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    event.pop("_record", None)
    event.pop("_from_structlog", None)
    return event


def _renderer(settings: Settings) -> Processor:
    if settings.log_format == "json":
        return structlog.processors.JSONRenderer()
    colours = sys.stderr.isatty() and settings.log_format == "auto"
    return structlog.dev.ConsoleRenderer(
        colors=colours, pad_event_to=0, sort_keys=False, exception_formatter=structlog.dev.plain_traceback
    )
