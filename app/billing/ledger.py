"""The book of money: append-only transfers between three sides of a team's budget.

Acceptance reserves (budget to reserved), the end captures what was delivered (reserved to spent)
and releases the rest (reserved to budget). What the upstream billed beyond a job is the company's,
not the team's (company to waste). An entry debits the side that gains and credits the
side that gives, so that a side's balance is its debits less its credits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TypedDict, Unpack
from uuid import UUID

from app.kit.postgres.database import Connection

BUDGET = "budget"
RESERVED = "reserved"
SPENT = "spent"
WASTE = "waste"
COMPANY = "company"

RESERVE = "reserve"
CAPTURE = "capture"
RELEASE = "release"

IMBALANCES_LIMIT = 100


class CannotSettle(RuntimeError):
    """A settlement that the book contradicts; its transaction must not be committed."""


class Settlement(TypedDict):
    """What the book needs to know of a job at its end."""

    job_id: UUID
    team_id: UUID
    n: int
    image_count: int
    unit_price: Decimal
    currency: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Imbalance:
    """A job whose entries do not add up: what the book holds against what the job says."""

    job_id: UUID
    status: str | None
    expected_reserved: Decimal
    reserved: Decimal | None
    expected_spent: Decimal
    spent: Decimal


_LOCK_RESERVATION = f"""
select amount, currency from ledger_entries
where job_id = $1 and kind = '{RESERVE}' for update
"""

_IS_SETTLED = f"""
select exists (
  select from ledger_entries where job_id = $1 and kind in ('{CAPTURE}', '{RELEASE}')
)
"""

_SETTLE = f"""
insert into ledger_entries
  (job_id, team_id, kind, debit, credit, amount, currency, image_count, at)
select $1, $2, kind, debit, '{RESERVED}', $3::numeric * image_count, $4, image_count, $5
from (values ('{CAPTURE}', '{SPENT}', $6::int), ('{RELEASE}', '{BUDGET}', $7::int))
  as part (kind, debit, image_count)
where image_count > 0
"""

_RELEASE_WHOLE = f"""
insert into ledger_entries
  (job_id, team_id, kind, debit, credit, amount, currency, image_count, at)
select job_id, team_id, '{RELEASE}', '{BUDGET}', '{RESERVED}', amount, currency, image_count, $4
from unnest($1::uuid[], $2::numeric[], $3::text[]) as ended (job_id, amount, currency)
join ledger_entries as reserved using (job_id, amount, currency)
where reserved.kind = '{RESERVE}' and not exists (
  select from ledger_entries as settled
  where settled.job_id = ended.job_id and settled.kind in ('{CAPTURE}', '{RELEASE}')
)
returning job_id
"""

_FIND_IMBALANCES = f"""
with books as (
  select job_id,
         sum(case '{RESERVED}' when debit then amount when credit then -amount else 0 end)
           as reserved,
         sum(case '{SPENT}' when debit then amount when credit then -amount else 0 end) as spent
  from ledger_entries group by job_id
), expectations as (
  select id as job_id, status, coalesce(amount, 0) as expected_spent,
         case when status is null then unit_price * n else 0 end as expected_reserved
  from jobs
)
select job_id, status, expected_reserved, reserved, expected_spent, coalesce(spent, 0) as spent
from expectations left join books using (job_id)
where reserved is distinct from expected_reserved or spent is distinct from expected_spent
order by job_id limit {IMBALANCES_LIMIT}
"""


async def settle(connection: Connection, **end: Unpack[Settlement]) -> None:
    """Capture what was delivered and release the rest, in the transaction of the final status.

    Raises CannotSettle when the job was settled before, or was never reserved as it says. The
    lock on the reservation makes the second of two settlements wait and see the first.
    """
    reserved = await connection.fetchrow(_LOCK_RESERVATION, end["job_id"])
    expected = (end["unit_price"] * end["n"], end["currency"])
    if reserved is None or (reserved["amount"], reserved["currency"]) != expected:
        found = "nothing" if reserved is None else f"{reserved['amount']} {reserved['currency']}"
        raise CannotSettle(
            f"job {end['job_id']}: {found} is reserved, not {expected[0]} {expected[1]}"
        )
    if await connection.fetchval(_IS_SETTLED, end["job_id"]):
        raise CannotSettle(f"job {end['job_id']}: its money is settled already")
    await connection.execute(
        _SETTLE,
        end["job_id"],
        end["team_id"],
        end["unit_price"],
        end["currency"],
        end["at"],
        end["image_count"],
        end["n"] - end["image_count"],
    )


async def release_whole(
    connection: Connection,
    job_ids: Sequence[UUID],
    amounts: Sequence[Decimal],
    currencies: Sequence[str],
    *,
    at: datetime,
) -> None:
    """What `settle` does, for jobs that end together and have delivered nothing.

    The amounts are what the jobs say is reserved. Raises CannotSettle if one is contradicted.
    """
    rows = await connection.fetch(
        _RELEASE_WHOLE, list(job_ids), list(amounts), list(currencies), at
    )
    refused = set(job_ids) - {row["job_id"] for row in rows}
    if refused:
        raise CannotSettle(
            f"{len(refused)} of {len(job_ids)} jobs, {min(refused)} first: what is reserved is "
            "not what the job says, or it is settled already"
        )


async def find_imbalances(connection: Connection) -> list[Imbalance]:
    """Jobs whose entries do not add up, the oldest first, at most IMBALANCES_LIMIT."""
    rows = await connection.fetch(_FIND_IMBALANCES)
    return [Imbalance(**row) for row in rows]
