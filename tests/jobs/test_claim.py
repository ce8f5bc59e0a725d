"""Claims: which job goes out next, and that no limit is ever passed, by however many claimers."""

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from app.jobs.acceptance import accept_batch
from app.jobs.cancel import cancel_queued_job
from app.jobs.engine.claim import PACE_MARGIN, Pause, claim_submission
from app.jobs.engine.submit import Submission
from app.jobs.lifecycle import Fail, Fence, Requeue, Run
from app.jobs.queue.statement import CONTENDED_SECONDS, GIVE_WAY_SECONDS, SWEEP_SECONDS
from app.kit.crypto import Vault
from app.kit.postgres.database import Sessions, UniqueViolation, transaction
from tests.jobs.scene import Scene, add_account

YIELD = Pause(GIVE_WAY_SECONDS, has_room=True)
DONE = Requeue("absent", "not_sent", "for the test")


async def free_lane(scene: Scene, submission: Submission) -> None:
    """The create was answered: the slot stays taken, the lane is free."""
    task_id = str(submission.fence.job_id)
    await scene.decide(submission.fence, Run(task_id, "r"))


async def add_lane(scene: Scene, *, key_id: str | None = "second-key") -> UUID:
    """Another lane, whose key has a name in the upstream's list, beside the first without."""
    lane_id: UUID = await scene.pool.fetchval(
        """
        insert into lanes (id, account_id, api_key_sealed, api_key_hint, upstream_key_id)
        select gen_random_uuid(), account_id, api_key_sealed, api_key_hint, $2 from lanes
        where id = $1 returning id
        """,
        scene.lane_id,
        key_id,
    )
    return lane_id


async def test_a_claim_says_all_that_the_create_needs(scene: Scene) -> None:
    job_id = await scene.accept(
        n=2, size="1280*1280", seed=7, negative_prompt="no text", watermark=True
    )

    claimed = await scene.claim()

    assert claimed.fence == Fence(job_id, 1)
    assert (claimed.prompt, claimed.negative_prompt) == ("make it blue", "no text")
    assert claimed.images == ({"url": "https://img.example/a.png"},)
    assert claimed.parameters == {
        "n": 2,
        "size": "1280*1280",
        "seed": 7,
        "watermark": True,
        "prompt_extend": True,
    }


async def test_what_was_not_asked_for_is_not_sent(scene: Scene) -> None:
    await scene.accept()

    assert (await scene.claim()).parameters.keys() == {"n", "watermark", "prompt_extend"}


async def test_the_intent_stands_in_the_database_before_anything_is_sent(scene: Scene) -> None:
    await scene.accept()

    claimed = await scene.claim(lease_seconds=25.0)

    job_id = claimed.fence.job_id
    run = await scene.run_of(job_id)
    assert run is not None
    assert (run["status"], run["attempt"], run["slot"]) == ("submitting", 1, 0)
    assert (run["account_id"], run["lane_id"]) == (scene.account_id, scene.lane_id)
    assert run["lease_expires_at"] - claimed.intended_at == timedelta(seconds=25)
    (attempt,) = await scene.attempts_of(job_id)
    assert (attempt["number"], attempt["outcome"]) == (1, "intended")
    assert attempt["intended_at"] == claimed.intended_at
    assert await scene.story_of(job_id) == ["job.queued", "job.submitting"]


async def test_the_interactive_go_before_the_rest_and_the_older_before_the_younger(
    scene: Scene,
) -> None:
    asked = [await scene.accept(priority=name) for name in ("batch", "interactive") * 2]

    claimed = []
    for _ in asked:
        submission = await scene.claim()
        claimed.append(submission.fence.job_id)
        await free_lane(scene, submission)

    assert claimed == [asked[1], asked[3], asked[0], asked[2]]


async def test_a_lane_sends_one_create_at_a_time(scene: Scene) -> None:
    await scene.accept()
    await scene.accept()
    first = await scene.claim()

    assert (await scene.try_claim())[0] is None

    await free_lane(scene, first)
    assert (await scene.try_claim())[0] is not None


async def test_a_lane_stays_closed_while_its_create_is_in_doubt(scene: Scene) -> None:
    await scene.submitting()
    await scene.accept()
    await scene.pool.execute(
        "update job_runs set lease_token = null, lease_expires_at = null"
        " where status = 'submitting'"
    )

    assert (await scene.try_claim())[0] is None


async def test_two_lanes_of_an_account_send_side_by_side_within_its_slots(scene: Scene) -> None:
    other_lane = await add_lane(scene)
    for _ in range(3):
        await scene.accept()

    first, _ = await scene.try_claim(slots=2)
    second, _ = await scene.try_claim(slots=2, lane_id=other_lane)
    assert first is not None
    assert second is not None
    await free_lane(scene, first)
    third, _ = await scene.try_claim(slots=2)

    assert third is None


