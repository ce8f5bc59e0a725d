"""A past for a database: ended jobs by the million, made inside Postgres."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from app.bench.rig.loads import LOADERS, MODEL, PROMPT, run_script
from app.bench.rig.seats import Seat
from app.kit.clock import utc_now
from app.kit.postgres.database import Pool

SPAN = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class History:
    """Ended jobs, evenly over the last days and over the teams, each with one kept picture."""

    began_at: datetime
    jobs: int

    async def find_jobs(self, pool: Pool, numbers: Sequence[int]) -> list[tuple[UUID, UUID]]:
        """The ids and teams of the jobs with these numbers, in their order."""
        rows = await pool.fetch(
            f"""
            select jobs.id, jobs.team_id
            from unnest($4::bigint[]) with ordinality as numbers (number, place)
            cross join lateral (select {_AT} as at) as moments
            join jobs on jobs.id = {ID} order by place
            """,
            self.began_at,
            SPAN,
            self.jobs,
            list(numbers),
        )
        return [(row["id"], row["team_id"]) for row in rows]


async def make_history(
    database_url: str, seats: Sequence[Seat], account_id: UUID, jobs: int
) -> History:
    """Takes about half a minute a million; foreign keys go unchecked for a superuser."""
    history = History(utc_now() - SPAN - timedelta(days=1), jobs)
    common = (history.began_at, SPAN, jobs)
    owners = ([seat.team_id for seat in seats], [seat.key_id for seat in seats])
    for statement, values in (
        (_JOBS, (*owners, MODEL, PROMPT)),
        (_ATTEMPTS, (account_id,)),
        (_PICTURES, ()),
    ):
        await asyncio.gather(
            *(
                run_script(
                    database_url,
                    (WITHOUT_CHECKS,),
                    (statement, *common, loader, LOADERS, *values),
                )
                for loader in range(LOADERS)
            )
        )
    await run_script(database_url, ("vacuum analyze",))
    return history


_AT = "$1::timestamptz + $2::interval * (number::float8 / $3::bigint)"

ID = """
(lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '7000'
    || '8000' || lpad(to_hex(number), 12, '0'))::uuid
"""
"""As UUID version 7: the time, then what tells jobs of one millisecond apart."""

NUMBERS = f"""
from generate_series($4::bigint, $3 - 1, $5::bigint) as number
cross join lateral (select {_AT} as at) as moments
"""

WITHOUT_CHECKS = """
select set_config('session_replication_role', 'replica', false)
from pg_roles where rolname = current_user and rolsuper
"""

_JOBS = f"""
insert into jobs (id, team_id, key_id, door, model, prompt, images, n, watermark, prompt_extend,
    metadata, priority, unit_price, currency, created_at, expires_at, status, submitted_at,
    finished_at, image_count, amount)
select {ID}, ($6::uuid[])[number % cardinality($6) + 1],
    ($7::uuid[])[number % cardinality($6) + 1], 'native', $8, $9,
    '[{{"url": "https://pictures.example/house.png"}}]', 1, false, true, '{{}}', 'interactive',
    0.2, 'CNY', at, at + interval '7 days', 'succeeded', at, at + interval '1 minute', 1, 0.2
{NUMBERS}
"""

_ATTEMPTS = f"""
insert into attempts (job_id, number, account_id, lane_id, intended_at, outcome, settled_at,
    upstream_task_id, upstream_request_id, task_status, task_submitted_at, task_scheduled_at,
    task_ended_at, image_count)
select {ID}, 1, $6::uuid, lane_id, at, 'accepted', at, 'ended-' || number,
    'request-' || number, 'SUCCEEDED', at, at, at + interval '1 minute', 1
{NUMBERS}
cross join (select id as lane_id from lanes where account_id = $6 limit 1) as lane
"""

_PICTURES = f"""
insert into pictures (job_id, index, status, store_key, sha256, content_type, byte_count, width,
    height, kept_at)
select {ID}, 0, 'kept', 'pictures/' || number, decode(lpad(to_hex(number), 64, '0'), 'hex'),
    'image/png', 2000000, 1280, 1280, at + interval '1 minute'
{NUMBERS}
"""
