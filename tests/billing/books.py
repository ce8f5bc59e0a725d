"""Jobs, their reservations and their ends, as the engine writes them."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from app.billing.ledger import BUDGET, RESERVE, RESERVED, settle
from app.billing.usage import add_usage
from app.kit.clock import utc_now
from app.kit.crypto import Vault
from app.kit.ids import make_uuid7
from app.kit.postgres.database import Connection, Pool, Sessions, transaction
from tests.factories import MODEL, make_key, make_team

_ACCEPT = """
insert into jobs (id, team_id, key_id, door, model, prompt, images, n, watermark, prompt_extend,
                  metadata, priority, unit_price, currency, created_at, expires_at)
values ($1, $2, $3, 'native', $4, 'p', '[]', $5, false, true, $6, 'interactive', $7, $8, now(),
        now() + interval '1 day')
"""

_RESERVE = f"""
insert into ledger_entries
  (job_id, team_id, kind, debit, credit, amount, currency, image_count, at)
values ($1, $2, '{RESERVE}', '{RESERVED}', '{BUDGET}', $3, $4, $5, now())
"""

_END = """
update jobs set status = $2, image_count = $3::int, amount = unit_price * $3::int, finished_at = $4
where id = $1
"""


@dataclass(frozen=True, slots=True)
class Payer:
    """A team with a key."""

    team_id: UUID
    key_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedJob:
    """A job with its reservation in the book."""

    job_id: UUID
    payer: Payer
    n: int
    unit_price: Decimal
    currency: str

    def settlement(self, image_count: int, at: datetime | None = None) -> dict[str, Any]:
        return {
            "job_id": self.job_id,
            "team_id": self.payer.team_id,
            "n": self.n,
            "image_count": image_count,
            "unit_price": self.unit_price,
            "currency": self.currency,
            "at": at or utc_now(),
        }


async def make_payer(sessions: Sessions, vault: Vault, **settings: Any) -> Payer:
    team = await make_team(sessions, **settings)
    key = await make_key(sessions, vault, owner=team, name="ci")
    return Payer(team.id, key.row.id)


async def accept_job(
    pool: Pool,
    payer: Payer,
    *,
    n: int = 1,
    unit_price: str = "0.20",
    currency: str = "CNY",
    metadata: dict[str, str] | None = None,
) -> AcceptedJob:
    job = AcceptedJob(
        job_id=make_uuid7(), payer=payer, n=n, unit_price=Decimal(unit_price), currency=currency
    )
    async with transaction(pool) as connection:
        await connection.execute(
            _ACCEPT,
            job.job_id,
            payer.team_id,
            payer.key_id,
            MODEL,
            n,
            metadata or {},
            job.unit_price,
            currency,
        )
        await connection.execute(
            _RESERVE, job.job_id, payer.team_id, job.unit_price * n, currency, n
        )
    return job


async def end_job(
    pool: Pool,
    job: AcceptedJob,
    *,
    status: str = "succeeded",
    image_count: int = 1,
    at: datetime | None = None,
) -> None:
    """Status, ledger and usage in one transaction."""
    at = at or utc_now()
    async with transaction(pool) as connection:
        await connection.execute(_END, job.job_id, status, image_count, at)
        await settle(connection, **job.settlement(image_count, at))
        await count_job(connection, job, status=status, image_count=image_count, at=at)


async def count_job(
    connection: Connection, job: AcceptedJob, *, status: str, image_count: int, at: datetime
) -> None:
    await add_usage(
        connection,
        team_id=job.payer.team_id,
        key_id=job.payer.key_id,
        model=MODEL,
        currency=job.currency,
        status=status,
        image_count=image_count,
        amount=job.unit_price * image_count,
        at=at,
    )