async def test_no_more_jobs_run_than_the_account_has_slots(scene: Scene) -> None:
    for _ in range(4):
        await scene.accept()
    for _ in range(3):
        await free_lane(scene, await scene.claim(slots=3))

    assert (await scene.try_claim(slots=3))[0] is None
    assert (await scene.try_claim(slots=4))[0] is not None


async def test_fewer_slots_than_are_taken_let_nothing_out(scene: Scene) -> None:
    """Lowered while the upper slots are taken: the free lower ones must not be used."""
    fences = []
    for _ in range(4):
        await scene.accept()
    for _ in range(4):
        submission = await scene.claim(slots=4)
        fences.append(submission.fence)
        await free_lane(scene, submission)
    await scene.pool.execute("update job_runs set slot = slot + 10")
    await scene.accept()

    assert (await scene.try_claim(slots=2))[0] is None


async def test_a_finalizing_job_holds_no_slot(scene: Scene) -> None:
    await scene.finalizing("https://result.example/a.png")
    await scene.accept()

    assert (await scene.try_claim(slots=1))[0] is not None


async def test_submits_are_spaced_by_the_accounts_rate_and_a_margin(scene: Scene) -> None:
    await scene.accept()
    await scene.accept()
    await free_lane(scene, await scene.claim(submit_rate=0.01))

    claimed, pause = await scene.try_claim(submit_rate=0.01)

    assert claimed is None
    assert 100 < pause.seconds <= 100 * PACE_MARGIN


async def test_a_paused_account_claims_nothing_until_its_pause_is_over(scene: Scene) -> None:
    await scene.accept()
    await scene.pool.execute(
        "update account_paces set paused_until = now() + interval '9 s', pause_code = 'Throttling'"
    )

    claimed, pause = await scene.try_claim()
    assert claimed is None
    assert 8 < pause.seconds <= 9

    await scene.pool.execute("update account_paces set paused_until = now()")
    await scene.claim()
    assert await scene.pool.fetchval("select pause_code from account_paces") == "Throttling"


@pytest.mark.parametrize("state", ["draining", "removed"])
async def test_an_account_that_is_not_active_claims_nothing(scene: Scene, state: str) -> None:
    await scene.accept()
    await scene.pool.execute("update accounts set state = $1", state)

    assert (await scene.try_claim())[0] is None


async def test_jobs_that_are_over_or_not_yet_due_are_passed_over(scene: Scene) -> None:
    await scene.accept(ttl_seconds=0)
    delayed = await scene.accept()
    await scene.pool.execute(
        "update job_runs set due_at = now() + interval '1 min' where job_id = $1", delayed
    )
    ready = await scene.accept()

    assert (await scene.claim()).fence.job_id == ready


async def test_an_empty_queue_costs_the_account_nothing(scene: Scene) -> None:
    assert await scene.try_claim(submit_rate=0.001) == (None, Pause(1.0, has_room=True))

    await scene.accept()
    assert (await scene.try_claim(submit_rate=0.001))[0] is not None


async def test_a_job_of_another_model_is_not_claimed(scene: Scene) -> None:
    await scene.accept()

    assert (await scene.try_claim(model="another"))[0] is None


async def test_each_try_has_a_number_of_its_own(scene: Scene) -> None:
    job_id = await scene.accept()
    for number in (1, 2, 3):
        submission = await scene.claim()
        assert submission.fence == Fence(job_id, number)
        await scene.decide(submission.fence, DONE)

    assert [attempt["outcome"] for attempt in await scene.attempts_of(job_id)] == ["absent"] * 3


async def test_many_claimers_never_take_one_job_twice_nor_pass_a_limit(scene: Scene) -> None:
    lanes = [scene.lane_id, *[await add_lane(scene) for _ in range(5)]]
    for _ in range(12):
        await scene.accept()
    taken: list[UUID] = []

    async def claim_all_the_time(lane_id: UUID) -> None:
        for _ in range(40):
            with suppress(UniqueViolation):
                submission, _ = await scene.try_claim(lane_id=lane_id, slots=8, submit_rate=1e6)
                if submission is not None:
                    taken.append(submission.fence.job_id)
                    await free_lane(scene, submission)
            await asyncio.sleep(0)

    await asyncio.gather(*(claim_all_the_time(lane) for lane in lanes * 2))

    assert len(taken) == len(set(taken)) == 8
    slots = await scene.pool.fetch("select slot from job_runs where slot is not null")
    assert sorted(row["slot"] for row in slots) == list(range(8))


