"""The gateway's books, read from its tables."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from app.bench.storm.ledgers import BookedAttempt, BookedJob, Books
from app.billing.ledger import find_imbalances
from app.billing.usage import find_drift
from app.billing.waste import IMAGES, find_waste_drift
from app.kit.postgres.database import Connection, Record

TEAM_PREFIX = "storm-"


async def read_books(connection: Connection) -> Books:
    """Everything that the checker wants to know of the gateway's database."""
    spent_images, wasted_images = await connection.fetchrow(_SUM_IMAGES) or (0, 0)
    wasted = await connection.fetch(_LOAD_WASTED)
    by_job = await connection.fetch(_SUM_WASTE)
    disagreements = (
        *await find_imbalances(connection),
        *await find_drift(connection),
        *await find_waste_drift(connection),
    )
    return Books(
        jobs=tuple(_to_job(row) for row in await connection.fetch(_LOAD_JOBS)),
        spent_images=spent_images,
        wasted_images=wasted_images,
        wasted={row["upstream_task_id"]: str(row["job_id"]) for row in wasted},
        wasted_by_job={str(row["job_id"]): row["image_count"] for row in by_job},
        disagreements=tuple(map(str, disagreements)),
    )


def to_team_name(number: int) -> str:
    return f"{TEAM_PREFIX}{number}"


def to_team_number(name: str) -> int:
    return int(name.removeprefix(TEAM_PREFIX))


def _to_job(row: Record) -> BookedJob:
    return BookedJob(
        job_id=str(row["id"]),
        team=to_team_number(row["team"]),
        prompt=row["prompt"],
        n=row["n"],
        status=row["status"],
        image_count=row["image_count"],
        attempts=tuple(_to_attempt(attempt) for attempt in row["attempts"]),
        events=tuple(row["events"]),
    )


def _to_attempt(attempt: Mapping[str, Any]) -> BookedAttempt:
    settled_at = attempt["settled_at"]
    return BookedAttempt(
        lane=attempt["lane_id"],
        outcome=attempt["outcome"],
        intended_at=datetime.fromisoformat(attempt["intended_at"]),
        settled_at=settled_at and datetime.fromisoformat(settled_at),
        task_id=attempt["upstream_task_id"],
    )


_LOAD_JOBS = """
select jobs.id, teams.name as team, jobs.prompt, jobs.n, jobs.status,
    coalesce(jobs.image_count, 0) as image_count,
    (
        select coalesce(jsonb_agg(to_jsonb(attempts) order by number), '[]')
        from attempts where job_id = jobs.id
    ) as attempts,
    array(select type from job_events where job_id = jobs.id order by id) as events
from jobs join teams on teams.id = jobs.team_id order by jobs.id
"""

_LOAD_WASTED = f"""
select upstream_task_id, job_id from ledger_entries
where kind = 'waste' and upstream_task_id is not null
group by upstream_task_id, job_id having sum{IMAGES} > 0
"""

_SUM_WASTE = f"""
select job_id, sum{IMAGES}::int as image_count from ledger_entries
where kind = 'waste' group by job_id
"""

_SUM_IMAGES = f"""
select coalesce(sum(image_count) filter (where kind = 'capture'), 0)::int as spent,
    coalesce(sum{IMAGES} filter (where kind = 'waste'), 0)::int as wasted
from ledger_entries
"""
