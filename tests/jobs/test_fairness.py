"""The fair queue: shares by weight and images, limits that act at once, and no job forgotten."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest

from app.cli.operators.teams import view_team
from app.jobs.acceptance import HEAD_START_SECONDS
from app.jobs.engine.claim import Pause, claim_submission
from app.jobs.lifecycle import Fence, Requeue
from app.jobs.queue.clocks import mark_waiting, mend_queues, refund
from app.jobs.queue.statement import CONTENDED_SECONDS
from app.kit.crypto import Vault
from app.kit.postgres.database import Sessions, UniqueViolation, transaction
from tests.factories import MODEL, make_team
from tests.jobs.scene import Scene, add_account
from tests.waiting import wait_until

PLENTY = 1_000
AT_ONCE = 1e6
STOP_AT_GATE = """
create function passes_gate() returns bool language plpgsql as $$
begin
    if current_setting('test.gate', true) = 'closed' then
        perform pg_advisory_xact_lock(7);
    end if;
    return true;
end $$;
alter table accounts rename to all_accounts;
create view accounts as select * from all_accounts where passes_gate();
"""
SOMEBODY_WAITS = """
select true from pg_locks join pg_database on pg_database.oid = database
where locktype = 'advisory' and not granted and datname = current_database()
"""


async def make_teams(sessions: Sessions, *weights: float) -> list[UUID]:
    return [(await make_team(sessions, weight=Decimal(str(weight)))).id for weight in weights]


async def fill(scene: Scene, team_id: UUID, count: int, **changes: Any) -> None:
    """A backlog in one commit; every job of it is due."""
    await scene.store(*(scene.ask(team_id=team_id, **changes) for _ in range(count)))


async def serve(scene: Scene, count: int) -> list[UUID]:
    """Whose jobs go out next, when each is over as soon as it is out."""
    served = []
    for _ in range(count):
        submission = await scene.claim(slots=PLENTY, submit_rate=AT_ONCE)
        served.append(await drop_run(scene, submission.fence))
    return served


async def drop_run(scene: Scene, fence: Fence) -> UUID:
    """The job is over; returns its team."""
    team_id: UUID = await scene.pool.fetchval(
        "delete from job_runs where job_id = $1 returning team_id", fence.job_id
    )
    return team_id


async def hold(scene: Scene, *, slots: int = PLENTY) -> UUID | None:
    """The team whose job goes out next and stays out, its lane free; None when none may go."""
    submission, _ = await scene.try_claim(slots=slots, submit_rate=AT_ONCE)
    if submission is None:
        return None
    team_id: UUID = await scene.pool.fetchval(
        "update job_runs set status = 'running', upstream_task_id = job_id::text"
        " where job_id = $1 returning team_id",
        submission.fence.job_id,
    )
    return team_id


async def set_team(scene: Scene, team_id: UUID, setting: str, value: float | None) -> None:
    await scene.pool.execute(f"update teams set {setting} = $2 where id = $1", team_id, value)


async def find_marks(scene: Scene) -> dict[UUID, bool]:
    rows = await scene.pool.fetch("select team_id, is_waiting from team_queues")
    return {row["team_id"]: row["is_waiting"] for row in rows}


def longest_gap(served: Sequence[UUID], team_id: UUID) -> int:
    places = [place for place, served_team in enumerate(served) if served_team == team_id]
    return max(later - earlier for earlier, later in pairwise(places))


def count_images(served: Iterable[UUID], images: dict[UUID, int]) -> Counter[UUID]:
    counted: Counter[UUID] = Counter()
    for team_id in served:
        counted[team_id] += images[team_id]
    return counted


async def test_teams_share_by_weight_whatever_their_backlogs(
    scene: Scene, sessions: Sessions
) -> None:
    weights = (1.0, 2.0, 5.0, 0.5)
    teams = await make_teams(sessions, *weights)
    for team_id, count in zip(teams, (400, 110, 260, 30), strict=True):
        await fill(scene, team_id, count)

    served = Counter(await serve(scene, 425))

    for team_id, weight in zip(teams, weights, strict=True):
        assert served[team_id] == pytest.approx(425 * weight / sum(weights), rel=0.02, abs=1)


async def test_a_job_costs_its_team_as_many_images_as_it_makes(
    scene: Scene, sessions: Sessions
) -> None:
    big, small, mixed = await make_teams(sessions, 1, 1, 2)
    await fill(scene, big, 60, n=4)
    await fill(scene, small, 200)
    await fill(scene, mixed, 200, n=2)

    served = count_images(await serve(scene, 175), {big: 4, small: 1, mixed: 2})

    share = sum(served.values()) / 4
    assert served[big] == pytest.approx(share, abs=4)
    assert served[small] == pytest.approx(share, abs=4)
    assert served[mixed] == pytest.approx(2 * share, abs=6)


async def test_a_team_that_was_idle_has_saved_up_nothing(scene: Scene, sessions: Sessions) -> None:
    busy, idle = await make_teams(sessions, 1, 1)
    await fill(scene, busy, 100)
    await fill(scene, idle, 1)
    await serve(scene, 41)
    await fill(scene, idle, 100)

    served = Counter(await serve(scene, 20))

    assert abs(served[busy] - served[idle]) <= 1


async def test_a_flood_delays_anothers_first_job_by_no_more_than_a_turn(
    scene: Scene, sessions: Sessions
) -> None:
    flood, *others = await make_teams(sessions, *(1 for _ in range(8)))
    await fill(scene, flood, 300)
    await serve(scene, 50)
    for team_id in others:
        await fill(scene, team_id, 5)

    served = await serve(scene, 24)

    assert set(served[:8]) >= set(others)
    assert all(longest_gap(served, team_id) <= 8 + 1 for team_id in (flood, *others))


async def test_teams_that_stand_equal_go_in_the_same_order_each_round(
    scene: Scene, sessions: Sessions
) -> None:
    teams = await make_teams(sessions, *(1 for _ in range(6)))
    for team_id in teams:
        await fill(scene, team_id, 4)

    served: list[UUID] = []
    for _ in range(4):
        # Where a row lies in the table changes with every write.
        for team_id in reversed(served[-6:]):
            await scene.pool.execute(
                "update team_queues set model = model where team_id = $1", team_id
            )
        served += await serve(scene, 6)

    assert all(longest_gap(served, team_id) == 6 for team_id in teams)


async def test_a_heavier_team_is_served_evenly_and_not_in_bursts(
    scene: Scene, sessions: Sessions
) -> None:
    heavy, light = await make_teams(sessions, 4, 1)
    await fill(scene, heavy, 60)
    await fill(scene, light, 60)

    served = await serve(scene, 50)

    assert longest_gap(served, light) <= 6


async def test_a_paused_team_waits_while_others_go_and_goes_on_where_it_was(
    scene: Scene, sessions: Sessions
) -> None:
    paused, other = await make_teams(sessions, 1, 1)
    await fill(scene, paused, 20)
    await fill(scene, other, 20)
    await set_team(scene, paused, "weight", 0)

    assert set(await serve(scene, 6)) == {other}

    await set_team(scene, paused, "weight", 1)
    assert Counter(await serve(scene, 6)) == {paused: 3, other: 3}
    await set_team(scene, other, "weight", 0)
    assert set(await serve(scene, 3)) == {paused}


async def test_a_paused_team_is_shown_as_paused(sessions: Sessions) -> None:
    paused = await make_team(sessions, weight=Decimal(0))
    active = await make_team(sessions)

    assert [view_team(team)["state"] for team in (paused, active)] == ["paused", "active"]


async def test_when_all_teams_are_paused_nothing_goes(scene: Scene) -> None:
    await fill(scene, scene.team_id, 2)
    await set_team(scene, scene.team_id, "weight", 0)

    assert await scene.try_claim() == (None, Pause(1.0, has_room=True))


async def test_a_new_weight_counts_from_the_next_claim_on(
    scene: Scene, sessions: Sessions
) -> None:
    changed, steady = await make_teams(sessions, 1, 1)
    await fill(scene, changed, 100)
    await fill(scene, steady, 100)
    await serve(scene, 10)

    await set_team(scene, changed, "weight", 4)

    served = Counter(await serve(scene, 50))
    assert served[changed] == pytest.approx(40, abs=1)


async def test_a_charge_at_a_tiny_weight_does_not_outlive_it(
    scene: Scene, sessions: Sessions
) -> None:
    tiny, other = await make_teams(sessions, 0.001, 1)
    await fill(scene, tiny, 50)
    await fill(scene, other, 50)
    await serve(scene, 4)
    await set_team(scene, tiny, "weight", 1)

    await mend_queues(scene.pool)

    served = Counter(await serve(scene, 20))
    assert served[tiny] >= 7


async def test_no_more_of_a_teams_jobs_are_out_than_it_may_have(
    scene: Scene, sessions: Sessions
) -> None:
    capped, other = await make_teams(sessions, 5, 1)
    await fill(scene, capped, 20)
    await fill(scene, other, 3)
    await set_team(scene, capped, "max_running", 2)

    held = [await hold(scene) for _ in range(6)]

    assert Counter(held) == {capped: 2, other: 3, None: 1}
    await set_team(scene, capped, "max_running", 3)
    assert [await hold(scene) for _ in range(2)] == [capped, None]
    await set_team(scene, capped, "max_running", None)
    assert await hold(scene) == capped


async def test_a_team_at_its_limit_saves_nothing_up(scene: Scene, sessions: Sessions) -> None:
    capped, other = await make_teams(sessions, 1, 1)
    await fill(scene, capped, 40)
    await fill(scene, other, 80)
    await set_team(scene, capped, "max_running", 1)
    while await hold(scene) != capped:
        pass
    await serve(scene, 30)

    await set_team(scene, capped, "max_running", None)

    served = Counter(await serve(scene, 20))
    assert abs(served[capped] - served[other]) <= 1


async def test_a_team_whose_jobs_are_all_delayed_is_passed_over(
    scene: Scene, sessions: Sessions
) -> None:
    delayed, other = await make_teams(sessions, 1, 1)
    await fill(scene, delayed, 30)
    await fill(scene, other, 3)
    await scene.pool.execute(
        "update job_runs set due_at = now() + interval '1 min' where team_id = $1", delayed
    )

    assert await serve(scene, 3) == [other] * 3
    assert (await scene.try_claim())[0] is None


async def test_interactive_jobs_go_before_the_batch_jobs_of_four_hours_and_no_longer(
    scene: Scene,
) -> None:
    old, recent = [await scene.accept(priority="batch") for _ in range(2)]
    await scene.pool.execute(
        "update job_runs set rank_at = rank_at - $2::interval where job_id = $1",
        old,
        timedelta(seconds=HEAD_START_SECONDS + 1),
    )
    interactive = await scene.accept(priority="interactive")

    order = []
    for _ in range(3):
        fence = (await scene.claim(submit_rate=AT_ONCE)).fence
        order.append(fence.job_id)
        await drop_run(scene, fence)

    assert order == [old, interactive, recent]


async def test_priority_changes_the_order_within_a_team_and_no_share(
    scene: Scene, sessions: Sessions
) -> None:
    loud, quiet = await make_teams(sessions, 1, 1)
    await fill(scene, quiet, 20, priority="batch")
    await fill(scene, loud, 20, priority="interactive")

    assert Counter(await serve(scene, 20)) == {loud: 10, quiet: 10}


async def test_a_job_that_comes_back_without_fault_costs_nothing(
    scene: Scene, sessions: Sessions
) -> None:
    unlucky, other = await make_teams(sessions, 1, 1)
    await fill(scene, unlucky, 30)
    await fill(scene, other, 30)
    served: Counter[UUID] = Counter()
    for _ in range(40):
        fence = (await scene.claim(submit_rate=AT_ONCE)).fence
        run = await scene.run_of(fence.job_id)
        assert run is not None
        if run["team_id"] == unlucky and run["attempt"] == 1:
            await scene.decide(fence, Requeue("absent", "not_sent", "for the test"))
        else:
            served[await drop_run(scene, fence)] += 1

    assert abs(served[unlucky] - served[other]) <= 1


async def test_a_refund_gives_back_what_the_claim_has_charged(scene: Scene) -> None:
    await set_team(scene, scene.team_id, "weight", 2)
    await fill(scene, scene.team_id, 2, n=3)
    await serve(scene, 1)
    charged = await scene.pool.fetchval("select virtual_time from team_queues")

    async with transaction(scene.pool) as connection:
        await refund(connection, MODEL, scene.team_id, 3)

    assert charged == 1.5
    assert await scene.pool.fetchval("select virtual_time from team_queues") == 0
    await set_team(scene, scene.team_id, "weight", 0)
    async with transaction(scene.pool) as connection:
        await refund(connection, MODEL, scene.team_id, 3)
    assert await scene.pool.fetchval("select virtual_time from team_queues") == 0


class TestMarks:
    async def test_a_first_job_marks_its_team_and_the_last_one_leaves_that_to_the_sweep(
        self, scene: Scene
    ) -> None:
        await scene.accept()
        assert await find_marks(scene) == {scene.team_id: True}
        await serve(scene, 1)
        assert await find_marks(scene) == {scene.team_id: True}

        await mend_queues(scene.pool)

        assert await find_marks(scene) == {scene.team_id: False}
        await scene.accept()
        assert await find_marks(scene) == {scene.team_id: True}

    async def test_a_lost_mark_costs_a_sweep_and_no_job(
        self, scene: Scene, sessions: Sessions
    ) -> None:
        teams = await make_teams(sessions, 1, 1, 1)
        for team_id in teams:
            await fill(scene, team_id, 2)
        await scene.pool.execute("update team_queues set is_waiting = false")
        await scene.pool.execute("delete from team_queues where team_id = $1", teams[0])
        assert (await scene.try_claim())[0] is None

        await mend_queues(scene.pool)

        assert Counter(await serve(scene, 6)) == dict.fromkeys(teams, 2)

    async def test_a_mark_that_stands_is_set_again_without_a_lock(self, scene: Scene) -> None:
        await scene.accept()

        async with transaction(scene.pool) as other:
            await other.execute("select from team_queues for update")
            async with transaction(scene.pool) as connection:
                await connection.execute("set local lock_timeout = '1s'")
                await mark_waiting(connection, MODEL, scene.team_id)
            await scene.accept()

    async def test_who_mends_waits_for_no_claim_and_takes_nothing_of_it_back(
        self, scene: Scene
    ) -> None:
        await fill(scene, scene.team_id, 2)

        async with transaction(scene.pool) as other:
            await other.execute("update team_queues set virtual_time = virtual_time + 7")
            await asyncio.wait_for(mend_queues(scene.pool), 10)

        assert await scene.pool.fetchval("select virtual_time from team_queues") == 7


async def test_a_claim_that_began_before_another_ended_does_not_judge_by_what_it_saw(
    scene: Scene, sessions: Sessions, vault: Vault
) -> None:
    """It is stopped between its snapshot and its look at the clock."""
    account_id, lane_id = await add_account(scene, sessions, vault)
    await set_team(scene, scene.team_id, "max_running", 1)
    await fill(scene, scene.team_id, 2)
    await scene.pool.execute(STOP_AT_GATE)

    async def claim_late() -> tuple[object, Pause]:
        async with transaction(scene.pool) as connection:
            await connection.execute("set local test.gate = 'closed'")
            return await claim_submission(
                connection, scene.turn(account_id=account_id, lane_id=lane_id)
            )

    async with transaction(scene.pool) as gate:
        await gate.execute("select pg_advisory_xact_lock(7)")
        late = asyncio.create_task(claim_late())
        await wait_until(lambda: scene.pool.fetchval(SOMEBODY_WAITS))
        assert await hold(scene) == scene.team_id

    assert await late == (None, Pause(CONTENDED_SECONDS, has_room=True))
    assert await scene.pool.fetchval("select count(*) from job_runs where slot is not null") == 1


async def test_claimers_of_several_accounts_pass_no_teams_limit_and_keep_the_shares(
    scene: Scene, sessions: Sessions, vault: Vault
) -> None:
    capped, heavy, light = await make_teams(sessions, 9, 2, 1)
    for team_id in (capped, heavy, light):
        await fill(scene, team_id, 90)
    await set_team(scene, capped, "max_running", 1)
    accounts = [(scene.account_id, scene.lane_id)]
    for _ in range(5):
        accounts.append(await add_account(scene, sessions, vault))
    served: Counter[UUID] = Counter()
    highest = 0

    async def claim_all_the_time(account_id: UUID, lane_id: UUID) -> None:
        nonlocal highest
        while sum(served.values()) < 120:
            with suppress(UniqueViolation):
                submission, _ = await scene.try_claim(
                    account_id=account_id, lane_id=lane_id, submit_rate=AT_ONCE
                )
                if submission is not None:
                    out_count = await scene.pool.fetchval(
                        "select count(*) from job_runs where team_id = $1 and slot is not null",
                        capped,
                    )
                    highest = max(highest, out_count)
                    served[await drop_run(scene, submission.fence)] += 1

    await asyncio.gather(*(claim_all_the_time(*each) for each in accounts * 2))

    assert highest == 1
    assert served[heavy] == pytest.approx(2 * served[light], abs=4)
