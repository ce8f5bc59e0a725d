"""The schema's version: bring it to head under an advisory lock, tell whether it is there."""

import asyncio
import re
from pathlib import Path
from typing import Any

import structlog
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.kit.errors import Unavailable
from app.kit.postgres.database import Pool

MIGRATIONS = Path(__file__).parents[3] / "migrations"
MIGRATION_LOCK = 0x6461_7368_0001
BUSY_SECONDS = 300.0
"""How long a migration tries to get its locks; each try waits as long as the migration says."""
BUSY_PAUSE_SECONDS = 1.0
_BUSY = ("55P03", "40P01")
"""Lock not available, deadlock."""
LOCK_RETRY_SECONDS = 0.1
_PARTITION = re.compile(r"_(y\d{4}m\d{2}|rest)$")


log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class SchemaBusy(Unavailable):
    """Some transaction has held a lock that a migration needs for too long."""

    code = "schema_busy"


def make_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


async def migrate(engine: AsyncEngine, revision: str = "head") -> None:
    """Bring the schema to a revision; a second process waits for the first and finds it done."""
    async with engine.connect() as connection:
        await connection.execute(text("set statement_timeout = 0"))
        await connection.commit()
        # A statement that waits for the lock would itself be waited for by an index that is made
        # concurrently: asking again holds nothing in between.
        while not await connection.scalar(text(f"select pg_try_advisory_lock({MIGRATION_LOCK})")):
            await connection.rollback()
            await asyncio.sleep(LOCK_RETRY_SECONDS)
        await connection.commit()
        try:
            await _move_patiently(connection, revision)
        finally:
            await connection.rollback()
            await connection.execute(text(f"select pg_advisory_unlock({MIGRATION_LOCK})"))
            await connection.commit()


async def _move_patiently(connection: AsyncConnection, revision: str) -> None:
    """A lock that does not come soon is asked for anew: who waits for it holds up all others."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + BUSY_SECONDS
    while True:
        try:
            return await connection.run_sync(_move_to, revision)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) not in _BUSY:
                raise
            if loop.time() >= deadline:
                raise SchemaBusy(
                    f"the schema could not be changed within {BUSY_SECONDS:g} s: another "
                    "transaction holds its tables. Find it (select pid, xact_start, query from "
                    "pg_stat_activity order by xact_start), wait or end it, and migrate again"
                ) from None
            await connection.rollback()
        log.info("schema.waiting_for_lock", revision=revision)
        await asyncio.sleep(BUSY_PAUSE_SECONDS)


async def find_revision(pool: Pool) -> str | None:
    """The revision that the database is at; None before the first migration."""
    if await pool.fetchval("select to_regclass('alembic_version')") is None:
        return None
    revision: str | None = await pool.fetchval("select version_num from alembic_version")
    return revision


def head_revision() -> str | None:
    return ScriptDirectory.from_config(make_config()).get_current_head()


def is_ours(name: str | None, kind: str, _: Any) -> bool:
    """Whether a drift check looks at that name: partitions come and go by the month."""
    return kind != "table" or name is None or not _PARTITION.search(name)


def _move_to(connection: Connection, revision: str) -> None:
    config = make_config()
    config.attributes["connection"] = connection
    if revision == "base" or revision.startswith("-"):
        command.downgrade(config, revision)
    else:
        command.upgrade(config, revision)