async def test_claimers_in_the_same_instant_are_let_in_one_after_the_other(scene: Scene) -> None:
    for _ in range(2):
        await scene.accept()
    turn = scene.turn(submit_rate=1.0)

    async with transaction(scene.pool) as one:
        first, _ = await claim_submission(one, turn)
        async with transaction(scene.pool) as other:
            second = await claim_submission(other, turn)

    assert first is not None
    assert second == (None, Pause(CONTENDED_SECONDS, has_room=False))


async def test_primed_slots_are_taken_after_those_that_run_and_no_more_of_them(
    scene: Scene,
) -> None:
    await scene.pool.execute("update account_paces set priming = 2")
    for _ in range(5):
        await scene.accept()

    for _ in range(4):
        await free_lane(scene, await scene.claim(slots=2))

    assert (await scene.try_claim(slots=2))[0] is None
    slots = await scene.pool.fetch("select slot from job_runs where slot is not null")
    assert sorted(row["slot"] for row in slots) == [0, 1, 2, 3]


async def test_a_throttled_account_submits_at_its_share_of_the_rate(scene: Scene) -> None:
    await scene.pool.execute("update account_paces set pace_share = 0.25")
    await scene.accept()
    await scene.accept()
    await free_lane(scene, await scene.claim(submit_rate=1.0))

    claimed, pause = await scene.try_claim(submit_rate=1.0)

    assert claimed is None
    assert 3.9 < pause.seconds <= 4 * PACE_MARGIN


async def test_a_suspended_account_sends_one_job_and_waits_whether_it_is_taken(
    scene: Scene,
) -> None:
    other_lane = await add_lane(scene)
    for _ in range(3):
        await scene.accept()
    await scene.pool.execute("update account_paces set is_suspended = true")

    probe = await scene.claim()
    assert (await scene.try_claim(lane_id=other_lane))[0] is None

    await free_lane(scene, probe)
    assert (await scene.try_claim(lane_id=other_lane))[0] is not None


async def test_the_claim_tells_its_story(scene: Scene) -> None:
    job_id = await scene.accept()
    await scene.pool.execute("update job_runs set due_at = due_at - interval '7 s'")

    await scene.claim()

    detail = await scene.pool.fetchval(
        "select detail from job_events where job_id = $1 and type = 'job.submitting'", job_id
    )
    account = await scene.pool.fetchval("select name from accounts")
    hint = await scene.pool.fetchval("select api_key_hint from lanes")
    assert 7 <= detail.pop("waited_seconds") < 27
    assert detail == {"attempt": 1, "account": account, "lane": hint, "slot": 0}


async def test_the_database_itself_refuses_a_slot_or_a_lane_twice(scene: Scene) -> None:
    await scene.submitting()
    await scene.accept()
    take = """
        update job_runs set status = 'submitting', account_id = $1, lane_id = $2, slot = $3
        where status = 'queued'
    """
    other_lane = await add_lane(scene)

    with pytest.raises(asyncpg.UniqueViolationError, match="uq_job_runs_slot"):
        await scene.pool.execute(take, scene.account_id, other_lane, 0)
    with pytest.raises(asyncpg.UniqueViolationError, match="uq_job_runs_lane_id_submitting"):
        await scene.pool.execute(take, scene.account_id, scene.lane_id, 1)


async def test_a_cancel_and_a_claim_at_once_never_both_have_the_job(scene: Scene) -> None:
    canceled_count = claimed_count = 0
    for _ in range(20):
        job_id = await scene.accept()
        canceled, (claimed, _) = await asyncio.gather(
            cancel_queued_job(scene.pool, job_id, team_id=scene.team_id), scene.try_claim()
        )
        assert not (canceled and claimed)
        canceled_count += canceled
        if claimed is not None:
            claimed_count += 1
            await scene.decide(claimed.fence, Fail("InvalidParameter", "for the test"))

    assert canceled_count + claimed_count == 20
    await scene.expect_books_in_order()


async def test_a_claim_waits_for_no_cancel_and_takes_the_next_job(scene: Scene) -> None:
    canceling = await scene.accept()
    waiting = await scene.accept()

    async with transaction(scene.pool) as connection:
        await connection.fetchrow("select from job_runs where job_id = $1 for update", canceling)
        claimed = await scene.claim()

    assert claimed.fence.job_id == waiting


