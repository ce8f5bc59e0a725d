"""Prices in the database: a new one is appended; once it has begun, it stays as it is."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.audit.record import record_audit
from app.billing.money import format_amount
from app.billing.prices import DEFAULT_PRICES, DatedPrice, UnitPrice
from app.billing.tables import Price
from app.kit.errors import Conflict, FieldProblem, InvalidRequest, NotFound, Unavailable
from app.kit.ids import make_uuid7
from app.kit.postgres.database import Connection, Sessions

BACKDATING_LIMIT = timedelta(minutes=1)
CANCEL_MARGIN = timedelta(minutes=1)
"""A price that begins sooner may be charged already by a process whose clock is ahead."""

_IDENTITY = ("model", "region", "valid_from")

_FIND_UNIT_PRICE = """
with current_prices as (
  select distinct on (region) region, unit_price, currency
  from prices where model = $1 and valid_from <= $2
  order by region, valid_from desc
), account_regions as (
  select distinct region from accounts where state <> 'removed'
), asked as (
  select region from account_regions
  union
  select region from current_prices where not exists (select from account_regions)
)
select max(unit_price) as amount, min(currency) as currency, max(currency) as other_currency
from asked left join current_prices using (region)
having bool_and(unit_price is not null)
"""


class MixedCurrencies(Unavailable):
    """Prices that cannot be compared, so that no budget could be kept."""

    code = "mixed_currencies"


async def find_unit_price(connection: Connection, model: str, at: datetime) -> UnitPrice | None:
    """The price to stamp on a job: the highest among the regions where it may come to run.

    These are the regions of the accounts, or all priced ones while there is no account. None
    when one of them has no price for the model; raises MixedCurrencies.
    """
    row = await connection.fetchrow(_FIND_UNIT_PRICE, model, at)
    if row is None:
        return None
    if row["currency"] != row["other_currency"]:
        raise MixedCurrencies(
            f"{model} is priced in {row['currency']} in one region and in {row['other_currency']} "
            "in another: an operator must set its prices in one currency"
        )
    return UnitPrice(row["amount"], row["currency"])


async def set_price(
    session: AsyncSession, price: DatedPrice, *, now: datetime, actor: str
) -> Price:
    """Append a price; raises InvalidRequest when it would begin in the past, or Conflict."""
    if price.valid_from < now - BACKDATING_LIMIT:
        problem = FieldProblem(
            ("valid_from",),
            "in_the_past",
            f"{price.valid_from.isoformat()} is over: jobs accepted since then carry the price "
            "of their time; begin now or later",
        )
        raise InvalidRequest.from_problems((problem,))
    stored: Price | None = await session.scalar(
        insert(Price)
        .values(_to_row(price))
        .on_conflict_do_nothing(index_elements=_IDENTITY)
        .returning(Price)
    )
    if stored is None:
        raise Conflict(
            f"{price.model} in {price.region} has a price from {price.valid_from.isoformat()} "
            "already, and prices are never edited: begin at another moment, or, while it has not "
            "begun, cancel that one first"
        )
    await _audit(session, stored, "price.set", actor)
    return stored


async def cancel_price(
    session: AsyncSession, model: str, region: str, valid_from: datetime, *, actor: str
) -> Price:
    """Take back a price that has not begun; raises NotFound, or Conflict once it has begun."""
    named = (Price.model == model, Price.region == region)
    canceled: Price | None = await session.scalar(
        delete(Price)
        .where(*named, Price.valid_from == valid_from)
        .where(Price.valid_from > func.now() + CANCEL_MARGIN)
        .returning(Price)
    )
    if canceled is None:
        rows = await session.scalars(select(Price.valid_from).where(*named))
        raise _explain_refusal(f"{model} in {region}", valid_from, sorted(rows))
    await _audit(session, canceled, "price.canceled", actor)
    return canceled


def _explain_refusal(
    place: str, valid_from: datetime, known: list[datetime]
) -> NotFound | Conflict:
    if valid_from in known:
        return Conflict(
            f"the price of {place} from {valid_from.isoformat()} has begun, or begins within a "
            "minute: jobs may carry it; set another price instead"
        )
    last = known[-1].astimezone(valid_from.tzinfo).isoformat() if known else "none"
    return NotFound(
        f"{place} has no price that begins at {valid_from.isoformat()}; the last one begins at "
        f"{last}"
    )


async def list_prices(session: AsyncSession) -> list[Price]:
    """Every price there is or was, by model and region, the latest first."""
    rows = await session.scalars(
        select(Price).order_by(Price.model, Price.region, Price.valid_from.desc())
    )
    return list(rows)


async def ensure_default_prices(
    sessions: Sessions, prices: Iterable[DatedPrice] = DEFAULT_PRICES
) -> None:
    """Make the list prices known; those that are there already stay as they are."""
    async with sessions.begin() as session:
        await session.execute(
            insert(Price)
            .values([_to_row(price) for price in prices])
            .on_conflict_do_nothing(index_elements=_IDENTITY)
        )


def to_dated_price(row: Price) -> DatedPrice:
    unit = UnitPrice(row.unit_price, row.currency)
    return DatedPrice(row.model, row.region, unit, row.valid_from)


def _to_row(price: DatedPrice) -> dict[str, object]:
    return {
        "id": make_uuid7(),
        "model": price.model,
        "region": price.region,
        "unit_price": price.unit.amount,
        "currency": price.unit.currency,
        "valid_from": price.valid_from,
    }


async def _audit(session: AsyncSession, price: Price, action: str, actor: str) -> None:
    detail = {
        "model": price.model,
        "region": price.region,
        "unit_price": format_amount(price.unit_price),
        "currency": price.currency,
        "valid_from": price.valid_from.isoformat(),
    }
    await record_audit(
        session,
        actor=actor,
        action=action,
        subject_kind="price",
        subject_id=price.id,
        detail=detail,
    )
