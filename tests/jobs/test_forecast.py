"""What a queued job is told: its position, what holds it, and an ETA that keeps its word."""

import heapq
import math
import random
from dataclasses import replace
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.accounts.run_times import RunTimes
from app.jobs.acceptance import HEAD_START_SECONDS
from app.jobs.lifecycle import Requeue
from app.jobs.links import Links
from app.jobs.queue.board import Board
from app.jobs.queue.forecast import (
    PRIOR,
    RANK_LIMIT,
    Eta,
    Hold,
    Line,
    Room,
    Waiting,
    find_hold,
    find_position,
    forecast,
    pool_run_times,
)
from app.jobs.queue.standing import Place, find_place, foresee_place
from app.jobs.view import to_job_view, to_public
from app.kit.clock import utc_now
from app.kit.crypto import Vault
from app.kit.postgres.database import Sessions
from tests.factories import MODEL, make_team
from tests.jobs.scene import Scene, add_account

MINUTE = RunTimes(count=10_000, log_mean=math.log(60), log_variance=0.25)
LINE = Line(weight=1.0, virtual_time=0.0, job_count=0, images_per_job=1.0)
WAITING = Waiting(LINE, delay_seconds=0.0, team_max_running=None, team_out_count=0)
ROOM = Room(
    max_running=5,
    slot_count=7,
    out_count=0,
    submits_per_second=5.0,
    is_between_turns=False,
    paused_seconds=0.0,
    run_times=MINUTE,
)


def place_by_playing(own: Line, others: list[Line], clock: float) -> int:
    """The position as the queue itself would make it: one start tag after the other."""
    lines = [own, *others]
    times = [line.virtual_time for line in lines]
    left = [own.job_count + 1, *(line.job_count for line in others)]
    for position in range(100_000):
        waiting = [index for index, count in enumerate(left) if count]
        turn = min(waiting, key=lambda index: (max(times[index], clock), times[index]))
        clock = max(times[turn], clock)
        times[turn] = clock + lines[turn].images_per_job / lines[turn].weight
        left[turn] -= 1
        if not left[0]:
            return position
    raise AssertionError("it never came to its turn")


lines = st.builds(
    Line,
    weight=st.sampled_from([0.5, 1.0, 2.0, 5.0]),
    virtual_time=st.floats(0, 20),
    job_count=st.integers(0, 60),
    images_per_job=st.sampled_from([1.0, 2.0, 4.0]),
)


@given(own=lines, others=st.lists(lines, max_size=6), clock=st.floats(0, 20))
def test_the_position_is_what_the_queue_would_make_it_but_for_a_job_of_each_team(
    own: Line, others: list[Line], clock: float
) -> None:
    played = place_by_playing(own, others, clock)

    assert abs(find_position(own, others, clock) - played) <= len(others)


@given(own=lines, clock=st.floats(0, 20))
def test_the_position_of_a_team_alone_is_exact(own: Line, clock: float) -> None:
    assert find_position(own, [], clock) == own.job_count


@pytest.mark.parametrize("count", [199, 200, 250])
def test_no_team_is_taken_to_have_more_than_it_has(count: int) -> None:
    own = replace(LINE, job_count=3_000)

    assert find_position(own, [replace(LINE, job_count=count)], 0.0) == 3_000 + count


def test_a_paused_teams_position_counts_its_own_line() -> None:
    own = replace(LINE, job_count=3, weight=0.0)

    assert find_position(own, [replace(LINE, job_count=9)], 0.0) == 3


FULL = replace(ROOM, out_count=7)
PAUSED = replace(ROOM, paused_seconds=9.0)
BETWEEN = replace(ROOM, is_between_turns=True)


