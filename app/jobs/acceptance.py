"""The acceptance transaction: jobs, runs, first events, reservations and idempotency keys."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from app.billing.ledger import BUDGET, RESERVE, RESERVED
from app.billing.price_store import find_unit_price
from app.billing.prices import UnitPrice
from app.jobs.events import ACCEPTED, QUEUE_CHANGED
from app.jobs.queue.clocks import mark_from
from app.kit.errors import GatewayError, InvalidRequest, Unavailable
from app.kit.postgres.database import Connection, Record
from app.kit.postgres.presence import PRESENT_NUMBERS

KEY_TTL_SECONDS = 72 * 3600
"""Three days: longer than the upstream remembers a task."""
GUARD_TTL_SECONDS = 600
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


@dataclass(frozen=True, slots=True)
class Acceptance:
    """The job that answers a request; replayed when an earlier request made it."""

    job_id: UUID
    replayed: bool = False
    guarded: bool = False


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
    prices = {model: await _find_price(connection, model) for model in {j.model for j in jobs}}
    payable = [job for job in jobs if isinstance(prices[job.model], UnitPrice)]
    outcomes: dict[UUID, Outcome] = {
        job.id: price for job in jobs if isinstance(price := prices[job.model], GatewayError)
    }
    outcomes |= await _claim_keys(connection, payable)
    fresh = [job for job in payable if job.id not in outcomes or outcomes[job.id] == _mine(job)]
    if fresh:
        rows = [_with_price(job, prices[job.model]) for job in fresh]
        await connection.execute(_STORE, rows, QUEUE_CHANGED, HEAD_START_SECONDS)
    return [outcomes.get(job.id, Acceptance(job.id)) for job in jobs]


async def _find_price(connection: Connection, model: str) -> UnitPrice | GatewayError:
    now = await connection.fetchval("select now()")
    try:
        price = await find_unit_price(connection, model, now)
    except Unavailable as error:
        return error
    return price or Unavailable(
        f"{model} has no price in a region where it may run: an operator must set one with "
        "`dashgate price set`",
        code="price_unknown",
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
    return Acceptance(earlier["job_id"], replayed=True)


def _mine(job: NewJob) -> Acceptance:
    guarded = job.idempotency is not None and job.idempotency.guard_owner is not None
    return Acceptance(job.id, guarded=guarded)


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

_FIND_EARLIER = f"""
select team_id, key, fingerprint, job_id,
    coalesce(owner in ({PRESENT_NUMBERS}), false) as owner_lives
from idempotency_keys
where (team_id, key) in (select * from unnest($1::uuid[], $2::text[]))
"""

_STORE = f"""
with new as materialized (
    select * from jsonb_to_recordset($1) as rows(
        id uuid, team_id uuid, key_id uuid, door text, model text, prompt text,
        negative_prompt text, images jsonb, n smallint, size text, seed int, watermark bool,
        prompt_extend bool, metadata jsonb, priority text, unit_price numeric, currency text,
        ttl_seconds int
    )
),
stored as (
    insert into jobs (id, team_id, key_id, door, model, prompt, negative_prompt, images, n,
        size, seed, watermark, prompt_extend, metadata, priority, unit_price, currency,
        created_at, expires_at)
    select id, team_id, key_id, door, model, prompt, negative_prompt, images, n,
        size, seed, watermark, prompt_extend, metadata, priority, unit_price, currency,
        now(), now() + make_interval(secs => ttl_seconds)
    from new
),
runs as (
    insert into job_runs (job_id, team_id, model, rank_at, n, status, attempt, due_at,
        expires_at)
    select id, team_id, model,
        now() - make_interval(secs => case priority when 'interactive' then $3 else 0 end),
        n, 'queued', 0, now(), now() + make_interval(secs => ttl_seconds)
    from new
),
{mark_from("new")},
story as (
    insert into job_events (at, job_id, type, detail)
    select now(), id, 'job.queued', jsonb_build_object('door', door) from new
),
reserved as (
    insert into ledger_entries (job_id, team_id, kind, debit, credit, amount, currency,
        image_count, at)
    select id, team_id, '{RESERVE}', '{RESERVED}', '{BUDGET}', unit_price * n, currency, n, now()
    from new
)
select pg_notify($2, '{ACCEPTED}')
"""
