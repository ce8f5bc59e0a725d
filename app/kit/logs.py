"""Structured logs: dotted events in the past tense, JSON or for people, on standard error."""

import logging
import re
import sys

import structlog

_QUOTED_ROW = re.compile(r"^DETAIL:.*(?:\n(?!\w+(\.\w+)*:|Traceback|\s).*)*", re.M)


def configure_logs(*, level: str, as_json: bool) -> None:
    """One line an event, with time, level and bound ids; stdlib loggers go the same way."""
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _leave_rows_out,
    ]
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


def _leave_rows_out(
    _: object, __: str, event: structlog.types.EventDict
) -> structlog.types.EventDict:
    """Postgres quotes the row that broke a rule, and rows hold prompts and signed URLs."""
    if "exception" in event:
        event["exception"] = _QUOTED_ROW.sub("", event["exception"])
    return event