@pytest.mark.parametrize(
    ("waiting", "rooms", "hold"),
    [
        (WAITING, [ROOM], Hold.TURN),
        (WAITING, [FULL, ROOM, PAUSED], Hold.TURN),
        (WAITING, [replace(ROOM, out_count=5)], Hold.TURN),
        (WAITING, [BETWEEN, FULL], Hold.ACCOUNT_RATE),
        (WAITING, [FULL, PAUSED], Hold.ACCOUNT_RUNNING),
        (WAITING, [PAUSED], Hold.ACCOUNT_PAUSED),
        (WAITING, [], Hold.NO_ACCOUNT),
        (replace(WAITING, delay_seconds=3.0), [FULL], Hold.RETRY_DELAY),
        (replace(WAITING, team_max_running=2, team_out_count=2), [ROOM], Hold.TEAM_RUNNING),
        (replace(WAITING, team_max_running=2, team_out_count=1), [ROOM], Hold.TURN),
        (replace(WAITING, line=replace(LINE, weight=0.0)), [], Hold.TEAM_PAUSED),
    ],
)
def test_what_holds_a_job_is_what_must_pass_first(
    waiting: Waiting, rooms: list[Room], hold: Hold
) -> None:
    assert find_hold(waiting, rooms) is hold


def end_by_playing(chance: random.Random, room: Room, position: int) -> float:
    """Seconds until a job's end on an account that has long been busy."""

    def run() -> float:
        return chance.lognormvariate(room.run_times.log_mean, room.run_times.log_variance**0.5)

    begun_at = chance.uniform(20, 40) * room.run_times.mean_seconds()
    running = [run() for _ in range(min(room.out_count, room.max_running))]
    heapq.heapify(running)
    while running and running[0] < begun_at:
        heapq.heappush(running, heapq.heappop(running) + run())
    free = room.max_running - len(running)
    for _ in range(max(room.out_count - room.max_running, 0) + position):
        starts_at = begun_at if free > 0 else heapq.heappop(running)
        free -= 1
        heapq.heappush(running, starts_at + run())
    starts_at = begun_at if free > 0 else heapq.heappop(running)
    return starts_at + run() - begun_at


@pytest.mark.parametrize("log_variance", [0.12, 0.25, 0.64])
@pytest.mark.parametrize(
    ("max_running", "out_count", "position"),
    [(5, 0, 0), (5, 5, 0), (5, 7, 3), (5, 5, 40), (1, 1, 5), (40, 40, 100)],
)
def test_half_of_the_jobs_end_within_p50_and_nine_of_ten_within_p90(
    max_running: int, out_count: int, position: int, log_variance: float
) -> None:
    room = replace(
        ROOM,
        max_running=max_running,
        out_count=out_count,
        submits_per_second=1e9,
        run_times=replace(MINUTE, log_variance=log_variance),
    )
    eta = forecast(WAITING, [room], position)
    assert eta is not None
    chance = random.Random(7)

    ends = [end_by_playing(chance, room, position) for _ in range(600)]

    assert 0.42 < sum(end <= eta.p50 for end in ends) / 600 < 0.62
    assert 0.86 < sum(end <= eta.p90 for end in ends) / 600 < 0.97


def test_before_anything_is_learned_a_task_is_thought_to_take_a_minute() -> None:
    assert pool_run_times([RunTimes()]) == PRIOR
    unlearned = replace(ROOM, run_times=RunTimes())

    assert forecast(WAITING, [unlearned], 0) == Eta(60, 114)


def test_what_was_learned_outweighs_what_was_thought_and_accounts_pool_theirs() -> None:
    quick = RunTimes(200, math.log(10), 0.04)
    slow = RunTimes(200, math.log(40), 0.04)

    assert pool_run_times([quick]).quantile_seconds(0.5) == pytest.approx(10, rel=0.05)
    pooled = pool_run_times([quick, slow])
    assert pooled.quantile_seconds(0.5) == pytest.approx(20, rel=0.05)
    assert pooled.log_variance > 0.4


def get_p50(waiting: Waiting, rooms: list[Room], position: int) -> int:
    eta = forecast(waiting, rooms, position)
    assert eta is not None
    return eta.p50


