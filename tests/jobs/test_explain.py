"""A job's story from its rows: what it met, why it waited, what it cost; and nothing secret."""

from datetime import timedelta
from uuid import UUID

import pytest

from app.jobs.cancel import cancel_job
from app.jobs.explain.load import load_facts
from app.jobs.explain.story import Story, tell_story
from app.jobs.lifecycle import Doubt, Orphan, Requeue, Review, Run
from app.jobs.moves.orphans import settle_orphan
from app.kit.errors import NotFound
from app.kit.ids import make_uuid7
from app.kit.postgres.database import Pool, transaction
from tests.emulator.client import QUICK
from tests.gateway import running_gateway
from tests.jobs.scene import Scene, ended_with
from tests.jobs.stories import SECRET_URL
from tests.journeys.traveller import Traveller


def texts_of(story: Story) -> str:
    return "\n".join(line.text for line in story.timeline)


async def test_a_job_that_nobody_has_is_not_found(pool: Pool) -> None:
    with pytest.raises(NotFound):
        await load_facts(pool, make_uuid7())


async def test_nothing_secret_is_in_the_story(scene: Scene) -> None:
    fence = await scene.finalizing(SECRET_URL, None, prompt="the secret dress")
    await scene.decide(fence, Review("picture_not_fetched", f"picture 0: {SECRET_URL}"))

    story = str(tell_story(await load_facts(scene.pool, fence.job_id)))

    assert "picture 0: https://dashscope-result.oss.example/..." in story
    assert "Signature" not in story
    assert "dress" not in story


async def test_a_wait_is_explained_by_what_others_did_meanwhile(scene: Scene) -> None:
    await scene.pool.execute("update teams set max_running = 1")
    await scene.running("t-1")
    waiting = await scene.accept()
    await scene.pool.execute("update accounts set max_running = 1")
    await set_back(scene, waiting, seconds=60)

    story = tell_story(await load_facts(scene.pool, waiting))

    assert story.timeline[-1].text == (
        "now: still in the queue, the next: its team has as many jobs upstream as it may"
    )
    texts = [reason.text for reason in story.timeline[-1].because]
    assert texts[0].startswith("team team-")
    assert texts[0].endswith("had its limit of 1 upstream")
    assert texts[1].startswith("60 s because all 1 places of account account-")
    assert len(texts) == 2


async def test_a_create_that_made_no_task_took_no_place_for_longer(scene: Scene) -> None:
    refused = await scene.submitting()
    await scene.decide(refused, Requeue("refused", "Throttling", "slower", http_status=429))
    await cancel_job(scene.pool, refused.job_id, team_id=None)
    waiting = await scene.accept()
    await scene.pool.execute("update accounts set max_running = 1")
    await set_back(scene, waiting, seconds=60)

    story = tell_story(await load_facts(scene.pool, waiting))

    (reason,) = story.timeline[-1].because
    assert reason.text.startswith("60 s in which no job was sent")


async def test_a_suspension_long_before_the_wait_is_found(scene: Scene) -> None:
    waiting = await scene.accept()
    await set_back(scene, waiting, seconds=60)
    await scene.pool.execute(
        """
        insert into account_events (at, account_id, model, type, detail) values
        (now() - interval '3 days', $1, null, 'account.suspended', '{"code": "Arrearage"}')
        """,
        scene.account_id,
    )

    story = tell_story(await load_facts(scene.pool, waiting))

    (reason,) = story.timeline[-1].because
    assert reason.text.endswith("suspended (Arrearage)")
    assert reason.since == story.created_at


async def test_waste_and_tasks_too_many_are_told(scene: Scene) -> None:
    fence = await scene.running("t-1")
    await scene.decide(fence, Orphan("t-2", "a second task of the same create", False))
    async with transaction(scene.pool) as connection:
        await settle_orphan(connection, "t-2", "wasted", image_count=1)

    story = tell_story(await load_facts(scene.pool, fence.job_id))

    assert (story.money.wasted, story.money.wasted_image_count) == ("0.20", 1)
    assert [(one.task_id, one.state) for one in story.orphans] == [("t-2", "wasted")]
    assert "task t-2 is one too many: a second task of the same create" in texts_of(story)


