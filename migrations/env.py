"""Alembic's entry: runs on the connection handed over, or on DATABASE_URL for a developer."""

import asyncio

from alembic import context
from sqlalchemy import Connection

import app.accounts.tables
import app.audit.tables
import app.billing.tables
import app.jobs.accepting.tables
import app.jobs.engine.tables
import app.jobs.lists.tables
import app.jobs.tables
import app.kit.postgres.tables
import app.media.tables
import app.teams.tables
from app.kit.postgres.database import Base, make_engine
from app.kit.postgres.schema import is_ours
from app.settings import Settings

TABLES = (
    app.accounts.tables,
    app.audit.tables,
    app.billing.tables,
    app.jobs.accepting.tables,
    app.jobs.engine.tables,
    app.jobs.lists.tables,
    app.jobs.tables,
    app.kit.postgres.tables,
    app.media.tables,
    app.teams.tables,
)


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        include_name=is_ours,
        compare_server_default=True,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


async def run_on_database_url() -> None:
    engine = make_engine(Settings().require_database_url())
    async with engine.begin() as connection:
        await connection.run_sync(run)
    await engine.dispose()


handed_over = context.config.attributes.get("connection")
if handed_over is None:
    asyncio.run(run_on_database_url())
else:
    run(handed_over)
