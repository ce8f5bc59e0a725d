"""Structured logs: dotted events in the past tense, JSON or for people, on standard error."""

import logging
import re
import sys

import structlog

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""What a terminal obeys instead of showing it (ECMA-48; Unicode, UAX 9)."""
_LINES = frozenset({"exception", "stack"})
_QUOTED_ROW = re.compile(r"^DETAIL:.*(?:\n(?!\w+(\.\w+)*:|Traceback|\s).*)*", re.M)


def configure_logs(*, level: str, as_json: bool) -> None:
    """One line an event, with time, level and bound ids; stdlib loggers go the same way."""
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        _name_server,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _leave_rows_out,
    ]
    if not as_json:
        shared.append(_show_controls)
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    output = logging.StreamHandler(sys.stderr)
    output.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [output]
    root.setLevel(level.upper())
    for chatty in ("httpx", "httpcore", "uvicorn.access", "alembic", "aiohttp"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _name_server(
    _: object, __: str, event: structlog.types.EventDict
) -> structlog.types.EventDict:
    """The server logs all it says as `uvicorn.error`, also that it has started well."""
    if event.get("logger") == "uvicorn.error":
        event["logger"] = "uvicorn"
    return event


def _leave_rows_out(
    _: object, __: str, event: structlog.types.EventDict
) -> structlog.types.EventDict:
    """Postgres quotes the row that broke a rule, and rows hold prompts and signed URLs."""
    if "exception" in event:
        event["exception"] = _QUOTED_ROW.sub("", event["exception"])
    return event


def _show_controls(
    _: object, __: str, event: structlog.types.EventDict
) -> structlog.types.EventDict:
    """As a terminal would obey them: `\\x1b`. JSON escapes them by itself."""
    return {name: _show(value, name) for name, value in event.items()}


def _show(value: object, name: str) -> object:
    if not isinstance(value, str):
        return value
    kept = "\n\t" if name in _LINES else ""
    return _CONTROL.sub(
        lambda found: found[0] if found[0] in kept else f"\\x{ord(found[0]):02x}", value
    )