class TestGivingWay:
    """Two accounts of one model; what is asked is always the first one's claim."""

    @pytest.fixture
    async def other(self, scene: Scene, sessions: Sessions, vault: Vault) -> tuple[UUID, UUID]:
        return await add_account(scene, sessions, vault)

    async def claim_fresh(self, scene: Scene, **changes: Any) -> tuple[Submission | None, Pause]:
        """A claim in the very instant in which its job was accepted, which is taken back."""
        with suppress(_TakenBack):
            async with transaction(scene.pool) as connection:
                await accept_batch(connection, [scene.ask()])
                claimed = await claim_submission(connection, scene.turn(**changes))
                raise _TakenBack
        return claimed

    async def occupy(self, scene: Scene, count: int, **changes: Any) -> None:
        """Jobs that run on an account."""
        for _ in range(count):
            await scene.accept()
            await scene.pool.execute("update job_runs set due_at = due_at - interval '1 s'")
            await free_lane(scene, await scene.claim(submit_rate=1e6, **changes))

    async def test_a_fresh_job_is_left_to_the_account_with_fewer_running(
        self, scene: Scene, other: tuple[UUID, UUID]
    ) -> None:
        account_id, lane_id = other
        await self.occupy(scene, 1)

        assert await self.claim_fresh(scene) == (None, YIELD)

        theirs, _ = await self.claim_fresh(scene, account_id=account_id, lane_id=lane_id)
        assert theirs is not None

    async def test_with_nothing_to_leave_there_is_no_hurry(
        self, scene: Scene, other: tuple[UUID, UUID]
    ) -> None:
        await self.occupy(scene, 1)

        assert await scene.try_claim() == (None, Pause(SWEEP_SECONDS, has_room=True))

    async def test_equals_do_not_wait_for_each_other(
        self, scene: Scene, other: tuple[UUID, UUID]
    ) -> None:
        account_id, lane_id = other

        for turn in ({}, {"account_id": account_id, "lane_id": lane_id}):
            assert (await self.claim_fresh(scene, **turn))[0] is not None

    async def test_a_heavier_account_takes_more_before_it_gives_way(
        self, scene: Scene, other: tuple[UUID, UUID]
    ) -> None:
        account_id, lane_id = other
        await scene.pool.execute("update accounts set weight = 3 where id = $1", scene.account_id)
        await self.occupy(scene, 1, account_id=account_id, lane_id=lane_id)

        for _ in range(4):
            assert (await self.claim_fresh(scene))[0] is not None
            await self.occupy(scene, 1)

        assert (await self.claim_fresh(scene))[0] is None

    async def test_who_could_only_prime_leaves_the_job_to_who_could_run_it(
        self, scene: Scene, other: tuple[UUID, UUID]
    ) -> None:
        account_id, lane_id = other
        await scene.pool.execute("update account_paces set priming = 1")
        await scene.pool.execute(
            "update accounts set weight = 100 where id = $1", scene.account_id
        )
        await self.occupy(scene, 1)
        await self.occupy(scene, 3, account_id=account_id, lane_id=lane_id)

        assert (await self.claim_fresh(scene, slots=2))[0] is not None
        assert await self.claim_fresh(scene, slots=1) == (None, YIELD)

    async def test_nobody_waits_long_for_an_account_that_does_not_come(
        self, scene: Scene, other: tuple[UUID, UUID]
    ) -> None:
        await self.occupy(scene, 2)
        await scene.accept()
        await scene.pool.execute(
            "update job_runs set due_at = now() - $1::interval where status = 'queued'",
            timedelta(seconds=GIVE_WAY_SECONDS),
        )

        assert (await scene.try_claim())[0] is not None

    @pytest.mark.parametrize(
        "trouble",
        [
            "update account_paces set paused_until = now() + interval '1 s', pause_code = 'x'",
            "update account_paces set is_suspended = true",
            "update account_paces set next_submit_at = now() + interval '1 s'",
            "update account_paces set model = 'another'",
            "update accounts set state = 'draining'",
            "update accounts set max_running = 1",
            "update lanes set removed_at = now()",
        ],
    )
    async def test_way_is_given_only_to_an_account_that_can_take_the_job(
        self, scene: Scene, other: tuple[UUID, UUID], trouble: str
    ) -> None:
        account_id, lane_id = other
        await self.occupy(scene, 1, account_id=account_id, lane_id=lane_id)
        await self.occupy(scene, 2)
        assert (await self.claim_fresh(scene))[0] is None

        column = "id" if "accounts set" in trouble else "account_id"
        await scene.pool.execute(f"{trouble} where {column} = $1", account_id)

        assert (await self.claim_fresh(scene))[0] is not None

    async def test_way_is_not_given_to_an_account_whose_lanes_are_all_busy(
        self, scene: Scene, other: tuple[UUID, UUID]
    ) -> None:
        account_id, lane_id = other
        await self.occupy(scene, 2)
        await scene.accept()
        await scene.claim(account_id=account_id, lane_id=lane_id)

        assert (await self.claim_fresh(scene))[0] is not None


class _TakenBack(Exception):
    """Rolls a transaction back."""