async def test_a_job_in_review_says_what_is_known_and_what_to_do(scene: Scene) -> None:
    fence = await scene.submitting()
    await scene.decide(fence, Doubt("no answer", 502))
    await scene.decide(fence, Review("submission_unknown", "perhaps t-7"))

    story = tell_story(await load_facts(scene.pool, fence.job_id))

    assert story.attention is not None
    assert story.attention.detail == "perhaps t-7"
    assert "its lane and slot are given back" in texts_of(story)
    assert str(fence.job_id) in story.next_steps[-1]


async def test_a_given_back_task_is_told_between_two_attempts(scene: Scene) -> None:
    fence = await scene.running("t-1")
    await scene.decide(
        fence, Requeue("accepted", "InternalError", "oh", delay_seconds=0.0, is_failure=True)
    )
    again = (await scene.claim()).fence
    await scene.decide(again, Run("t-2", "r-2"))
    await scene.decide(again, ended_with("https://r.example/a.png"))

    story = tell_story(await load_facts(scene.pool, fence.job_id))

    assert [one.number for one in story.attempts] == [1, 2]
    assert "attempt 1 came to nothing: its task failed, InternalError (oh)" in texts_of(story)
    assert "task t-2 succeeded, 1 of 1 pictures made" in texts_of(story)


async def set_back(scene: Scene, job_id: UUID, *, seconds: int) -> None:
    """As if everything had begun that much earlier."""
    back = timedelta(seconds=seconds)
    await scene.pool.execute(
        "update attempts set intended_at = intended_at - $1::interval,"
        " settled_at = settled_at - $1::interval",
        back,
    )
    await scene.pool.execute(
        "update jobs set created_at = created_at - $2::interval where id = $1", job_id, back
    )
    await scene.pool.execute(
        "update job_events set at = at - $2::interval where job_id = $1", job_id, back
    )


async def test_a_job_that_met_everything_tells_it_all(database: str, pool: Pool) -> None:
    async with running_gateway(
        database, emulator=QUICK, settings={"DASHGATE_SUBMIT_TIMEOUT_SECONDS": "1"}
    ) as gateway:
        await gateway.set_faults(
            {"on": "create", "do": "status", "status": 429, "times": 1, "retry_after_seconds": 2},
            {"on": "create", "do": "reset", "when": "after", "every": 2, "times": 1},
            {"on": "task", "do": "fail", "times": 1},
        )
        traveller = Traveller(gateway, gateway.seat)
        done = await traveller.wait_for(await traveller.send(n=1))

    story = tell_story(await load_facts(pool, UUID(done["id"])))

    assert [one.outcome for one in story.attempts] == ["refused", "accepted", "adopted"]
    throttled, failed, adopted = story.attempts
    told = texts_of(story)
    assert "attempt 1 was refused: HTTP 429, Throttling.RateQuota" in told
    assert f"upstream request {throttled.request_id}" in told
    reasons = [reason.text for line in story.timeline for reason in line.because]
    assert "account default throttled (Throttling.RateQuota)" in reasons
    assert "its own delay after the try in vain" in reasons
    assert f"its create was answered with task {failed.task_id}" in told
    assert "attempt 2 came to nothing: its task failed, InternalError" in told
    assert "attempt 3: the answer of its create was lost" in told
    assert f"task {adopted.task_id} was found in the upstream's list and adopted" in told
    assert "at work, its end seen" in told
    assert story.pictures[0].status == "kept"
    assert (story.money.captured, story.money.wasted) == ("0.20", "0.00")
    assert done["prompt"] not in str(story)
