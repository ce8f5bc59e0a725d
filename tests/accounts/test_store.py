"""Upstream accounts in Postgres: keys sealed, faults named, nothing lost while jobs run."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts import store
from app.accounts.rules import AccountLimits, NewAccount, region_of
from app.accounts.tables import Account
from app.audit.tables import AuditEntry
from app.kit.crypto import Vault
from app.kit.errors import Conflict, InvalidRequest, NotFound
from app.kit.postgres.database import Pool, Sessions
from tests.accounts.running import occupy
from tests.factories import ACTOR, make_account

API_KEY = "sk-0123456789abcdefghij"


async def _create(session: AsyncSession, vault: Vault, **changes: Any) -> Account:
    new = NewAccount(name="main", region="cn-beijing", api_key=SecretStr(API_KEY))
    return await store.create_account(session, vault, replace(new, **changes), actor=ACTOR)


async def _actions(session: AsyncSession) -> list[str]:
    return list(await session.scalars(select(AuditEntry.action).order_by(AuditEntry.id)))


@pytest.mark.parametrize(
    ("region", "base_url"),
    [
        ("cn-beijing", "https://dashscope.aliyuncs.com/api/v1"),
        ("ap-southeast-1", "https://dashscope-intl.aliyuncs.com/api/v1"),
    ],
)
async def test_an_account_has_its_regions_url_and_the_documented_limits(
    session: AsyncSession, vault: Vault, region: str, base_url: str
) -> None:
    account = await _create(session, vault, region=region)

    assert (account.base_url, account.state) == (base_url, "active")
    assert store.to_limits(account) == AccountLimits(
        max_running=5, submit_rate=Decimal(5), query_rate=Decimal(20), weight=Decimal(1)
    )


async def test_an_api_key_is_kept_only_sealed(session: AsyncSession, vault: Vault) -> None:
    account = await _create(session, vault)

    rows = [str(row) for row in await session.execute(text("select lanes::text from lanes"))]
    audited = str(list(await session.scalars(select(AuditEntry.detail))))
    ((_, hints),) = await store.list_accounts(session)

    assert API_KEY.encode().hex() not in str(rows)
    assert API_KEY not in str(rows) + audited
    assert hints == ["ghij"]
    assert account.name in audited


async def test_a_short_api_key_gives_no_hint(session: AsyncSession, vault: Vault) -> None:
    await _create(session, vault, api_key=SecretStr("sk-short"))

    assert [hints for _, hints in await store.list_accounts(session)] == [[""]]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "Main"}, "name"),
        ({"region": "us-east-1", "base_url": "http://127.0.0.1:9000/api/v1"}, "region"),
        ({"api_key": SecretStr("")}, "api_key"),
        ({"api_key": SecretStr("sk-with space")}, "api_key"),
        ({"api_key": SecretStr("sk-schlüssel")}, "api_key"),
        ({"api_key": SecretStr("sk-" + "x" * 600)}, "api_key"),
        ({"base_url": "https://dashscope.aliyuncs.com"}, "base_url"),
        ({"base_url": "https://dashscope.aliyuncs.com/compatible-mode/v1"}, "base_url"),
        ({"base_url": "ftp://dashscope.aliyuncs.com/api/v1"}, "base_url"),
        ({"base_url": "dashscope.aliyuncs.com/api/v1"}, "base_url"),
        ({"base_url": "https:///api/v1"}, "base_url"),
        ({"base_url": "https://host:port/api/v1"}, "base_url"),
        ({"base_url": "https://user:word@host/api/v1"}, "base_url"),
        ({"base_url": "https://host/api/v1?key=x"}, "base_url"),
        ({"base_url": "https://host/api/v1#x"}, "base_url"),
        ({"base_url": "https://ho st/api/v1"}, "base_url"),
        ({"base_url": "https://[::1/api/v1"}, "base_url"),
        ({"limits": AccountLimits(max_running=0)}, "max_running"),
        ({"limits": AccountLimits(submit_rate=Decimal(0))}, "submit_rate"),
        ({"limits": AccountLimits(query_rate=Decimal("20.0001"))}, "query_rate"),
        ({"limits": AccountLimits(weight=Decimal("inf"))}, "weight"),
    ],
)
async def test_a_bad_account_is_refused_by_its_field(
    session: AsyncSession, vault: Vault, change: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await _create(session, vault, **change)

    assert [problem.path for problem in refused.value.problems] == [field]
    assert "word" not in refused.value.message.replace("password", "")


async def test_a_base_url_may_end_in_a_slash(session: AsyncSession, vault: Vault) -> None:
    account = await _create(session, vault, base_url="http://127.0.0.1:9000/api/v1/")

    assert account.base_url == "http://127.0.0.1:9000/api/v1"


async def test_a_taken_name_and_a_missing_one_are_told(
    session: AsyncSession, vault: Vault
) -> None:
    await _create(session, vault)

    with pytest.raises(Conflict, match="'main'"):
        await _create(session, vault)
    with pytest.raises(NotFound, match=r"'mian'; did you mean main\?"):
        await store.get_account(session, "mian")


async def test_every_change_is_recorded_once(session: AsyncSession, vault: Vault) -> None:
    account = await _create(session, vault)

    await store.set_account(session, account, AccountLimits(max_running=2), actor=ACTOR)
    for _ in range(2):
        await store.drain_account(session, account, actor=ACTOR)
    await store.resume_account(session, account, actor=ACTOR)
    for _ in range(2):
        await store.remove_account(session, account, actor=ACTOR)

    assert (account.max_running, account.state) == (2, "removed")
    assert await _actions(session) == [
        "account.added",
        "account.set",
        "account.drained",
        "account.resumed",
        "account.removed",
    ]


async def test_a_removed_account_does_not_come_back(session: AsyncSession, vault: Vault) -> None:
    account = await _create(session, vault)
    await store.remove_account(session, account, actor=ACTOR)

    with pytest.raises(Conflict, match="removed"):
        await store.resume_account(session, account, actor=ACTOR)

    assert [hints for _, hints in await store.list_accounts(session)] == [[]]


async def test_an_account_with_a_job_on_it_is_not_removed(
    sessions: Sessions, vault: Vault, pool: Pool
) -> None:
    made = await make_account(sessions, vault, name="main")
    await occupy(pool, sessions, vault, made)

    async with sessions.begin() as session:
        account = await store.get_account(session, "main")
        with pytest.raises(Conflict, match=r"still has jobs \(1\)"):
            await store.remove_account(session, account, actor=ACTOR)


@pytest.mark.parametrize(
    ("base_url", "region"),
    [
        ("https://dashscope.aliyuncs.com/api/v1", "cn-beijing"),
        ("https://dashscope-intl.aliyuncs.com/api/v1", "ap-southeast-1"),
        ("http://127.0.0.1:9000/api/v1", "cn-beijing"),
    ],
)
def test_a_base_url_tells_the_region(base_url: str, region: str) -> None:
    assert region_of(base_url) == region


async def test_processes_that_start_at_once_make_one_default_account(
    sessions: Sessions, vault: Vault
) -> None:
    made = await asyncio.gather(
        *(
            store.ensure_default_account(
                sessions,
                vault,
                api_key=SecretStr(API_KEY),
                base_url="https://dashscope-intl.aliyuncs.com/api/v1",
            )
            for _ in range(5)
        )
    )

    assert sorted(made) == [False] * 4 + [True]
    async with sessions() as session:
        account = await store.get_account(session, "default")
        assert account.region == "ap-southeast-1"
        assert await _actions(session) == ["account.added"]
