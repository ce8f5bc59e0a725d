"""Keeping acceptance waiting at a known place: a lock on a table that it reads."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.kit.postgres.database import Connection, connect

PATIENCE_SECONDS = 10.0

_WAITING = """
select count(*) from pg_locks
where not granted and relation = $1::text::regclass
    and database = (select oid from pg_database where datname = current_database())
"""


class Hold:
    """A lock on a table, so that accepted creates are neither stored nor answered."""

    def __init__(self, connection: Connection, table: str) -> None:
        self._connection = connection
        self._table = table

    async def wait_for_creates(self, count: int = 1) -> None:
        """Return when that many writers of the intake stand before the lock."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while await self._connection.fetchval(_WAITING, self._table) < count:
            assert time.monotonic() < deadline, "no create arrived at the lock"
            await asyncio.sleep(0.01)

    async def release(self) -> None:
        """Let the creates go on before the block ends."""
        await self._connection.execute("rollback")


@asynccontextmanager
async def holding_acceptance(
    database_url: str, table: str = "idempotency_keys"
) -> AsyncIterator[Hold]:
    """Nothing is accepted until the block ends; `prices` is read before any key is claimed."""
    connection = await connect(database_url)
    try:
        await connection.execute(f"begin; lock table {table} in access exclusive mode")
        yield Hold(connection, table)
    finally:
        await connection.close()