def test_more_ahead_and_less_room_make_it_later() -> None:
    full = replace(ROOM, out_count=5)
    alone = get_p50(WAITING, [full], 0)

    assert alone < get_p50(WAITING, [full], 10) < get_p50(WAITING, [full], 20)
    assert get_p50(WAITING, [full, full], 20) < get_p50(WAITING, [full], 20)


def test_a_delay_a_pause_a_rate_and_a_teams_own_limit_each_push_it_back() -> None:
    now = get_p50(WAITING, [ROOM], 0)

    assert get_p50(replace(WAITING, delay_seconds=30.0), [ROOM], 0) == now + 30
    assert get_p50(WAITING, [replace(ROOM, paused_seconds=9.0)], 0) == now + 9
    assert get_p50(WAITING, [replace(ROOM, paused_seconds=9.0), ROOM], 0) == now
    assert get_p50(WAITING, [replace(ROOM, submits_per_second=0.01)], 4) >= now + 300
    limited = replace(WAITING, team_max_running=1, team_out_count=1)
    assert get_p50(limited, [ROOM], 0) > now + 30


def test_no_eta_is_told_where_nothing_is_known() -> None:
    assert forecast(WAITING, [], 0) is None
    assert forecast(replace(WAITING, line=replace(LINE, weight=0.0)), [ROOM], 0) is None
    deep = replace(WAITING, line=replace(LINE, job_count=RANK_LIMIT))
    assert forecast(deep, [ROOM], RANK_LIMIT) is None


async def see(scene: Scene, job_id: UUID) -> Place:
    place = await find_place(Board(scene.pool), job_id)
    assert place is not None
    return place


async def list_positions(scene: Scene, *job_ids: UUID) -> list[int | None]:
    places = [await find_place(Board(scene.pool), job_id) for job_id in job_ids]
    return [None if place is None else place.position for place in places]


async def test_a_jobs_position_counts_those_of_its_team_that_go_before_it(scene: Scene) -> None:
    batch, first, second = [
        await scene.accept(priority=name) for name in ("batch", "interactive", "interactive")
    ]
    assert await list_positions(scene, batch, first, second) == [2, 0, 1]

    await scene.claim()

    assert await list_positions(scene, batch, first, second) == [1, None, 0]


async def test_a_position_counts_of_other_teams_what_their_shares_let_go_before(
    scene: Scene, sessions: Sessions
) -> None:
    heavy = await make_team(sessions, weight=Decimal(2))
    paused = await make_team(sessions, weight=Decimal(0))
    mine = [await scene.accept() for _ in range(3)]
    await scene.store(*(scene.ask(team_id=heavy.id) for _ in range(50)))
    await scene.store(*(scene.ask(team_id=paused.id) for _ in range(50)))

    assert await list_positions(scene, *mine) == [0, 1 + 2, 2 + 4]

    await scene.pool.execute("update job_runs set n = 2 where team_id = $1", heavy.id)
    assert await list_positions(scene, *mine) == [0, 1 + 1, 2 + 2]
    await scene.pool.execute(
        "update team_queues set virtual_time = 9 where team_id = $1", heavy.id
    )
    assert await list_positions(scene, *mine) == [0, 1, 2]


async def test_a_job_learns_what_holds_it(scene: Scene, sessions: Sessions, vault: Vault) -> None:
    job_id = await scene.accept()
    assert (await see(scene, job_id)).held_by is Hold.TURN

    async def held_after(statement: str) -> Hold:
        await scene.pool.execute(statement)
        return (await see(scene, job_id)).held_by

    assert await held_after(
        "update account_paces set next_submit_at = now() + interval '9 s'"
    ) is (Hold.ACCOUNT_RATE)
    pause = "update account_paces set paused_until = now() + interval '9 s', pause_code = 'x'"
    assert await held_after(pause) is Hold.ACCOUNT_PAUSED
    await scene.pool.execute("update account_paces set paused_until = null, pause_code = null")
    assert await held_after("update account_paces set is_suspended = true") is Hold.ACCOUNT_PAUSED
    assert await held_after("update accounts set state = 'draining'") is Hold.NO_ACCOUNT
    await add_account(scene, sessions, vault)
    assert await held_after("update teams set timezone = 'UTC'") is Hold.TURN
    delay = "update job_runs set due_at = now() + interval '9 s'"
    assert await held_after(delay) is Hold.RETRY_DELAY
    assert await held_after("update teams set weight = 0") is Hold.TEAM_PAUSED


