"""Jobs that are over at the head of a team's queue: they hold up neither claims nor their team."""

import json
from typing import Any
from uuid import uuid4

import pytest

from app.jobs.events import JOB_CHANGED
from app.jobs.queue.statement import CLAIM_SUBMISSION, HEAD_COUNT
from app.kit.postgres.database import Sessions, transaction
from tests.factories import MODEL, make_team
from tests.jobs.scene import Scene

EXPIRED = 3_000


class Undone(Exception):
    """Ends a transaction that was only to be looked at."""


@pytest.fixture
async def crowded(scene: Scene) -> Scene:
    """The team's first jobs are all over."""
    for _ in range(3):
        await scene.store(*(scene.ask() for _ in range(EXPIRED // 3)))
    await scene.pool.execute("update job_runs set expires_at = now() - interval '1 s'")
    await scene.pool.execute("vacuum analyze job_runs")
    return scene


async def test_the_live_jobs_behind_them_go_first_accepted_first(crowded: Scene) -> None:
    live = [await crowded.accept() for _ in range(3)]

    claimed = []
    for _ in live:
        submission = await crowded.claim()
        claimed.append(submission.fence.job_id)
        await crowded.pool.execute("update job_runs set lane_id = null, slot = null,"
                                   " attention_code = 'x', attention_since = now()"
                                   " where status = 'submitting'")  # fmt: skip

    assert claimed == live


async def test_delayed_jobs_behind_them_wait(crowded: Scene) -> None:
    job_id = await crowded.accept()
    await crowded.pool.execute(
        "update job_runs set due_at = now() + interval '1 min' where job_id = $1", job_id
    )

    assert (await crowded.try_claim())[0] is None


async def test_other_teams_go_on(crowded: Scene, sessions: Sessions) -> None:
    other = await make_team(sessions)
    theirs = await crowded.accept(team_id=other.id)

    assert (await crowded.claim()).fence.job_id == theirs


async def test_a_claim_looks_at_a_bounded_number_of_them(crowded: Scene) -> None:
    await crowded.accept()
    rows = await count_rows(crowded)

    assert rows < 4 * HEAD_COUNT


async def test_a_claim_looks_at_a_few_of_those_that_may_go(scene: Scene) -> None:
    await scene.store(*(scene.ask() for _ in range(1_000)))
    await scene.pool.execute("vacuum analyze job_runs")

    assert await count_rows(scene) < 60


async def count_rows(scene: Scene) -> float:
    """The rows of job_runs that a claim touches."""
    turn = scene.turn()
    values = (turn.account_id, turn.lane_id, MODEL, turn.slots, 0.001, 25.0, uuid4(), JOB_CHANGED)
    plan: dict[str, Any] = {}
    try:
        async with transaction(scene.pool) as connection:
            text = await connection.fetchval(
                f"explain (analyze, format json) {CLAIM_SUBMISSION}", *values
            )
            plan = json.loads(text)[0]["Plan"]
            raise Undone
    except Undone:
        return _sum_rows(plan)


def _sum_rows(node: dict[str, Any]) -> float:
    rows = 0.0
    if node.get("Relation Name") == "job_runs" and "Scan" in node["Node Type"]:
        thrown = sum(value for name, value in node.items() if name.startswith("Rows Removed"))
        rows = (node["Actual Rows"] + thrown) * node["Actual Loops"]
    return rows + sum(_sum_rows(each) for each in node.get("Plans", ()))
