"""Indexes: what is looked up by job finds it without reading the past."""

import json
from typing import Any

import pytest

from app.jobs.explain import load
from app.kit.postgres.database import Pool, transaction
from tests.jobs.scene import Scene

# Teams, keys, accounts and lanes are marked and never deleted: nobody looks for what refers to
# them. Of the ledger each half has an index of its own.
REFERENCES_WITHOUT_INDEX = """
select conrelid::regclass::text || '.' || attname as reference
from pg_constraint
join pg_attribute on attrelid = conrelid and attnum = conkey[1]
where contype = 'f' and confrelid = 'jobs'::regclass and not exists (
    select from pg_index
    where indrelid = conrelid and indkey[0] = conkey[1] and indpred is null
)
order by 1
"""


async def test_every_reference_to_a_job_has_an_index(pool: Pool) -> None:
    rows = await pool.fetch(REFERENCES_WITHOUT_INDEX)

    assert [row["reference"] for row in rows] == ["ledger_entries.job_id"]


@pytest.mark.parametrize(
    "name", ["_JOB", "_EVENTS", "_ATTEMPTS", "_PICTURES", "_ENTRIES", "_ORPHANS"]
)
async def test_a_jobs_story_reads_its_own_rows(scene: Scene, name: str) -> None:
    job_id = await scene.accept()
    async with transaction(scene.pool) as connection:
        await connection.execute("set local enable_seqscan = off")
        explained = await connection.fetchval(
            f"explain (format json) {getattr(load, name)}", job_id
        )

    assert "Seq Scan" not in list_nodes(json.loads(explained)[0]["Plan"]), explained


def list_nodes(plan: dict[str, Any]) -> list[str]:
    return [
        plan["Node Type"],
        *(name for each in plan.get("Plans", ()) for name in list_nodes(each)),
    ]
