"""Work put straight into a database, by the gateway's own intake as far as it goes."""

import asyncio
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any
from uuid import UUID

from app.bench.rig.seats import Seat
from app.jobs.acceptance import accept_batch
from app.jobs.accepting.outcomes import Acceptance, NewJob
from app.jobs.requests.models import DEFAULT_MODEL
from app.kit.ids import make_uuid7
from app.kit.postgres.database import Pool, connect, transaction

MODEL = DEFAULT_MODEL.name
BATCH = 2_000
LOADERS = 2
LONGEST_SECONDS = 3_600.0
PROMPT = "Paint the house at the lake as a watercolour at sunset, and leave the people as they are"


async def queue_jobs(pool: Pool, owners: Iterable[Seat]) -> None:
    """Have one job accepted for each owner; their ids are in that order."""
    jobs = (_make_job(seat) for seat in owners)

    async def accept() -> None:
        while batch := list(islice(jobs, BATCH)):
            async with transaction(pool) as connection:
                outcomes = await accept_batch(connection, batch)
            assert all(isinstance(outcome, Acceptance) for outcome in outcomes), outcomes[0]

    await asyncio.gather(*(accept() for _ in range(LOADERS)))


async def send_out(pool: Pool, account_ids: Iterable[UUID], *, each: int) -> None:
    """Let queued jobs run, `each` of them on every account, as tasks that `crowd` knows."""
    async with transaction(pool) as connection:
        await connection.execute("set local statement_timeout = 0")
        await connection.execute(_SEND_OUT, list(account_ids), each)


async def run_script(database_url: str, *statements: tuple[Any, ...]) -> None:
    """Statements that take their time, each with its values and in a transaction of its own."""
    connection = await connect(database_url)
    try:
        await connection.execute("set statement_timeout = 0")
        for statement, *values in statements:
            await connection.execute(statement, *values, timeout=LONGEST_SECONDS)
    finally:
        await connection.close()


def to_task_id(account: int, number: int) -> str:
    """The id of an account's task, as `_SEND_OUT` writes it."""
    return f"crowd-{account}-{number}"


def share_out(counts: dict[str, int], seats: Iterable[Seat]) -> Iterator[Seat]:
    """Each seat as often as its name's count says, one after the other."""
    for seat in seats:
        for _ in range(counts[seat.name]):
            yield seat


def _make_job(seat: Seat) -> NewJob:
    job_id = make_uuid7()
    row: dict[str, Any] = {
        "id": str(job_id),
        "team_id": str(seat.team_id),
        "key_id": str(seat.key_id),
        "door": "native",
        "model": MODEL,
        "prompt": PROMPT,
        "negative_prompt": None,
        "images": [{"url": "https://pictures.example/house.png"}],
        "n": 1,
        "size": None,
        "seed": None,
        "watermark": False,
        "prompt_extend": True,
        "metadata": {},
        "priority": "interactive",
        "ttl_seconds": 7 * 24 * 3_600,
    }
    return NewJob(job_id, seat.team_id, MODEL, row, None)


_SEND_OUT = """
with places as materialized (
    select ordinality - 1 as account, accounts.id as account_id, lanes.id as lane_id
    from unnest($1::uuid[]) with ordinality as accounts(id)
    join lanes on lanes.account_id = accounts.id
),
picked as materialized (
    select job_id, (row_number() over (order by job_id) - 1) as number from job_runs
    where status = 'queued'
),
sent as (
    update job_runs set status = 'running', attempt = 1, account_id = places.account_id,
        lane_id = places.lane_id, slot = picked.number % $2,
        upstream_task_id = 'crowd-' || account || '-' || picked.number % $2,
        submitted_at = now(), due_at = now()
    from picked join places on places.account = picked.number / $2
    where job_runs.job_id = picked.job_id
    returning job_runs.job_id, job_runs.account_id, job_runs.lane_id, job_runs.upstream_task_id
)
insert into attempts (job_id, number, account_id, lane_id, intended_at, outcome, settled_at,
    upstream_task_id, upstream_request_id)
select job_id, 1, account_id, lane_id, now(), 'accepted', now(), upstream_task_id,
    'request-of-' || upstream_task_id
from sent
"""
