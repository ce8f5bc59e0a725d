"""Reads of one job: by its id, a picture of it, its story."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from app.jobs.lifecycle import JobStatus
from app.kit.errors import NotFound
from app.kit.postgres.database import Pool, Record


@dataclass(frozen=True, slots=True)
class PictureRecord:
    """One result slot as the outside may know it."""

    index: int
    status: str
    actual_prompt: str | None
    store_key: str | None
    sha256: str | None
    content_type: str | None
    byte_count: int | None
    width: int | None
    height: int | None
    error_code: str | None
    error_message: str | None


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job with all that its rows say of it."""

    id: UUID
    team_id: UUID
    team: str
    key: str
    door: str
    model: str
    prompt: str
    negative_prompt: str | None
    n: int
    size: str | None
    seed: int | None
    watermark: bool
    prompt_extend: bool
    metadata: dict[str, str]
    priority: str
    unit_price: Decimal
    currency: str
    created_at: datetime
    expires_at: datetime
    status: JobStatus
    submitted_at: datetime | None
    finished_at: datetime | None
    image_count: int | None
    amount: Decimal | None
    error_code: str | None
    error_message: str | None
    attempt: int
    task_scheduled_at: datetime | None
    task_ended_at: datetime | None
    attention: dict[str, Any] | None
    pictures: tuple[PictureRecord, ...]


async def find_job(pool: Pool, job_id: UUID, *, team_id: UUID | None) -> JobRecord | None:
    """A job by id; None when there is none, or when it is not that team's."""
    row = await pool.fetchrow(
        f"{SELECT_JOBS} where jobs.id = $1 and ($2::uuid is null or jobs.team_id = $2)",
        job_id,
        team_id,
    )
    return None if row is None else to_record(row)


async def get_job(pool: Pool, job_id: UUID, *, team_id: UUID | None) -> JobRecord:
    """A job by id; raises NotFound, which does not tell a foreign job from none."""
    found = await find_job(pool, job_id, team_id=team_id)
    if found is None:
        raise NotFound(f"there is no job {job_id} among yours", code="job_not_found")
    return found


async def find_picture(
    pool: Pool, job_id: UUID, index: int, *, team_id: UUID | None
) -> PictureRecord | None:
    """A kept picture of a finished job; None when there is none, or it is not that team's."""
    row = await pool.fetchrow(
        f"""
        select {_PICTURE} from pictures join jobs on jobs.id = pictures.job_id
        where job_id = $1 and index = $2 and pictures.status = 'kept'
            and jobs.status is not null and ($3::uuid is null or jobs.team_id = $3)
        """,
        job_id,
        index,
        team_id,
    )
    return None if row is None else PictureRecord(**row)


async def list_events(pool: Pool, job_id: UUID) -> list[dict[str, Any]]:
    """What happened to a job, in order."""
    rows = await pool.fetch(
        "select id, at, type, detail from job_events where job_id = $1 order by id", job_id
    )
    return [dict(row) for row in rows]


def to_record(row: Record) -> JobRecord:
    fields = dict(row)
    fields["status"] = JobStatus(fields["status"])
    fields["pictures"] = tuple(PictureRecord(**picture) for picture in fields["pictures"] or ())
    return JobRecord(**fields)


_PICTURE = """
index, pictures.status, actual_prompt, store_key, encode(sha256, 'hex') as sha256, content_type,
byte_count, width, height, pictures.error_code, pictures.error_message
"""

# Fenced off (offset 0): for each job by its key, never all runs at once.
SELECT_JOBS = f"""
select jobs.id, jobs.team_id, teams.name as team, keys.name as key, jobs.door, jobs.model,
    jobs.prompt, jobs.negative_prompt, jobs.n, jobs.size, jobs.seed, jobs.watermark,
    jobs.prompt_extend, jobs.metadata, jobs.priority, jobs.unit_price, jobs.currency,
    jobs.created_at, jobs.expires_at, coalesce(jobs.status, runs.status) as status,
    coalesce(jobs.submitted_at, runs.submitted_at) as submitted_at, jobs.finished_at,
    jobs.image_count, jobs.amount, jobs.error_code, jobs.error_message,
    coalesce(tries.number, 0) as attempt, tries.task_scheduled_at, tries.task_ended_at,
    case when runs.attention_code is null then null else jsonb_build_object(
        'code', runs.attention_code, 'since', runs.attention_since,
        'detail', runs.attention_detail
    ) end as attention,
    (
        select jsonb_agg(to_jsonb(slots) order by index)
        from (select {_PICTURE} from pictures where pictures.job_id = jobs.id) as slots
    ) as pictures
from jobs
left join lateral (
    select * from job_runs where job_runs.job_id = jobs.id offset 0
) as runs on true
join teams on teams.id = jobs.team_id
join keys on keys.id = jobs.key_id
left join lateral (
    select number, task_scheduled_at, task_ended_at from attempts
    where attempts.job_id = jobs.id order by number desc limit 1
) as tries on true
"""
