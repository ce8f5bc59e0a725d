"""The acceptance transaction: jobs, runs, first events, reservations and idempotency keys."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from app.billing.price_store import find_unit_price
from app.billing.prices import UnitPrice
from app.jobs.accepting.inputs import hold_files
from app.jobs.accepting.storing import STORE
from app.jobs.events import QUEUE_CHANGED
from app.kit.errors import GatewayError, InvalidRequest, Unavailable
from app.kit.postgres.database import Connection, Pool, Record
from app.kit.postgres.presence import PRESENT_NUMBERS

KEY_TTL_SECONDS = 72 * 3600
"""Three days: longer than the upstream remembers a task."""
GUARD_TTL_SECONDS = 600
INPUT_GRACE_SECONDS = 2 * 24 * 3600
"""Inputs outlive their job's last chance to be submitted by that much."""
HEAD_START_SECONDS = 4 * 3600
"""An interactive job goes before its team's batch jobs of that long; older ones go first."""


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A client's own key, or a guard against a create that an SDK sends again by itself."""

    key: str
    fingerprint: bytes
    guard_owner: int | None = None
    is_abandoned: Callable[[], Awaitable[bool]] | None = field(default=None, compare=False)
    """Whether nobody waits for this request any more, so that it need not make a job."""


@dataclass(frozen=True, slots=True)
class NewJob:
    """A checked request on its way into the database; `row` is its columns as JSON."""

    id: UUID
    team_id: UUID
    model: str
    row: dict[str, Any]
    idempotency: Idempotency | None
    input_ids: tuple[UUID, ...] = ()
    """The files that must stay for as long as the job may need them."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What acceptance saw of the job: enough to answer when it cannot be read again."""

    status: str
    created_at: datetime
    expires_at: datetime
    unit_price: Decimal
    currency: str


@dataclass(frozen=True, slots=True)
class Acceptance:
    """The job that answers a request; replayed when an earlier request made it."""

    job_id: UUID
    replayed: bool = False
    seen: Seen | None = field(default=None, compare=False)


Outcome = Acceptance | GatewayError


class KeyReused(InvalidRequest):
    """An idempotency key that stands for another request."""

    code = "idempotency_key_reuse"


class StillAnswering(Unavailable):
    """An equal create is being answered: only its end tells whether this one is meant."""

    code = "still_answering"


class Abandoned(Unavailable):
    """A request whose client left before it was stored, and sent it again."""

    code = "abandoned"


async def accept_batch(connection: Connection, jobs: Sequence[NewJob]) -> list[Outcome]:
    """Store the jobs of a batch, each once per idempotency key; the caller commits.

    Two jobs of one batch never share a key: `Intake` sees to that.
    """
    now: datetime = await connection.fetchval("select now()")
    prices = {model: await _find_price(connection, model, now) for model in _models_of(jobs)}
    outcomes: dict[UUID, Outcome] = {
        job.id: price for job in jobs if isinstance(price := prices[job.model], GatewayError)
    }
    outcomes |= await _claim_keys(connection, [job for job in jobs if job.id not in outcomes])
    outcomes |= await _hold_inputs(connection, _fresh(jobs, outcomes))
    fresh = _fresh(jobs, outcomes)
    if fresh:
        rows = [_with_price(job, prices[job.model]) for job in fresh]
        await connection.execute(STORE, rows, QUEUE_CHANGED, HEAD_START_SECONDS)
        outcomes |= {job.id: _mine(job, _see(job, prices[job.model], now)) for job in fresh}
    return [outcomes[job.id] for job in jobs]


async def find_earlier(pool: Pool, team_id: UUID, idempotency: Idempotency) -> Outcome | None:
    """What the key says before anything is stored; None when it says nothing yet."""
    row = await pool.fetchrow(
        f"{_FIND_EARLIER} and keys.expires_at > now()", [team_id], [idempotency.key]
    )
    outcome = _compare(row, idempotency)
    return None if isinstance(outcome, StillAnswering) else outcome


async def find_stored(pool: Pool, job_ids: Sequence[UUID]) -> dict[UUID, Seen]:
    """The jobs that are there, of those whose commit was not answered."""
    rows = await pool.fetch(_FIND_STORED, job_ids)
    return {row["job_id"]: _to_seen(row) for row in rows}


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
        "`dashgate price set`",
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


