"""An account's story: what became of its pace and health, worth telling to a person."""

import logging
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog

from app.accounts.health import PaceState
from app.kit.postgres.database import Connection

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

SUSPENDED = "account.suspended"
PAUSED = "account.paused"
RECOVERED = "account.recovered"
RESUMED = "account.resumed"
PRIMED = "account.primed"
ROOM = "account.room"
UNFORESEEN = "account.unforeseen"
TRIED = "account.tried"

_LEVELS = {
    SUSPENDED: logging.ERROR,
    UNFORESEEN: logging.ERROR,
    PRIMED: logging.INFO,
    RECOVERED: logging.INFO,
    RESUMED: logging.INFO,
}
"""What is neither grave nor as usual is a warning."""


@dataclass(frozen=True, slots=True)
class Happening:
    type: str
    detail: dict[str, Any]


def tell(before: PaceState, after: PaceState) -> list[Happening]:
    """What has visibly changed; not each step of a pace regained, nor each probe that failed."""
    events = []
    is_other_pause = after.pause_code != before.pause_code
    if after.is_suspended and (is_other_pause or not before.is_suspended):
        events.append(Happening(SUSPENDED, _describe_pause(after)))
    elif before.is_suspended and not after.is_suspended:
        events.append(Happening(RECOVERED, {"code": before.pause_code}))
    elif after.pause_code is not None and is_other_pause:
        pause = {**_describe_pause(after), "pace_share": after.pace_share}
        events.append(Happening(PAUSED, pause))
    if after.priming != before.priming:
        is_room = min(before.priming, after.priming) < 0
        change = {"before": before.priming, "now": after.priming}
        events.append(Happening(ROOM if is_room else PRIMED, change))
    return events


async def write_account_event(
    connection: Connection, account_id: UUID, model: str | None, event: Happening
) -> None:
    """Append to the story and to the log; without a model it is of the whole account."""
    await connection.execute(
        "insert into account_events (account_id, model, type, detail) values ($1, $2, $3, $4)",
        account_id,
        model,
        event.type,
        event.detail,
    )
    level = _LEVELS.get(event.type, logging.WARNING)
    _log.log(level, event.type, account_id=str(account_id), model=model, **event.detail)


async def write_unforeseen(
    connection: Connection, account_id: UUID, model: str, code: str
) -> None:
    """Once an hour for each code, however many jobs meet it."""
    if not await connection.fetchval(_WAS_TOLD, account_id, model, UNFORESEEN, code):
        event = Happening(UNFORESEEN, {"code": code})
        await write_account_event(connection, account_id, model, event)


def _describe_pause(state: PaceState) -> dict[str, Any]:
    until = state.paused_until.isoformat() if state.paused_until else None
    return {"code": state.pause_code, "until": until}


_WAS_TOLD = """
select exists (
    select from account_events
    where account_id = $1 and model = $2 and type = $3 and detail->>'code' = $4
        and at > now() - interval '1 hour'
)
"""
