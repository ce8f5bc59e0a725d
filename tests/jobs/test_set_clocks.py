"""A clock that is set by minutes while a create is in doubt makes no job go out twice."""

from datetime import timedelta
from email.utils import format_datetime

import pytest

from app.jobs.core.deadlines import REVIEW_GRACE
from app.kit.clock import elapsed_seconds, utc_now
from tests.jobs.scene import Scene
from tests.jobs.test_absence import AheadClock
from tests.jobs.watcher import RULES, SETTLED, STALE, Watcher, watching

NOW = timedelta(0)
SECOND = timedelta(seconds=1)
MINUTES = timedelta(minutes=5)
LOOKS = 3


def tell(watcher: Watcher, ahead: timedelta) -> None:
    """An answer of the upstream's that is dated so."""
    date = format_datetime((utc_now() + ahead).replace(microsecond=0), usegmt=True)
    now = elapsed_seconds()
    watcher.desk.view.upstream.clock.note({"date": date}, now, now)


async def look(watcher: Watcher) -> None:
    for _ in range(LOOKS):
        await watcher.resolve()


class TestTheDatabases:
    """`let_pass` is its clock put forward: what is written down becomes older, nothing else."""

    async def test_put_forward(self, scene: Scene) -> None:
        """The task was made at a time that the new clock says was five minutes earlier."""
        async with watching(scene, clock=AheadClock(-MINUTES)) as watcher:
            fence = await watcher.in_doubt()
            await watcher.create()
            await watcher.let_pass(MINUTES)
            tell(watcher, -MINUTES)
            await watcher.desk.now()
            await watcher.known()

            await look(watcher)
            await watcher.let_pass(STALE)
            await watcher.known()
            await look(watcher)

            assert (await watcher.job(fence)).status != "queued"

    async def test_put_forward_a_create_is_no_older_than_it_is(self, watcher: Watcher) -> None:
        fence = await watcher.in_doubt()
        await watcher.let_pass(MINUTES)
        await watcher.known()

        await look(watcher)

        assert (await watcher.job(fence)).status == "submitting"

    async def test_put_forward_between_known_tasks(self, watcher: Watcher) -> None:
        await watcher.known()
        fence = await watcher.in_doubt()
        await watcher.let_pass(MINUTES)
        await watcher.known()

        await look(watcher)

        assert (await watcher.job(fence)).status == "submitting"

    async def test_put_forward_before_a_list_that_is_late(self, scene: Scene) -> None:
        """One answered just after it looks five minutes younger."""
        clock = AheadClock(NOW)
        async with watching(scene, clock=clock) as watcher:
            fence = await watcher.in_doubt()
            await watcher.let_pass(MINUTES)
            clock.ahead = -SETTLED
            await watcher.known()
            clock.ahead = -SETTLED + 30 * SECOND
            await watcher.create()
            await watcher.let_pass(SETTLED)
            clock.ahead = NOW
            await watcher.upstream.arm({"on": "list", "do": "stale", "seconds": 60})

            await look(watcher)

            assert (await watcher.job(fence)).status == "submitting"

    async def test_put_back_before_a_list_that_is_late(self, scene: Scene) -> None:
        """One made before it looks younger than it."""
        clock = AheadClock(-390 * SECOND)
        async with watching(scene, clock=clock) as watcher:
            await watcher.known()
            await watcher.let_pass(9 * SECOND - MINUTES)
            fence = await watcher.in_doubt()
            clock.ahead = -380 * SECOND
            await watcher.create()
            await watcher.let_pass(381 * SECOND)
            clock.ahead = NOW
            await watcher.upstream.arm({"on": "list", "do": "stale", "seconds": 385})

            await look(watcher)

            assert (await watcher.job(fence)).status == "submitting"


