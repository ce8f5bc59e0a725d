"""Who stands still after a storm: a job that waits calls a person, or is found."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from app.bench.storm.check import Kind
from app.bench.storm.contenders.dashgate import Dashgate
from app.bench.storm.plan import Clocks
from app.bench.storm.stillness import Standing, find_silent, list_attended
from app.kit.crypto import Vault
from app.kit.postgres.database import Pool, Sessions, connect
from tests.jobs.scene import make_scene

TOLD = Standing(
    "job-1",
    "submitting",
    "submission_unknown",
    datetime(2026, 11, 23, tzinfo=UTC),
    "no list has told whether this create made a task",
)


def test_a_job_that_calls_a_person_may_wait() -> None:
    assert list(find_silent([TOLD])) == []
    assert list_attended([TOLD]) == {"job-1"}


@pytest.mark.parametrize(
    ("fields", "missing"),
    [
        ({"code": None, "since": None, "detail": None}, "code, since, detail"),
        ({"detail": ""}, "detail"),
        ({"since": None}, "since"),
    ],
)
def test_a_job_that_waits_and_does_not_say_why_is_silent(
    fields: dict[str, Any], missing: str
) -> None:
    silent = replace(TOLD, **fields)

    [finding] = find_silent([silent, replace(TOLD, job_id="job-2")])

    assert (finding.kind, finding.subject) == (Kind.SILENT, "job-1")
    assert finding.detail == f"is submitting, and its attention has no {missing}"
    assert list_attended([silent]) == frozenset()


async def test_standing_jobs_are_read_from_the_gateways_own_tables(
    pool: Pool, sessions: Sessions, vault: Vault, database: str, tmp_path: Any
) -> None:
    scene = await make_scene(pool, sessions, vault)
    fence = await scene.submitting()
    contender = Dashgate(database, "http://upstream.invalid/api/v1", tmp_path, (), 0, Clocks())

    [before] = await contender.list_standing()
    connection = await connect(database)
    await connection.execute(
        "update job_runs set attention_code = 'submission_unknown', attention_since = now(),"
        " attention_detail = 'look' where job_id = $1",
        fence.job_id,
    )
    await connection.close()
    [after] = await contender.list_standing()

    assert (before.status, before.is_told) == ("submitting", False)
    assert (after.job_id, after.is_told) == (str(fence.job_id), True)
