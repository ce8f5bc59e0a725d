"""The engine's view of accounts: those that work, with keys that open."""

import pytest
from structlog.testing import capture_logs

from app.accounts.directory import load_accounts
from app.accounts.store import drain_account, get_account, remove_account
from app.kit.crypto import Vault
from app.kit.postgres.database import Pool, Sessions
from tests.factories import ACTOR, make_account


async def test_accounts_come_with_limits_and_open_keys(
    pool: Pool, sessions: Sessions, vault: Vault
) -> None:
    made = await make_account(
        sessions, vault, name="main", api_key="sk-0123456789abcdef", max_running=3
    )

    (account,) = await load_accounts(pool, vault)

    assert (account.id, account.name, account.state) == (made.id, "main", "active")
    assert (account.max_running, account.submit_rate, account.query_rate) == (3, 5.0, 20.0)
    assert [lane.api_key.get_secret_value() for lane in account.lanes] == ["sk-0123456789abcdef"]
    assert "sk-0123456789abcdef" not in repr(account)


async def test_draining_accounts_are_there_and_removed_ones_are_not(
    pool: Pool, sessions: Sessions, vault: Vault
) -> None:
    for name in ("a", "b", "c"):
        await make_account(sessions, vault, name=name)
    async with sessions.begin() as session:
        await drain_account(session, await get_account(session, "b"), actor=ACTOR)
        await remove_account(session, await get_account(session, "c"), actor=ACTOR)

    accounts = await load_accounts(pool, vault)

    assert [(account.name, account.state) for account in accounts] == [
        ("a", "active"),
        ("b", "draining"),
    ]


@pytest.mark.parametrize(
    "tampering",
    [
        "update lanes set api_key_sealed = 'x' where account_id = $1",
        "update lanes set api_key_sealed = (select api_key_sealed from lanes"
        " where account_id <> $1) where account_id = $1",
    ],
    ids=["damaged", "swapped"],
)
async def test_a_key_that_does_not_open_costs_only_its_lane(
    pool: Pool, sessions: Sessions, vault: Vault, tampering: str
) -> None:
    bad = await make_account(sessions, vault, name="bad", api_key="sk-aaaaaaaaaaaaaaaa")
    await make_account(sessions, vault, name="good", api_key="sk-bbbbbbbbbbbbbbbb")
    await pool.execute(tampering, bad.id)

    with capture_logs() as logs:
        accounts = await load_accounts(pool, vault)

    assert {account.name: len(account.lanes) for account in accounts} == {"bad": 0, "good": 1}
    assert [(log["event"], log["account"]) for log in logs] == [("account.key_unreadable", "bad")]
    assert "sk-" not in str(logs)


async def test_a_key_that_does_not_open_is_told_again_only_when_it_changes(
    pool: Pool, sessions: Sessions, vault: Vault
) -> None:
    await make_account(sessions, vault)
    told = []
    for sealed in (b"x", b"x", b"y"):
        await pool.execute("update lanes set api_key_sealed = $1", sealed)
        with capture_logs() as logs:
            await load_accounts(pool, vault)
        told.append(len(logs))

    assert told == [1, 0, 1]


async def test_a_removed_lane_is_not_used(pool: Pool, sessions: Sessions, vault: Vault) -> None:
    await make_account(sessions, vault)
    await pool.execute("update lanes set removed_at = now()")

    (account,) = await load_accounts(pool, vault)

    assert account.lanes == ()


async def test_keys_sealed_by_an_older_secret_open(pool: Pool, sessions: Sessions) -> None:
    older, newer = "o" * 40, "n" * 40
    await make_account(sessions, Vault((older,)), api_key="sk-0123456789abcdef")

    (account,) = await load_accounts(pool, Vault((newer, older)))

    assert account.lanes[0].api_key.get_secret_value() == "sk-0123456789abcdef"