async def test_a_job_learns_which_limit_is_reached(scene: Scene) -> None:
    await scene.running("one")
    await scene.running("two")
    job_id = await scene.accept()

    await scene.pool.execute("update accounts set max_running = 2")
    assert (await see(scene, job_id)).held_by is Hold.ACCOUNT_RUNNING
    await scene.pool.execute("update account_paces set priming = 1")
    assert (await see(scene, job_id)).held_by is Hold.TURN
    await scene.pool.execute("update teams set max_running = 2")
    assert (await see(scene, job_id)).held_by is Hold.TEAM_RUNNING


async def test_a_lane_with_a_create_on_its_way_counts_as_between_turns(scene: Scene) -> None:
    fence = await scene.submitting()
    job_id = await scene.accept()

    assert (await see(scene, job_id)).held_by is Hold.ACCOUNT_RATE

    await scene.decide(fence, Requeue("absent", "not_sent", "for the test"))
    await scene.pool.execute("update account_paces set next_submit_at = now()")
    assert (await see(scene, job_id)).held_by is Hold.TURN


async def test_the_eta_follows_the_run_times_that_were_learned(scene: Scene) -> None:
    job_id = await scene.accept()
    assert (await see(scene, job_id)).eta == Eta(60, 114)

    await scene.pool.execute(
        "update account_paces set service_count = 200, service_log_mean = ln(10),"
        " service_log_variance = 0.01"
    )

    eta = (await see(scene, job_id)).eta
    assert eta is not None
    assert 10 <= eta.p50 <= 12


async def test_the_place_of_a_job_to_come_is_the_one_it_then_has(
    scene: Scene, sessions: Sessions
) -> None:
    other = await make_team(sessions)
    await scene.store(*(scene.ask(team_id=other.id) for _ in range(9)))
    for name in ("batch", "interactive", "batch"):
        await scene.accept(priority=name)

    for name, head_start_seconds in (("batch", 0), ("interactive", HEAD_START_SECONDS)):
        foreseen = await foresee_place(
            Board(scene.pool), scene.team_id, MODEL, head_start_seconds=head_start_seconds
        )
        assert foreseen == await see(scene, await scene.accept(priority=name))


async def test_the_first_job_of_all_goes_at_once(scene: Scene) -> None:
    place = await foresee_place(Board(scene.pool), scene.team_id, MODEL, head_start_seconds=0)

    assert (place.position, place.held_by) == (0, Hold.TURN)


async def test_only_a_queued_job_has_a_place(scene: Scene) -> None:
    fence = await scene.running()

    assert await find_place(Board(scene.pool), fence.job_id) is None
    assert await find_place(Board(scene.pool), UUID(int=9)) is None


async def test_the_view_of_a_queued_job_tells_its_place(scene: Scene, vault: Vault) -> None:
    job = await scene.get(await scene.accept())
    links = Links(vault, "https://gateway.example", ttl_seconds=60)

    def show(place: Place | None) -> object:
        return to_public(to_job_view(job, links, now=utc_now(), place=place))["queue"]

    assert show(Place(14, Hold.ACCOUNT_RUNNING, Eta(95, 160))) == {
        "position": 14,
        "held_by": "account_running",
        "eta_seconds": {"p50": 95, "p90": 160},
    }
    assert show(Place(3, Hold.TEAM_PAUSED, None)) == {
        "position": 3,
        "held_by": "team_paused",
        "eta_seconds": None,
    }
    assert show(None) is None
