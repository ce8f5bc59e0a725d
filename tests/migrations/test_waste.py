"""Waste that was booked before its tasks were written down, and by processes that still do not."""

from app.billing.waste import book_waste, find_waste_drift, take_back_waste
from app.kit.crypto import Vault
from app.kit.postgres.database import (
    Pool,
    make_engine,
    make_sessions,
    open_pool,
    transaction,
)
from app.kit.postgres.schema import migrate
from tests.databases import empty_database
from tests.jobs.scene import Scene, make_scene

WITHOUT_TASK = """
insert into ledger_entries
  (job_id, team_id, kind, debit, credit, amount, currency, image_count, at)
select id, team_id, 'waste', 'waste', 'company', unit_price, currency, 1, now()
from jobs where id = $1
"""


async def count_images(pool: Pool) -> int:
    count: int = await pool.fetchval("select sum(image_count) from daily_waste")
    return count


async def test_days_stay_those_of_the_ledger_on_the_way_there_and_back(
    server_url: str, vault: Vault
) -> None:
    async with empty_database(server_url) as url:
        engine = make_engine(url)
        await migrate(engine, "0008")
        pool = await open_pool(url, max_size=3)
        scene: Scene = await make_scene(pool, make_sessions(engine), vault)
        job_id = await scene.accept()
        await pool.execute(WITHOUT_TASK, job_id)

        await migrate(engine)
        await pool.execute(WITHOUT_TASK, job_id)
        async with transaction(pool) as connection:
            await book_waste(connection, job_id, "task-1", billed=3)
            await take_back_waste(connection, "task-1")
            await book_waste(connection, job_id, "task-2", billed=1)
            assert await find_waste_drift(connection) == []
        assert await count_images(pool) == 3

        await migrate(engine, "0008")
        await pool.execute(WITHOUT_TASK, job_id)
        assert await count_images(pool) == 4
        await migrate(engine)
        async with transaction(pool) as connection:
            assert await find_waste_drift(connection) == []
        await pool.close()
        await engine.dispose()