class TestTheUpstreams:
    @pytest.mark.parametrize("minutes", [-5, 5])
    async def test_set_right(self, scene: Scene, minutes: int) -> None:
        clock = AheadClock(timedelta(minutes=minutes))
        async with watching(scene, clock=clock) as watcher:
            fence = await watcher.in_doubt()
            await watcher.create()
            clock.ahead = NOW
            tell(watcher, NOW)
            await watcher.let_pass(SETTLED)
            await watcher.known()

            await look(watcher)

            assert (await watcher.job(fence)).status != "queued"

    async def test_set_right_hours_before_a_person_looks(self, scene: Scene) -> None:
        """Nobody remembers the old time, nor need anybody."""
        age = timedelta(hours=2, minutes=6)
        clock = AheadClock(MINUTES - age)
        async with watching(scene, clock=clock) as watcher:
            fence = await watcher.in_doubt()
            await watcher.create()
            clock.ahead = NOW
            tell(watcher, NOW)
            await watcher.let_pass(age)
            await watcher.tick()
            await watcher.known()

            for _ in range(LOOKS):
                await watcher.review()
                await watcher.resolve()

            assert (await watcher.job(fence)).status != "queued"

    async def test_steered_by_minutes_within_an_hour(self, scene: Scene) -> None:
        age = timedelta(minutes=58)
        clock = AheadClock(MINUTES - age)
        async with watching(scene, clock=clock) as watcher:
            fence = await watcher.in_doubt()
            await watcher.create()
            for second in range(300, -1, -10):
                tell(watcher, second * SECOND)
            clock.ahead = NOW
            await watcher.let_pass(age)
            await watcher.known()

            await look(watcher)

            assert (await watcher.job(fence)).status != "queued"

    @pytest.mark.parametrize("behind", [90 * SECOND, MINUTES])
    async def test_two_servers_of_which_one_is_behind_and_is_not_heard(
        self, scene: Scene, behind: timedelta
    ) -> None:
        clock = AheadClock(-behind - SETTLED)
        async with watching(scene, clock=clock) as watcher:
            fence = await watcher.in_doubt()
            await watcher.create()
            clock.ahead = NOW
            tell(watcher, NOW)
            await watcher.let_pass(SETTLED + STALE)
            await watcher.known()

            await look(watcher)

            assert (await watcher.job(fence)).status != "queued"

    async def test_two_servers_an_hour_apart_keep_no_doubt_open(self, watcher: Watcher) -> None:
        """The list's own times agree with each other, and what is known proves it."""
        fence = await watcher.in_doubt()
        await watcher.let_pass(RULES.review_after + REVIEW_GRACE + SECOND)
        await watcher.known()
        for _ in range(LOOKS * 2):
            tell(watcher, NOW)
            tell(watcher, timedelta(hours=1))
            await watcher.resolve()

        assert (await watcher.job(fence)).status == "queued"


class TestOneAnswerThatIsHoursOff:
    async def test_no_strangers_task_is_taken_for_ours(self, scene: Scene) -> None:
        clock = AheadClock(-timedelta(hours=3))
        async with watching(scene, clock=clock) as watcher:
            await watcher.ended()
            clock.ahead = NOW
            await watcher.desk.now()
            tell(watcher, -timedelta(hours=8))
            tell(watcher, NOW)
            fence = await watcher.in_doubt()
            own = await watcher.ended()

            await look(watcher)

            assert await watcher.task_of(fence) == own

    async def test_no_list_is_asked_for_that_is_refused(self, scene: Scene) -> None:
        clock = AheadClock(-timedelta(hours=18))
        async with watching(scene, clock=clock) as watcher:
            await watcher.known()
            await watcher.let_pass(timedelta(hours=18))
            clock.ahead = NOW
            fence = await watcher.in_doubt()
            own = await watcher.create()
            await watcher.desk.now()
            tell(watcher, timedelta(hours=8))
            tell(watcher, NOW)

            await look(watcher)

            assert await watcher.task_of(fence) == own
