"""Suspected jobs in the database: as a pace keeps them, and when they may go again."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from app.accounts.evidence.suspicion import Suspect
from app.kit.postgres.database import Connection


def to_rows(suspects: Sequence[Suspect]) -> list[dict[str, Any]]:
    return [
        {
            "job": str(one.job),
            "team": str(one.team),
            "code": one.code,
            "at": one.at.isoformat(),
            "tries": one.tries,
        }
        for one in suspects
    ]


def to_suspects(rows: Iterable[dict[str, Any]]) -> tuple[Suspect, ...]:
    return tuple(
        Suspect(
            UUID(row["job"]),
            UUID(row["team"]),
            row["code"],
            datetime.fromisoformat(row["at"]),
            row["tries"],
        )
        for row in rows
    )


async def find_refused_at(
    connection: Connection, job_id: UUID, account_id: UUID, code: str
) -> datetime | None:
    """When the account refused the job last with that code; not what is being recorded now."""
    moment: datetime | None = await connection.fetchval(
        "select max(settled_at) from attempts where job_id = $1 and account_id = $2"
        " and outcome = 'refused' and error_code = $3",
        job_id,
        account_id,
        code,
    )
    return moment


async def let_go(connection: Connection, suspects: Sequence[Suspect]) -> None:
    """Let jobs that wait for their account go at once; a row that is held is passed over."""
    await connection.execute(LET_GO, [one.job for one in suspects])


LET_GO = """
with waiting as materialized (
    select job_id from job_runs
    where job_id = any($1) and status = 'queued' and due_at > now()
    order by job_id for update skip locked
)
update job_runs set due_at = now() from waiting where job_runs.job_id = waiting.job_id
"""
