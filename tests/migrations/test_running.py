"""A migration beside running processes: their statements go on, and it waits at nobody's door."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy import Connection as SyncConnection
from sqlalchemy import text
from structlog.testing import capture_logs

from app.accounts.overview import load_overview
from app.dashscope.outcomes import Accepted
from app.jobs.cancel import cancel_job
from app.jobs.core.state import Created, Rules
from app.jobs.engine.judge import Judge
from app.jobs.engine.sweep import expire_queued
from app.jobs.keeping.turns import claim_kept, load_waiting
from app.jobs.lists.pages import list_jobs
from app.jobs.lists.query import JobFilter
from app.kit.crypto import Vault
from app.kit.postgres import schema
from app.kit.postgres.database import (
    CONNECTION_TROUBLE,
    Pool,
    Sessions,
    connect,
    make_engine,
    open_pool,
    transaction,
)
from app.kit.postgres.schema import SchemaBusy, migrate
from tests.house.sources import list_program
from tests.jobs.scene import Scene, make_scene
from tests.waiting import wait_until

RULES = Rules(settle=timedelta(0))
TABLES = (
    "jobs",
    "job_runs",
    "attempts",
    "pictures",
    "files",
    "lanes",
    "accounts",
    "account_paces",
    "orphans",
    "idempotency_keys",
    "job_events",
    "teams",
    "keys",
)


@pytest.fixture
async def scene(database: str, sessions: Sessions, vault: Vault) -> AsyncIterator[Scene]:
    """All over one connection, which remembers every statement that it has prepared."""
    pool = await open_pool(database, max_size=1)
    yield await make_scene(pool, sessions, vault)
    await pool.close()


async def test_the_statements_of_running_processes_live_through_new_and_dropped_columns(
    scene: Scene, pool: Pool, sessions: Sessions, vault: Vault
) -> None:
    changes = ("add column from_later text default 'x'", "drop column from_later", None)
    for number, change in enumerate(changes):
        await live(scene, sessions, vault, f"task-{number}")
        if change is not None:
            for table in TABLES:
                await pool.execute(f"alter table {table} {change}")


async def live(scene: Scene, sessions: Sessions, vault: Vault, task_id: str) -> None:
    """A job from its acceptance to its kept pictures, one that is canceled, one that expires."""
    judge = Judge(scene.pool, RULES)
    fence = await scene.submitting()
    with capture_logs() as logs:
        await judge.hear_surely(fence.job_id, Created(fence.attempt, Accepted(task_id, "r")))
    assert "record.waiting_for_database" not in [entry["event"] for entry in logs]
    run = await scene.run_of(fence.job_id)
    assert run is not None
    assert run["upstream_task_id"] == task_id
    await cancel_job(scene.pool, await scene.accept(), team_id=None)
    await scene.accept(ttl_seconds=0)
    await expire_queued(judge)
    ended = await scene.finalizing("https://r.example/a.png", task_id=f"{task_id}-ended")
    async with transaction(scene.pool) as connection:
        turns = await claim_kept(connection, limit=5, troubled_limit=5)
    assert [await load_waiting(scene.pool, turn) for turn in turns]
    await scene.keep(ended, 0)
    await scene.finish(ended)
    assert await list_jobs(scene.pool, JobFilter(scene.team_id), limit=10)
    async with sessions() as session:
        assert await load_overview(session, vault)


async def test_a_statement_that_a_migration_outdated_is_worth_another_try(
    scene: Scene, pool: Pool
) -> None:
    statement = "select * from teams"
    async with transaction(scene.pool) as connection:
        await connection.fetch(statement)
    await pool.execute("alter table teams add column from_later text")

    with pytest.raises(CONNECTION_TROUBLE):
        async with transaction(scene.pool) as connection:
            await connection.fetch(statement)
    async with transaction(scene.pool) as connection:
        assert await connection.fetch(statement)


STAR = re.compile(r"(?:^|,)\s*(?:distinct\s+)?(?:[a-z_]+\.)?\*", re.IGNORECASE)
LISTS = re.compile(r"(?:^\s*select|\breturning)\s+(.*?)(?=\bfrom\b|$)", re.IGNORECASE | re.DOTALL)


def test_no_statement_gives_whatever_columns_a_table_has() -> None:
    """Such a statement breaks in every process that has prepared it as soon as a column comes."""
    assert [
        (module.name, statement.strip()[:60])
        for module in list_program()
        if not module.name.startswith(("app/bench/", "app/emulator/"))
        for statement in module.texts()
        for columns in LISTS.findall(without_parentheses(statement))
        if STAR.search(columns)
    ] == []


def without_parentheses(statement: str) -> str:
    """Only what stands outside of all of them: what is inside gives no columns to the caller."""
    before = None
    while statement != before:
        before, statement = statement, re.sub(r"\([^()]*\)", "", statement)
    return statement


@pytest.fixture
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "BUSY_PAUSE_SECONDS", 0.05)


def change_instead(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A migration that changes the jobs; grows with each of its tries."""
    tries: list[int] = []

    def change(connection: SyncConnection, _: str) -> None:
        tries.append(1)
        with connection.begin():
            connection.execute(text("set local lock_timeout = '100ms'"))
            connection.execute(text("alter table jobs add column from_later text"))

    monkeypatch.setattr(schema, "_move_to", change)
    return tries


@pytest.mark.usefixtures("_hurried")
async def test_a_migration_lets_others_pass_while_a_long_reader_is_in_its_way(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(database)
    tries = change_instead(monkeypatch)
    reader, other = await connect(database), await connect(database)
    slow = reader.transaction()
    await slow.start()
    await reader.fetch("select id from jobs limit 1")

    migrating = asyncio.create_task(migrate(engine))
    await wait_until(lambda: len(tries) >= 3)
    async with asyncio.timeout(5):
        await other.fetch("select id from jobs limit 1")
    assert not migrating.done()
    await slow.rollback()
    await migrating

    await other.execute("select from_later from jobs")
    for connection in (reader, other):
        await connection.close()
    await engine.dispose()


@pytest.mark.usefixtures("_hurried")
async def test_a_migration_that_never_gets_its_lock_says_what_to_look_for(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(database)
    monkeypatch.setattr(schema, "BUSY_SECONDS", 0.0)
    change_instead(monkeypatch)
    reader = await connect(database)
    slow = reader.transaction()
    await slow.start()
    await reader.fetch("select id from jobs limit 1")

    with pytest.raises(SchemaBusy, match="pg_stat_activity"):
        await migrate(engine)

    await slow.rollback()
    await reader.close()
    await engine.dispose()
