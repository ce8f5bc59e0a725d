"""The schema's version: bring it to head under an advisory lock, tell whether it is there."""

import asyncio
import re
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.kit.postgres.database import Pool

MIGRATIONS = Path(__file__).parents[3] / "migrations"
MIGRATION_LOCK = 0x6461_7368_0001
LOCK_RETRY_SECONDS = 0.1
_PARTITION = re.compile(r"_(y\d{4}m\d{2}|rest)$")


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
            await connection.run_sync(_move_to, revision)
        finally:
            await connection.rollback()
            await connection.execute(text(f"select pg_advisory_unlock({MIGRATION_LOCK})"))
            await connection.commit()


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