async def _claim_keys(connection: Connection, jobs: Sequence[NewJob]) -> dict[UUID, Outcome]:
    """What the idempotency keys say: a job of mine, one of before, or a key used otherwise."""
    keyed = sorted(
        ((job, job.idempotency) for job in jobs if job.idempotency is not None),
        key=lambda pair: (pair[0].team_id, pair[1].key),
    )
    if not keyed:
        return {}
    claims = [
        {
            "team_id": str(job.team_id),
            "key": idempotency.key,
            "fingerprint": idempotency.fingerprint.hex(),
            "job_id": str(job.id),
            "owner": idempotency.guard_owner,
            "ttl_seconds": KEY_TTL_SECONDS
            if idempotency.guard_owner is None
            else GUARD_TTL_SECONDS,
        }
        for job, idempotency in keyed
    ]
    won = {row["job_id"] for row in await connection.fetch(_CLAIM_KEYS, claims)}
    lost = [(job, idempotency) for job, idempotency in keyed if job.id not in won]
    outcomes: dict[UUID, Outcome] = {job.id: _mine(job) for job, _ in keyed if job.id in won}
    if lost:
        outcomes |= await _read_earlier(connection, lost)
    return outcomes


async def _read_earlier(
    connection: Connection, lost: Sequence[tuple[NewJob, Idempotency]]
) -> dict[UUID, Outcome]:
    rows = await connection.fetch(
        _FIND_EARLIER,
        [job.team_id for job, _ in lost],
        [idempotency.key for _, idempotency in lost],
    )
    earlier = {(row["team_id"], row["key"]): row for row in rows}
    outcomes: dict[UUID, Outcome] = {}
    for job, idempotency in lost:
        outcome = _compare(earlier.get((job.team_id, idempotency.key)), idempotency)
        if outcome is not None:
            outcomes[job.id] = outcome
    return outcomes


def _compare(earlier: Record | None, idempotency: Idempotency) -> Outcome | None:
    """None: the earlier request has just been answered, and this one makes its own job."""
    if earlier is None:
        return None
    if earlier["owner_lives"]:
        return StillAnswering("an equal request is being answered: send this one again")
    if earlier["fingerprint"] != idempotency.fingerprint:
        return KeyReused(
            "the Idempotency-Key was used before with another request: use a new key for a new "
            "request, or send the first one again unchanged"
        )
    return Acceptance(earlier["job_id"], replayed=True, seen=_to_seen(earlier))


def _mine(job: NewJob, seen: Seen | None = None) -> Acceptance:
    return Acceptance(job.id, seen=seen)


def _see(job: NewJob, price: UnitPrice | GatewayError, now: datetime) -> Seen:
    assert isinstance(price, UnitPrice)
    expires_at = now + timedelta(seconds=job.row["ttl_seconds"])
    return Seen("queued", now, expires_at, price.amount, price.currency)


def _to_seen(row: Record) -> Seen:
    return Seen(
        row["status"], row["created_at"], row["expires_at"], row["unit_price"], row["currency"]
    )


def _with_price(job: NewJob, price: UnitPrice | GatewayError) -> dict[str, Any]:
    assert isinstance(price, UnitPrice)
    return {**job.row, "unit_price": str(price.amount), "currency": price.currency}


_CLAIM_KEYS = """
insert into idempotency_keys (team_id, key, fingerprint, job_id, owner, expires_at)
select team_id, key, decode(fingerprint, 'hex'), job_id, owner,
    now() + make_interval(secs => ttl_seconds)
from jsonb_to_recordset($1) as claims(
    team_id uuid, key text, fingerprint text, job_id uuid, owner int, ttl_seconds int
)
on conflict (team_id, key) do update set fingerprint = excluded.fingerprint,
    job_id = excluded.job_id, owner = excluded.owner, expires_at = excluded.expires_at
where idempotency_keys.expires_at <= now()
returning job_id
"""

_SEEN = """
coalesce(jobs.status, runs.status) as status, jobs.created_at, jobs.expires_at, jobs.unit_price,
jobs.currency
"""

_FIND_EARLIER = f"""
select keys.team_id, key, fingerprint, keys.job_id,
    coalesce(owner in ({PRESENT_NUMBERS}), false) as owner_lives, {_SEEN}
from idempotency_keys as keys
join jobs on jobs.id = keys.job_id
left join job_runs as runs on runs.job_id = keys.job_id
where (keys.team_id, key) in (select * from unnest($1::uuid[], $2::text[]))
"""

_FIND_STORED = f"""
select jobs.id as job_id, {_SEEN}
from jobs left join job_runs as runs on runs.job_id = jobs.id
where jobs.id = any($1)
"""
