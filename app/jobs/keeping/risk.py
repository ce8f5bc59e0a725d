"""Results at risk: pictures that are still upstream long after their task's end.

Of a task whose end was not seen nobody knows when it was: it may have been right after its create.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

import structlog

from app import PROGRAM
from app.jobs.events import write_event
from app.jobs.keeping.bound import GRACE
from app.jobs.lifecycle import UPSTREAM_MEMORY, Fence, Flag, JobStatus
from app.jobs.record import record
from app.kit.background.chores import Apart, count_failures
from app.kit.postgres.database import Connection, Pool, Record, transaction

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

RISK_CODE = "pictures_at_risk"


class RiskLevel(StrEnum):
    WARNING = "warning"
    """Look at it today."""
    CRITICAL = "critical"
    """Get up."""


@dataclass(frozen=True, slots=True)
class Rung:
    """A level, and when it is reached: after a time, or a share of the life if that is sooner."""

    level: RiskLevel
    after: timedelta
    life_share: float


LADDER = (
    Rung(RiskLevel.CRITICAL, timedelta(hours=20), 5 / 6),
    Rung(RiskLevel.WARNING, timedelta(hours=6), 1 / 4),
)
"""From the top; the life of a picture upstream is from its task's end to its URL's."""


def find_risk(ended_at: datetime, expires_at: datetime, now: datetime) -> RiskLevel | None:
    """How close to its loss a picture is that is still upstream; None while it is early."""
    age, life = now - ended_at, expires_at - ended_at
    for rung in LADDER:
        if age >= min(rung.after, life * rung.life_share):
            return rung.level
    return None


def describe_risk(job_id: UUID, left: timedelta, *, has_ended: bool = True) -> str:
    """What is at stake until when, and what to type."""
    minutes = round(left.total_seconds() / 60)
    if not has_ended:
        return (
            f"its task has run for hours; if its end was missed, its URLs may die in {minutes} "
            f"minutes; what to do: {PROGRAM} job explain {job_id}"
        )
    if left > timedelta(0):
        end = f"their URLs die in {minutes} minutes"
    else:
        given_up = round((left + GRACE).total_seconds() / 60)
        end = f"their URLs died {-minutes} minutes ago, they are given up in {max(given_up, 0)}"
    return f"they are not kept yet, and {end}; what to do: {PROGRAM} job explain {job_id}"


async def raise_alarms(pool: Pool, apart: Apart | None = None) -> bool:
    """Tell of each job whose pictures have come to a new level of risk; a chore's step."""
    lowest = LADDER[-1]
    rows = await pool.fetch(_LOAD, lowest.after, lowest.life_share, UPSTREAM_MEMORY)
    apart = apart or Apart("alarms")

    async def look(row: Record) -> None:
        level = find_risk(row["ended_at"], row["expires_at"], row["now"])
        if level is None or row["told"] in {level, RiskLevel.CRITICAL}:
            return
        left = row["expires_at"] - row["now"]
        async with transaction(pool) as connection:
            is_told = await _tell(connection, Fence(row["job_id"], row["attempt"]), level, left)
        if is_told:
            _log_risk(row["job_id"], level, left, row["reason"])

    try:
        await apart.each(rows, look, key=lambda row: row["job_id"])
    finally:
        await count_failures(pool, apart)
    return False


async def _tell(connection: Connection, fence: Fence, level: RiskLevel, left: timedelta) -> bool:
    """Write the event, and the mark unless another says more already; False if it has ended."""
    run = await connection.fetchrow(
        "select attention_code, status from job_runs where job_id = $1 and attempt = $2"
        " and status in ('running', 'finalizing') for update",
        fence.job_id,
        fence.attempt,
    )
    if run is None:
        return False
    detail = {"level": level, "left_seconds": round(left.total_seconds())}
    has_ended = run["status"] == JobStatus.FINALIZING
    told = describe_risk(fence.job_id, left, has_ended=has_ended)
    await write_event(connection, fence.job_id, "pictures.at_risk", detail)
    if run["attention_code"] is None:
        await record(connection, fence, Flag(RISK_CODE, told))
    return True


def _log_risk(job_id: UUID, level: RiskLevel, left: timedelta, reason: str | None) -> None:
    tell = log.critical if level is RiskLevel.CRITICAL else log.warning
    tell(
        "pictures.at_risk",
        job_id=str(job_id),
        level=level.value,
        left_seconds=round(left.total_seconds()),
        reason=reason,
        next_step=f"{PROGRAM} job explain {job_id}",
    )


_LOAD = """
select job_id, attempt, ended_at, expires_at, now() as now, reason, (
    select detail ->> 'level' from job_events
    where job_events.job_id = waiting.job_id and type = 'pictures.at_risk'
    order by id desc limit 1
) as told
from (
    select runs.job_id, runs.attempt, runs.expires_at, runs.attention_detail as reason,
        coalesce(attempts.task_ended_at, runs.expires_at - $3::interval) as ended_at
    from job_runs as runs
    join attempts on attempts.job_id = runs.job_id and attempts.number = runs.attempt
    where runs.status = 'finalizing'
    union all
    select job_id, attempt, submitted_at + $3::interval, attention_detail, submitted_at
    from job_runs where status = 'running' and submitted_at < now() - $1::interval
) as waiting
where now() - ended_at >= least($1::interval, (expires_at - ended_at) * $2::float8)
order by expires_at
"""
