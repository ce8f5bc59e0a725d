"""Each trouble of the database says what it is, and what to do about it."""

import asyncio

import asyncpg
import pytest

from app.kit.deadlines import DeadlinePassed, within
from app.kit.postgres.database import CONNECTION_TROUBLE, Pool, transaction
from app.kit.postgres.trouble import UNREACHABLE, describe_trouble


async def test_a_statement_that_takes_too_long_says_so(pool: Pool) -> None:
    async with transaction(pool) as connection:
        await connection.execute("set local statement_timeout = 10")
        with pytest.raises(CONNECTION_TROUBLE) as raised:
            await connection.execute("select pg_sleep(10)")

    assert describe_trouble(raised.value).code == "statement_canceled"


async def test_a_lock_that_is_not_to_be_had_says_so(pool: Pool) -> None:
    async with transaction(pool) as holder, transaction(pool) as waiter:
        await holder.execute("lock table files in access exclusive mode")
        await waiter.execute("set local lock_timeout = 10")
        with pytest.raises(CONNECTION_TROUBLE) as raised:
            await waiter.execute("lock table files")

    assert describe_trouble(raised.value).code == "database_contended"


async def test_a_pool_without_a_free_connection_says_so(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = [await pool.acquire() for _ in range(20)]
    monkeypatch.setattr("app.kit.postgres.database.ACQUIRE_TIMEOUT_SECONDS", 0.01)
    with pytest.raises(CONNECTION_TROUBLE) as raised:
        await pool.fetchval("select 1")
    for connection in held:
        await pool.release(connection)

    assert describe_trouble(raised.value).code == "database_timeout"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (asyncpg.TooManyConnectionsError("x"), "database_crowded"),
        (asyncpg.DiskFullError("x"), "database_full"),
        (asyncpg.ReadOnlySQLTransactionError("x"), "database_read_only"),
        (asyncpg.DeadlockDetectedError("x"), "database_contended"),
        (ConnectionRefusedError(), UNREACHABLE.code),
        (asyncpg.InterfaceError("x"), UNREACHABLE.code),
    ],
)
def test_other_troubles_have_their_own_codes(error: Exception, code: str) -> None:
    assert isinstance(error, CONNECTION_TROUBLE)
    assert describe_trouble(error).code == code


async def test_a_deadline_does_not_wait_for_what_will_not_end() -> None:
    go_on = asyncio.Event()

    async def stubborn() -> None:
        while not go_on.is_set():
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                continue

    with pytest.raises(DeadlinePassed):
        await within(0.01, stubborn())
    go_on.set()
