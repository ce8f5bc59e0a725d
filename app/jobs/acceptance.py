"""The acceptance transaction: jobs, runs, first events, reservations and idempotency keys."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from app import PROGRAM
from app.billing.price_store import find_unit_price
from app.billing.prices import UnitPrice
from app.jobs.accepting.inputs import hold_files
from app.jobs.accepting.keys import SEEN, claim_keys, to_seen
from app.jobs.accepting.outcomes import Acceptance, NewJob, Outcome, Seen
from app.jobs.accepting.storing import STORE
from app.jobs.events import QUEUE_CHANGED
from app.kit.errors import GatewayError, Unavailable
from app.kit.postgres.database import Connection, Pool

INPUT_GRACE_SECONDS = 2 * 24 * 3600
"""Inputs outlive their job's last chance to be submitted by that much."""
HEAD_START_SECONDS = 4 * 3600
"""An interactive job goes before its team's batch jobs of that long; older ones go first."""


async def accept_batch(connection: Connection, jobs: Sequence[NewJob]) -> list[Outcome]:
    """Store the jobs of a batch, each once per idempotency key; the caller commits.

    Two jobs of one batch never share a key: `Intake` sees to that.
    """
    now: datetime = await connection.fetchval("select now()")
    prices = {model: await _find_price(connection, model, now) for model in _models_of(jobs)}
    outcomes: dict[UUID, Outcome] = {
        job.id: price for job in jobs if isinstance(price := prices[job.model], GatewayError)
    }
    outcomes |= await claim_keys(connection, [job for job in jobs if job.id not in outcomes])
    outcomes |= await _hold_inputs(connection, _fresh(jobs, outcomes))
    fresh = _fresh(jobs, outcomes)
    if fresh:
        rows = [_with_price(job, prices[job.model]) for job in fresh]
        await connection.execute(STORE, rows, QUEUE_CHANGED, HEAD_START_SECONDS)
        outcomes |= {job.id: _mine(job, _see(job, prices[job.model], now)) for job in fresh}
    return [outcomes[job.id] for job in jobs]


async def find_stored(pool: Pool, job_ids: Sequence[UUID]) -> dict[UUID, Seen]:
    """The jobs that are there, of those whose commit was not answered."""
    rows = await pool.fetch(_FIND_STORED, job_ids)
    return {row["job_id"]: to_seen(row) for row in rows}


def stored(job: NewJob, seen: Seen) -> Acceptance:
    """The acceptance of a job that was found stored."""
    return _mine(job, seen)


def _fresh(jobs: Sequence[NewJob], outcomes: dict[UUID, Outcome]) -> list[NewJob]:
    """The jobs that are to be stored, as far as it is known."""
    return [job for job in jobs if outcomes.get(job.id, _mine(job)) == _mine(job)]


def _models_of(jobs: Sequence[NewJob]) -> set[str]:
    return {job.model for job in jobs}


async def _find_price(
    connection: Connection, model: str, now: datetime
) -> UnitPrice | GatewayError:
    try:
        price = await find_unit_price(connection, model, now)
    except Unavailable as error:
        return error
    return price or Unavailable(
        f"{model} has no price in a region where it may run: an operator must set one with "
        f"`{PROGRAM} price set`",
        code="price_unknown",
    )


async def _hold_inputs(connection: Connection, jobs: Sequence[NewJob]) -> dict[UUID, Outcome]:
    """Keep the inputs for as long as their jobs may need them; what of them has gone meanwhile."""
    asked = [
        (file_id, job.row["ttl_seconds"] + INPUT_GRACE_SECONDS)
        for job in jobs
        for file_id in job.input_ids
    ]
    held = await hold_files(connection, asked)
    lost = [job.id for job in jobs if not held.issuperset(job.input_ids)]
    if lost:
        await connection.execute("delete from idempotency_keys where job_id = any($1)", lost)
    return {job_id: _input_removed() for job_id in lost}


def _input_removed() -> Unavailable:
    return Unavailable(
        "an input image was removed before the job was stored; nothing was accepted: send the "
        "request again",
        code="input_removed",
    )


def _mine(job: NewJob, seen: Seen | None = None) -> Acceptance:
    return Acceptance(job.id, seen=seen)


def _see(job: NewJob, price: UnitPrice | GatewayError, now: datetime) -> Seen:
    assert isinstance(price, UnitPrice)
    expires_at = now + timedelta(seconds=job.row["ttl_seconds"])
    return Seen("queued", now, expires_at, price.amount, price.currency)


def _with_price(job: NewJob, price: UnitPrice | GatewayError) -> dict[str, Any]:
    assert isinstance(price, UnitPrice)
    return {**job.row, "unit_price": str(price.amount), "currency": price.currency}


_FIND_STORED = f"""
select jobs.id as job_id, {SEEN}
from jobs left join job_runs as runs on runs.job_id = jobs.id
where jobs.id = any($1)
"""
