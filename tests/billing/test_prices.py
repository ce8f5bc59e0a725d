"""Prices: dated, never edited, and the dearest that may apply is stamped on a job."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts.store import get_account, remove_account
from app.billing.price_store import (
    MixedCurrencies,
    ensure_default_prices,
    find_unit_price,
    list_prices,
    set_price,
)
from app.billing.prices import DEFAULT_PRICES, DatedPrice, UnitPrice, price_at
from app.kit.clock import utc_now
from app.kit.crypto import Vault
from app.kit.errors import Conflict, InvalidRequest
from app.kit.postgres.database import Pool, Sessions
from tests.factories import ACTOR, LONG_AGO, MODEL, make_account, make_price

NOW = utc_now()
DAY = timedelta(days=1)
BEIJING = UnitPrice(Decimal("0.20"), "CNY")
SINGAPORE = UnitPrice(Decimal("0.220177"), "CNY")


def _price(amount: str, valid_from: datetime) -> DatedPrice:
    return DatedPrice(MODEL, "cn-beijing", UnitPrice(Decimal(amount), "CNY"), valid_from)


async def _find(pool: Pool, at: datetime = NOW) -> UnitPrice | None:
    async with pool.acquire() as connection:
        return await find_unit_price(connection, MODEL, at)


@pytest.mark.parametrize(
    ("moment", "amount"),
    [(NOW - 2 * DAY, None), (NOW - DAY, "1"), (NOW, "2"), (NOW + 9 * DAY, "2")],
)
def test_a_price_holds_until_the_next_begins(moment: datetime, amount: str | None) -> None:
    prices = [_price("2", NOW), _price("1", NOW - DAY)]

    found = price_at(prices, MODEL, "cn-beijing", moment)

    assert (found and found.unit.amount) == (amount and Decimal(amount))
    assert price_at(prices, MODEL, "ap-southeast-1", moment) is None
    assert price_at(prices, "other", "cn-beijing", moment) is None


def test_the_list_prices_are_the_published_ones() -> None:
    by_region = {price.region: price.unit for price in DEFAULT_PRICES}

    assert by_region == {"cn-beijing": BEIJING, "ap-southeast-1": SINGAPORE}
    assert all(price.valid_from < datetime(2025, 12, 1, tzinfo=UTC) for price in DEFAULT_PRICES)


async def test_list_prices_are_added_once(sessions: Sessions) -> None:
    await ensure_default_prices(sessions)
    await ensure_default_prices(sessions)

    async with sessions() as session:
        assert len(await list_prices(session)) == len(DEFAULT_PRICES)


async def test_a_price_is_appended_and_never_edited(session: AsyncSession) -> None:
    first, second = _price("0.30", NOW), _price("0.40", NOW + DAY)
    for price in (first, second):
        await set_price(session, price, now=NOW, actor=ACTOR)

    with pytest.raises(Conflict, match="never edited"):
        await set_price(session, _price("0.50", NOW), now=NOW, actor=ACTOR)

    amounts = [row.unit_price for row in await list_prices(session)]
    assert amounts == [Decimal("0.40"), Decimal("0.30")]


async def test_a_price_cannot_begin_in_the_past(session: AsyncSession) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await set_price(session, _price("1", NOW - DAY), now=NOW, actor=ACTOR)

    assert refused.value.problems[0].code == "in_the_past"


async def test_without_accounts_the_dearest_region_counts(pool: Pool, sessions: Sessions) -> None:
    assert await _find(pool) is None

    await ensure_default_prices(sessions)

    assert await _find(pool) == SINGAPORE
    assert await _find(pool, LONG_AGO) is None


async def test_the_dearest_region_that_has_an_account_counts(
    pool: Pool, sessions: Sessions, vault: Vault
) -> None:
    await ensure_default_prices(sessions)
    await make_account(sessions, vault, region="cn-beijing")
    assert await _find(pool) == BEIJING

    await make_account(sessions, vault, region="ap-southeast-1", name="sg")
    assert await _find(pool) == SINGAPORE

    async with sessions.begin() as session:
        await remove_account(session, await get_account(session, "sg"), actor=ACTOR)
    assert await _find(pool) == BEIJING


async def test_the_price_of_the_moment_is_stamped(pool: Pool, sessions: Sessions) -> None:
    await make_price(sessions, amount="0.20")
    await make_price(sessions, amount="0.30", valid_from=NOW)

    for at, amount in ((NOW - DAY, "0.20"), (NOW, "0.30"), (NOW + DAY, "0.30")):
        assert await _find(pool, at) == UnitPrice(Decimal(amount), "CNY")


async def test_a_region_without_a_price_leaves_the_price_unknown(
    pool: Pool, sessions: Sessions, vault: Vault
) -> None:
    await make_price(sessions, region="cn-beijing")
    await make_account(sessions, vault, region="cn-beijing")
    await make_account(sessions, vault, region="ap-southeast-1")

    assert await _find(pool) is None


async def test_two_currencies_cannot_be_compared(
    pool: Pool, sessions: Sessions, vault: Vault
) -> None:
    await make_price(sessions, region="cn-beijing")
    await make_price(sessions, region="ap-southeast-1", amount="0.03", currency="USD")
    await make_account(sessions, vault, region="cn-beijing")
    assert await _find(pool) == BEIJING

    await make_account(sessions, vault, region="ap-southeast-1")

    with pytest.raises(MixedCurrencies, match="CNY in one region and in USD"):
        await _find(pool)
