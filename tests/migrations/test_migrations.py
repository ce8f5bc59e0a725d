"""The schema: made in one go, undone without a trace, the same as the models say."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.audit.record import record_audit
from app.kit.ids import make_uuid7
from app.kit.postgres.database import Base, Pool, Sessions, make_engine, open_pool
from app.kit.postgres.schema import find_revision, head_revision, is_ours, migrate
from tests.databases import empty_database
from tests.jobs.scene import Scene


@pytest.fixture
async def empty(server_url: str) -> AsyncIterator[str]:
    """A database without any table."""
    async with empty_database(server_url) as url:
        yield url


@pytest.fixture
async def engine(empty: str) -> AsyncIterator[AsyncEngine]:
    engine = make_engine(empty)
    yield engine
    await engine.dispose()


async def list_objects(engine: AsyncEngine) -> set[str]:
    """Names of all tables, views, functions, types and triggers of ours."""
    query = """
        select relname from pg_class where relnamespace = 'public'::regnamespace
        union all select proname from pg_proc where pronamespace = 'public'::regnamespace
        union all select typname from pg_type where typnamespace = 'public'::regnamespace
        union all select tgname from pg_trigger where not tgisinternal
    """
    async with engine.connect() as connection:
        return set((await connection.scalars(text(query))).all())


def find_drift(connection: Connection) -> list[object]:
    options = {"include_name": is_ours, "compare_server_default": True}
    context = MigrationContext.configure(connection, opts=options)
    return list(compare_metadata(context, Base.metadata))


async def test_the_head_is_what_the_models_say(engine: AsyncEngine) -> None:
    await migrate(engine)

    async with engine.connect() as connection:
        assert await connection.run_sync(find_drift) == []


async def test_the_way_back_leaves_nothing_and_can_be_gone_again(engine: AsyncEngine) -> None:
    await migrate(engine)
    whole = await list_objects(engine)

    await migrate(engine, "base")
    left = await list_objects(engine)
    await migrate(engine)

    assert left <= {"alembic_version", "alembic_version_pkc", "_alembic_version"}
    assert await list_objects(engine) == whole


async def test_the_revision_is_told_before_and_after(engine: AsyncEngine, empty: str) -> None:
    pool = await open_pool(empty, max_size=2)
    assert await find_revision(pool) is None

    await migrate(engine)
    assert await find_revision(pool) == head_revision()

    await migrate(engine, "base")
    assert await find_revision(pool) is None
    await pool.close()


async def test_many_that_migrate_at_once_do_it_once(empty: str) -> None:
    engines = [make_engine(empty) for _ in range(4)]

    await asyncio.gather(*(migrate(engine) for engine in engines))
    await migrate(engines[0])

    pool = await open_pool(empty, max_size=1)
    assert await find_revision(pool) == head_revision()
    await pool.close()
    for engine in engines:
        await engine.dispose()


async def test_a_migration_that_fails_leaves_the_database_as_it_was_and_lets_others_try(
    engine: AsyncEngine,
) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("create table pictures (id int)"))
    before = await list_objects(engine)

    with pytest.raises(Exception, match='relation "pictures" already exists'):
        await migrate(engine)

    assert await list_objects(engine) - before <= {
        "alembic_version",
        "alembic_version_pkc",
        "_alembic_version",
    }
    async with engine.begin() as connection:
        await connection.execute(text("drop table pictures"))
    async with asyncio.timeout(20):
        await migrate(engine)


@pytest.mark.parametrize(
    "change",
    [
        "update ledger_entries set amount = 0",
        "delete from ledger_entries",
        "update audit_entries set actor = 'nobody'",
        "delete from audit_entries",
    ],
)
async def test_books_and_audit_cannot_be_changed_afterwards(
    scene: Scene, sessions: Sessions, change: str
) -> None:
    await scene.accept()
    async with sessions.begin() as session:
        await record_audit(
            session,
            actor="test",
            action="team.created",
            subject_kind="team",
            subject_id=make_uuid7(),
            detail={},
        )

    with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
        await scene.pool.execute(change)


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        ("kind_known", {"kind": "'gift'"}),
        ("amount_not_negative", {"amount": "-1"}),
        ("image_count_not_negative", {"image_count": "-1"}),
        ("two_sides", {"debit": "'budget'"}),
    ],
)
async def test_a_book_entry_that_makes_no_sense_is_refused(
    scene: Scene, rule: str, change: dict[str, str]
) -> None:
    job_id = await scene.accept()
    row = {
        "kind": "'capture'",
        "debit": "'spent'",
        "credit": "'budget'",
        "amount": "1",
        "image_count": "1",
    } | change

    with pytest.raises(asyncpg.CheckViolationError, match=f"ck_ledger_entries_{rule}"):
        await scene.pool.execute(
            f"insert into ledger_entries (job_id, team_id, currency, at, {', '.join(row)})"
            f" values ($1, $2, 'CNY', now(), {', '.join(row.values())})",
            job_id,
            scene.team_id,
        )


async def test_an_entry_of_one_kind_is_booked_once_a_job(scene: Scene) -> None:
    await scene.accept()

    with pytest.raises(asyncpg.UniqueViolationError, match="uq_ledger_entries_job_id_kind"):
        await scene.pool.execute(
            """
            insert into ledger_entries
                (job_id, team_id, kind, debit, credit, amount, currency, image_count, at)
            select job_id, team_id, kind, debit, credit, amount, currency, image_count, at
            from ledger_entries
            """
        )


async def test_the_months_of_events_are_cut_at_utc_midnight(pool: Pool) -> None:
    rows = await pool.fetch(
        "select pg_get_expr(relpartbound, oid) as bound from pg_class"
        " where relkind = 'r' and relname like 'job_events_y%' order by relname"
    )

    assert len(rows) >= 4
    assert all(row["bound"].count("-01 00:00:00+00") == 2 for row in rows)


async def test_a_transaction_that_idles_is_ended(database: str) -> None:
    pool = await open_pool(database, max_size=1)
    limit = await pool.fetchval("show idle_in_transaction_session_timeout")
    await pool.close()

    assert limit == "1min"
