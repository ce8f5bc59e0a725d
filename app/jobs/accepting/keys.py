"""Idempotency keys: which job a key stands for, and what a create that shares it becomes.

A guard is the key of a create that brought none. Once its answer was written it stands for
nothing any more but this: a create that was left by its client in another process meanwhile, and
comes to be stored only now, is the one that was answered.
"""

from collections.abc import Sequence
from uuid import UUID

from app.jobs.accepting.outcomes import (
    Acceptance,
    Idempotency,
    KeyReused,
    NewJob,
    Outcome,
    Seen,
    StillAnswering,
)
from app.kit.postgres.database import Connection, Pool, Record
from app.kit.postgres.presence import PRESENT_NUMBERS

KEY_TTL_SECONDS = 72 * 3600
"""Three days: longer than the upstream remembers a task."""
GUARD_TTL_SECONDS = 600

Keyed = tuple[NewJob, Idempotency]


async def find_earlier(pool: Pool, team_id: UUID, idempotency: Idempotency) -> Outcome | None:
    """What the key says before anything is stored; None when it says nothing yet."""
    row = await pool.fetchrow(
        f"{_FIND_EARLIER} and answered_at is null and keys.expires_at > now()",
        [team_id],
        [idempotency.key],
    )
    outcome = None if row is None else _compare(row, idempotency)
    return None if isinstance(outcome, StillAnswering) else outcome


async def claim_keys(connection: Connection, jobs: Sequence[NewJob]) -> dict[UUID, Outcome]:
    """What the idempotency keys say: a job of mine, one of before, or a key used otherwise.

    Every key is locked until the transaction ends, won or lost, and always in the same order.
    """
    keyed = sorted(
        ((job, job.idempotency) for job in jobs if job.idempotency is not None),
        key=lambda pair: (pair[0].team_id, pair[1].key),
    )
    if not keyed:
        return {}
    won = await _claim(connection, _CLAIM, keyed)
    lost = [(job, idempotency) for job, idempotency in keyed if job.id not in won]
    outcomes: dict[UUID, Outcome] = {job_id: Acceptance(job_id) for job_id in won}
    if lost:
        outcomes |= await _read_earlier(connection, lost)
    return outcomes


async def _claim(connection: Connection, statement: str, keyed: Sequence[Keyed]) -> set[UUID]:
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
    return {row["job_id"] for row in await connection.fetch(statement, claims)}


async def _read_earlier(connection: Connection, lost: Sequence[Keyed]) -> dict[UUID, Outcome]:
    rows = await connection.fetch(
        _FIND_EARLIER,
        [job.team_id for job, _ in lost],
        [idempotency.key for _, idempotency in lost],
    )
    earlier = {(row["team_id"], row["key"]): row for row in rows}
    outcomes: dict[UUID, Outcome] = {}
    meant: list[Keyed] = []
    for job, idempotency in lost:
        row = earlier[job.team_id, idempotency.key]
        if row["is_answered"] and not await idempotency.is_left():
            meant.append((job, idempotency))
        else:
            outcomes[job.id] = _compare(row, idempotency)
    if meant:
        taken = await _claim(connection, _TAKE_OVER, meant)
        outcomes |= {job_id: Acceptance(job_id) for job_id in taken}
    return outcomes


def _compare(earlier: Record, idempotency: Idempotency) -> Outcome:
    if earlier["owner_lives"]:
        return StillAnswering("an equal request is being answered: send this one again")
    if earlier["fingerprint"] != idempotency.fingerprint:
        return KeyReused(
            "the Idempotency-Key was used before with another request: use a new key for a new "
            "request, or send the first one again unchanged"
        )
    return Acceptance(earlier["job_id"], replayed=True, seen=to_seen(earlier))


def to_seen(row: Record) -> Seen:
    return Seen(
        row["status"], row["created_at"], row["expires_at"], row["unit_price"], row["currency"]
    )


_CLAIMS = """
select team_id, key, decode(fingerprint, 'hex') as fingerprint, job_id, owner,
    now() + make_interval(secs => ttl_seconds) as expires_at
from jsonb_to_recordset($1) as claims(
    team_id uuid, key text, fingerprint text, job_id uuid, owner int, ttl_seconds int
)
"""

_CLAIM = f"""
insert into idempotency_keys (team_id, key, fingerprint, job_id, owner, expires_at) {_CLAIMS}
on conflict (team_id, key) do update set fingerprint = excluded.fingerprint,
    job_id = excluded.job_id, owner = excluded.owner, expires_at = excluded.expires_at,
    answered_at = null
where idempotency_keys.expires_at <= now()
returning job_id
"""

_TAKE_OVER = f"""
update idempotency_keys as keys set fingerprint = claims.fingerprint, job_id = claims.job_id,
    owner = claims.owner, expires_at = claims.expires_at, answered_at = null
from ({_CLAIMS}) as claims
where keys.team_id = claims.team_id and keys.key = claims.key
returning keys.job_id
"""

SEEN = """
coalesce(jobs.status, runs.status) as status, jobs.created_at, jobs.expires_at, jobs.unit_price,
jobs.currency
"""

_FIND_EARLIER = f"""
select keys.team_id, key, fingerprint, keys.job_id, answered_at is not null as is_answered,
    answered_at is null and coalesce(owner in ({PRESENT_NUMBERS}), false) as owner_lives, {SEEN}
from idempotency_keys as keys
join jobs on jobs.id = keys.job_id
left join job_runs as runs on runs.job_id = keys.job_id
where (keys.team_id, key) in (select * from unnest($1::uuid[], $2::text[]))
"""
