"""Reads of jobs: nobody sees another team's, and every filter narrows as it says."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from app.jobs.lifecycle import Fail, Flag
from app.jobs.lists.pages import count_jobs, list_jobs
from app.jobs.lists.query import JobFilter
from app.jobs.store import find_job, find_picture, get_job
from app.kit.crypto import Vault
from app.kit.errors import NotFound
from app.kit.ids import find_lowest_id
from app.kit.postgres.database import Sessions
from app.teams.tables import Team
from tests.factories import make_key, make_team
from tests.jobs.scene import Scene

STRANGER = UUID(int=9)


async def listed(scene: Scene, **changes: Any) -> list[UUID]:
    """The ids that a list shows; its count must say as many."""
    wanted = JobFilter(**({"team_id": scene.team_id} | changes))
    page = await list_jobs(scene.pool, wanted, limit=100)
    jobs = page.jobs
    assert page.next_before is None
    assert await count_jobs(scene.pool, wanted) == len(jobs)
    return [job.id for job in jobs]


async def test_a_job_is_found_by_its_team_and_by_operators_only(scene: Scene) -> None:
    job_id = await scene.accept()

    for team_id in (scene.team_id, None):
        assert (await get_job(scene.pool, job_id, team_id=team_id)).id == job_id
    assert await find_job(scene.pool, job_id, team_id=STRANGER) is None
    with pytest.raises(NotFound) as foreign:
        await get_job(scene.pool, job_id, team_id=STRANGER)
    with pytest.raises(NotFound) as missing:
        await get_job(scene.pool, STRANGER, team_id=scene.team_id)
    assert foreign.value.message.replace(str(job_id), "") == missing.value.message.replace(
        str(STRANGER), ""
    )


async def test_a_job_tells_all_that_was_asked(scene: Scene) -> None:
    job_id = await scene.accept(
        n=2,
        negative_prompt="no text",
        size="768*768",
        seed=2_147_483_647,
        watermark=True,
        prompt_extend=False,
        metadata={"campaign": "x"},
        door="dashscope",
    )

    job = await scene.get(job_id)

    assert (job.prompt, job.negative_prompt, job.n) == ("make it blue", "no text", 2)
    assert (job.size, job.seed) == ("768*768", 2_147_483_647)
    assert (job.watermark, job.prompt_extend) == (True, False)
    assert (job.metadata, job.door, job.priority) == (
        {"campaign": "x"},
        "dashscope",
        "interactive",
    )
    assert (job.attempt, job.pictures, job.attention, job.submitted_at) == (0, (), None, None)


async def test_the_last_attempt_is_the_one_that_is_told(scene: Scene) -> None:
    fence = await scene.finalizing("https://r/a")

    job = await scene.get(fence.job_id)

    assert (job.attempt, job.status) == (1, "finalizing")
    assert job.submitted_at is not None
    assert job.task_ended_at is not None


async def test_the_newest_come_first_and_a_page_goes_on_where_the_last_ended(
    scene: Scene,
) -> None:
    made = [await scene.accept() for _ in range(5)]

    first = await list_jobs(scene.pool, JobFilter(scene.team_id), limit=2)
    assert first.next_before is not None
    rest = await listed(scene, before_id=first.next_before)

    assert [job.id for job in first.jobs] + rest == made[::-1]
    offset = await list_jobs(scene.pool, JobFilter(scene.team_id), limit=2, offset=3)
    assert [job.id for job in offset.jobs] == made[1::-1]


async def test_a_team_lists_its_own_jobs_and_an_operator_all(
    scene: Scene, sessions: Sessions
) -> None:
    other = await make_team(sessions)
    mine = await scene.accept()
    theirs = await scene.accept(team_id=other.id)

    assert await listed(scene) == [mine]
    assert await listed(scene, team_id=other.id) == [theirs]
    assert await listed(scene, team_id=None) == [theirs, mine]


async def test_each_filter_narrows_the_list(
    scene: Scene, sessions: Sessions, vault: Vault
) -> None:
    async with sessions() as session:
        team = await session.get_one(Team, scene.team_id)
    key = await make_key(sessions, vault, owner=team, name="nightly")
    yesterdays_id = str(find_lowest_id(datetime.now(UTC) - timedelta(days=1)))
    failed = await scene.submitting(id=yesterdays_id, metadata={"campaign": "x", "step": "1"})
    await scene.decide(failed.__class__(failed.job_id, 1), Fail("InvalidParameter", "no"))
    queued = await scene.accept(key_id=str(key.row.id), metadata={"campaign": "x"})
    await scene.pool.execute(
        "update jobs set created_at = created_at - interval '1 day' where id = $1", failed.job_id
    )
    yesterday = (await scene.get(queued)).created_at - timedelta(hours=12)

    narrowed: dict[str, tuple[dict[str, Any], UUID]] = {
        "final status": ({"statuses": ("failed", "expired")}, failed.job_id),
        "active status": ({"statuses": ("queued",)}, queued),
        "since": ({"created_after": yesterday}, queued),
        "until": ({"created_before": yesterday}, failed.job_id),
        "key": ({"key_name": "nightly"}, queued),
        "metadata": ({"metadata": {"step": "1"}}, failed.job_id),
        "id": ({"only_id": queued}, queued),
    }
    for name, (changes, expected) in narrowed.items():
        assert await listed(scene, **changes) == [expected], name
    assert await listed(scene, metadata={"campaign": "x"}) == [queued, failed.job_id]
    assert await listed(scene, model="another") == []
    assert await listed(scene, statuses=("running",)) == []


async def test_jobs_that_need_a_person_can_be_listed_alone(scene: Scene) -> None:
    fence = await scene.running()
    await scene.accept()
    await scene.decide(fence, Flag("task_unknown", "look"))

    assert await listed(scene, needs_attention=True) == [fence.job_id]


async def test_a_picture_is_shown_when_it_is_kept_and_its_job_has_ended(scene: Scene) -> None:
    fence = await scene.finalizing("https://r/a", None)
    keep = """
        update pictures set status = 'kept', source_url = null, store_key = 'k', sha256 = '\\xff',
            content_type = 'image/png', byte_count = 9, width = 3, height = 4 where index = 0
    """
    find: Callable[..., Any] = lambda index, team=scene.team_id: find_picture(  # noqa: E731
        scene.pool, fence.job_id, index, team_id=team
    )
    assert await find(0) is None
    await scene.pool.execute(keep)
    assert await find(0) is None

    await scene.pool.execute("delete from job_runs")
    await scene.pool.execute(
        "update jobs set status = 'succeeded', finished_at = now(), image_count = 1,"
        " amount = unit_price"
    )

    picture = await find(0)
    assert (picture.sha256, picture.byte_count, picture.width) == ("ff", 9, 3)
    assert await find(1) is None
    assert await find(2) is None
    assert await find(0, STRANGER) is None
    assert await find(0, None) == picture
