"""Rows that tests start from, made by the code that makes them in earnest."""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from typing import Any

from pydantic import SecretStr

from app.accounts import store as account_store
from app.accounts.rules import AccountLimits, NewAccount
from app.accounts.tables import Account
from app.billing.price_store import ensure_default_prices
from app.billing.prices import DatedPrice, UnitPrice
from app.kit.clock import utc_now
from app.kit.crypto import Vault
from app.kit.postgres.database import Sessions
from app.teams import store as team_store
from app.teams.rules import KeySettings, TeamSettings
from app.teams.tables import Key, Team

ACTOR = "test"
MODEL = "wan2.5-i2i-preview"
LONG_AGO = datetime(2025, 1, 1, tzinfo=UTC)

_numbers = count(1)


@dataclass(frozen=True, slots=True)
class MadeKey:
    """A key as its owner has it."""

    row: Key
    text: str


async def make_team(sessions: Sessions, *, name: str | None = None, **settings: Any) -> Team:
    async with sessions.begin() as session:
        return await team_store.create_team(
            session, name or f"team-{next(_numbers)}", TeamSettings(**settings), actor=ACTOR
        )


async def make_key(
    sessions: Sessions,
    vault: Vault,
    *,
    owner: team_store.Owner,
    name: str | None = None,
    **settings: Any,
) -> MadeKey:
    async with sessions.begin() as session:
        row, text = await team_store.create_key(
            session,
            vault,
            KeySettings(name=name or f"key-{next(_numbers)}", **settings),
            owner=owner,
            actor=ACTOR,
            now=utc_now(),
        )
    return MadeKey(row, text)


async def make_account(
    sessions: Sessions,
    vault: Vault,
    *,
    name: str | None = None,
    region: str = "cn-beijing",
    base_url: str | None = None,
    api_key: str = "sk-0123456789abcdef",
    **limits: Any,
) -> Account:
    new = NewAccount(
        name=name or f"account-{next(_numbers)}",
        region=region,
        base_url=base_url,
        api_key=SecretStr(api_key),
        limits=AccountLimits(**limits),
    )
    async with sessions.begin() as session:
        return await account_store.create_account(session, vault, new, actor=ACTOR)


async def make_price(
    sessions: Sessions,
    *,
    model: str = MODEL,
    region: str = "cn-beijing",
    amount: str = "0.20",
    currency: str = "CNY",
    valid_from: datetime = LONG_AGO,
) -> DatedPrice:
    """A price that may begin in the past, unlike an operator's."""
    price = DatedPrice(model, region, UnitPrice(Decimal(amount), currency), valid_from)
    await ensure_default_prices(sessions, (price,))
    return price
