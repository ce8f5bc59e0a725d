"""Pace, breaker and priming: what each piece of news does, and what none of them ever does."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.accounts.evidence.suspicion import Source
from app.accounts.health import (
    FIRST_HOLD,
    FIRST_ROOM_HOLD,
    LONGEST_HOLD,
    LONGEST_PROBE_SECONDS,
    LOWEST_SHARE,
    REGAINED_SHARE,
    TROUBLES_LIMIT,
    Limits,
    PaceState,
    after,
    find_priming_goal,
)
from app.accounts.news import (
    Barred,
    Crowded,
    News,
    Reach,
    Taken,
    Throttled,
    Troubled,
    Unforeseen,
)
from app.accounts.run_times import RunTimes, learn
from tests.accounts.learning import learn_lognormal

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
LIMITS = Limits(max_running=5)
HEALTHY = PaceState()
RATE = Throttled("Throttling.RateQuota")
CROWD = Crowded("Throttling.Concurrency")
ARREARS = Barred("Arrearage", Reach.ACCOUNT)
NOT_SENT = Troubled("not_sent")
SECOND = timedelta(seconds=1)


def hear(state: PaceState, *many: News, now: datetime = NOW, dice: float = 0.0) -> PaceState:
    """Each piece of news once the pause before it is over."""
    for news in many:
        now = max(now, state.paused_until or now)
        state = after(state, news, limits=LIMITS, now=now, dice=dice)
    return state


def pauses(state: PaceState, many: Sequence[News]) -> list[float]:
    now, found = NOW, []
    for news in many:
        state = after(state, news, limits=LIMITS, now=now, dice=0.0)
        assert state.paused_until is not None
        found.append((state.paused_until - now).total_seconds())
        now = state.paused_until
    return found


class TestPace:
    def test_each_throttling_halves_the_pace_and_doubles_the_pause(self) -> None:
        assert [hear(HEALTHY, *[RATE] * times).pace_share for times in range(1, 7)] == [
            *(1 / 2, 1 / 4, 1 / 8, 1 / 16),
            *(LOWEST_SHARE, LOWEST_SHARE),
        ]
        assert pauses(HEALTHY, [RATE] * 6) == [2, 4, 8, 16, 32, 32]

    def test_each_create_taken_regains_a_step(self) -> None:
        slowed = hear(HEALTHY, RATE, RATE)

        state = hear(slowed, Taken(1))

        assert state.pace_share == slowed.pace_share + REGAINED_SHARE
        assert (state.paused_until, state.pause_code) == (None, None)
        assert hear(slowed, *[Taken(1)] * 16).pace_share == 1.0

    @pytest.mark.parametrize(
        ("asked", "seconds"),
        [(None, 2), (0.0, 2), (1.0, 2), (17.0, 17), (1_849_295.0, 60), (float("inf"), 60)],
    )
    def test_what_the_upstream_asks_for_counts_up_to_a_minute(
        self, asked: float | None, seconds: float
    ) -> None:
        assert pauses(HEALTHY, [Throttled("Throttling", asked)]) == [seconds]

    def test_refusals_of_creates_sent_before_a_pause_count_once(self) -> None:
        once = hear(HEALTHY, RATE)

        again = after(once, RATE, limits=LIMITS, now=NOW + SECOND, dice=0.0)

        assert again == once

    def test_a_create_sent_before_a_pause_and_taken_in_it_does_not_end_it(self) -> None:
        paused = hear(HEALTHY, RATE)

        state = after(paused, Taken(1), limits=LIMITS, now=NOW + SECOND, dice=0.0)

        assert (state.paused_until, state.pace_share) == (paused.paused_until, 0.5)

    def test_pauses_are_spread(self) -> None:
        (soon, late) = (hear(HEALTHY, RATE, dice=dice).paused_until for dice in (0.0, 1.0))

        assert soon is not None
        assert late is not None
        assert late - soon == timedelta(seconds=0.4)


class TestBreaker:
    def test_an_account_at_fault_is_suspended_at_once_and_probed_ever_more_seldom(self) -> None:
        state = hear(HEALTHY, ARREARS)

        assert (state.is_suspended, state.pause_code) == (True, "Arrearage")
        assert pauses(HEALTHY, [ARREARS] * 6) == [60, 120, 240, 480, 600, 600]

    def test_trouble_suspends_when_it_comes_in_a_row(self) -> None:
        almost = hear(HEALTHY, *[NOT_SENT] * (TROUBLES_LIMIT - 1))

        assert not almost.is_suspended
        assert hear(almost, NOT_SENT).is_suspended
        assert not hear(almost, Taken(1), NOT_SENT).is_suspended
        assert pauses(HEALTHY, [NOT_SENT] * 12) == [*[0.5] * 4, 2, 4, 8, 16, 32, 60, 60, 60]

    @pytest.mark.parametrize("news", [ARREARS, NOT_SENT, RATE, CROWD])
    def test_a_probe_that_is_refused_leaves_it_suspended_for_what_it_was(self, news: News) -> None:
        suspended = hear(HEALTHY, ARREARS)

        state = hear(suspended, news)

        assert (state.is_suspended, state.pause_code) == (True, "Arrearage")
        assert state.paused_until is not None
        assert suspended.paused_until is not None
        assert state.paused_until > suspended.paused_until

    def test_a_probe_that_is_taken_closes_it(self) -> None:
        state = hear(HEALTHY, ARREARS, ARREARS, Taken(1))

        assert state == HEALTHY

    def test_fault_is_heard_during_a_pause_for_less(self) -> None:
        paused = hear(HEALTHY, RATE)

        state = after(paused, ARREARS, limits=LIMITS, now=NOW + SECOND, dice=0.0)

        assert (state.is_suspended, state.pause_code) == (True, "Arrearage")

    def test_another_fault_begins_anew(self) -> None:
        state = hear(HEALTHY, ARREARS, ARREARS, Barred("InvalidApiKey", Reach.KEY))

        assert (state.strikes, state.pause_code) == (1, "InvalidApiKey")

    def test_a_word_that_nobody_knows_changes_nothing(self) -> None:
        assert hear(HEALTHY, Unforeseen("Brand.NewCode")) == HEALTHY


class TestPriming:
    @pytest.mark.parametrize(
        ("median", "deviation", "max_running", "goal"),
        [(45, 0.5, 5, 2), (10, 0.4, 5, 3), (60, 0.5, 1, 1), (0.05, 0.1, 5, 5)],
    )
    def test_it_grows_to_what_keeps_the_slots_busy(
        self, median: float, deviation: float, max_running: int, goal: int
    ) -> None:
        times = learn_lognormal(median, deviation, 100)

        assert find_priming_goal(times, Limits(max_running)) == goal

    def test_it_is_raised_by_one_when_a_create_is_taken_with_all_in_use(self) -> None:
        state = replace(HEALTHY, run_times=learn_lognormal(45, 0.5, 100))
        primed = []
        for in_flight in (4, 5, 5, 6, 7, 7):
            state = hear(state, Taken(in_flight))
            primed.append(state.priming)

        assert primed == [0, 1, 1, 2, 2, 2]

    def test_little_is_primed_before_anything_is_learned(self) -> None:
        assert hear(HEALTHY, Taken(5), Taken(6), Taken(7)).priming == 1

    def test_a_crowd_halves_it_and_holds_it_longer_the_second_time(self) -> None:
        primed = replace(HEALTHY, priming=4, run_times=learn_lognormal(10, 0.4, 100))

        once = hear(primed, CROWD)
        held = hear(once, Taken(7))
        later = after(once, Taken(7), limits=LIMITS, now=NOW + FIRST_HOLD, dice=0.0)
        twice = hear(later, CROWD, now=NOW + FIRST_HOLD + SECOND)

        assert (once.priming, once.paused_until, once.pace_share) == (2, None, 1.0)
        assert (held.priming, later.priming, twice.priming) == (2, 3, 1)
        assert once.priming_held_until == NOW + FIRST_HOLD
        assert twice.priming_held_until == NOW + FIRST_HOLD + SECOND + LONGEST_HOLD

    def test_without_room_for_a_single_task_it_pauses_ever_longer_at_the_same_pace(self) -> None:
        alone = Crowded("Throttling.Concurrency", in_flight=1)
        state = hear(HEALTHY, alone)

        assert (state.priming, state.pace_share, state.priming_held_until) == (0, 1.0, None)
        assert pauses(HEALTHY, [alone] * 7) == [2, 4, 8, 16, 32, 60, 60]

    def test_a_crowd_below_the_limit_teaches_the_room_there_is(self) -> None:
        state = hear(HEALTHY, Crowded("Throttling.Concurrency", in_flight=4))

        assert (state.priming, state.paused_until) == (-2, None)
        assert state.priming_held_until == NOW + FIRST_ROOM_HOLD
        assert hear(state, Taken(3)).priming == -2

    def test_more_room_is_tried_when_the_hold_is_over_and_all_of_it_is_used(self) -> None:
        known = hear(HEALTHY, Crowded("Throttling.Concurrency", in_flight=3))
        now = NOW + FIRST_ROOM_HOLD

        assert hear(known, Taken(1), now=now).priming == -3
        assert hear(known, Taken(2), now=now).priming == -2
        assert hear(known, Taken(2), Taken(3), Taken(4), Taken(5), now=now).priming == 1

    def test_an_hour_below_the_limit_costs_few_refusals(self) -> None:
        """The upstream has room for 2 of 5; each task ends at once and another is tried."""
        state, now, refusals = HEALTHY, NOW, 0
        while now < NOW + timedelta(hours=1):
            room = LIMITS.max_running + state.priming
            is_crowded = room > 2
            news = Crowded("Throttling.Concurrency", 3) if is_crowded else Taken(room)
            refusals += is_crowded
            state = after(state, news, limits=LIMITS, now=now, dice=0.0)
            now = max(now + 2 * SECOND, state.paused_until or now)

        assert refusals <= 8
        assert LIMITS.max_running + state.priming in (2, 3)

    def test_it_falls_slowly_when_tasks_have_become_longer(self) -> None:
        state = replace(HEALTHY, priming=5, run_times=learn_lognormal(45, 0.5, 100))

        assert [hear(state, *[Taken(5)] * times).priming for times in (1, 2, 3)] == [4, 3, 3]

    def test_it_is_within_a_limit_that_was_lowered(self) -> None:
        state = replace(HEALTHY, priming=5)

        assert after(state, RATE, limits=Limits(2), now=NOW, dice=0.0).priming == 2


SOURCES = [Source(UUID(int=number), UUID(int=number % 3)) for number in range(8)]
CODES = st.sampled_from(["Throttling", "Arrearage", "InvalidApiKey", "not_sent", "HTTP502"])
NEWS = st.one_of(
    st.builds(Taken, st.integers(0, 40)),
    st.builds(Throttled, CODES, st.none() | st.floats(0, 1e9)),
    st.builds(Crowded, CODES, st.integers(0, 40)),
    st.builds(Barred, CODES, st.sampled_from(Reach), st.none() | st.sampled_from(SOURCES)),
    st.builds(Troubled, CODES),
    st.builds(Unforeseen, CODES),
)
STEPS = st.lists(st.tuples(NEWS, st.floats(0, 900), st.floats(0, 1)), max_size=60)
RUN_TIMES = st.lists(st.floats(0.01, 10_000), max_size=20)


def live(
    steps: Sequence[tuple[News, float, float]], run_seconds: Sequence[float], limits: Limits
) -> list[tuple[datetime, PaceState]]:
    times = RunTimes()
    for seconds in run_seconds:
        times = learn(times, seconds)
    state, now, lived = PaceState(run_times=times), NOW, []
    for news, passed_seconds, dice in steps:
        now += timedelta(seconds=passed_seconds)
        state = after(state, news, limits=limits, now=now, dice=dice)
        lived.append((now, state))
    return lived


@given(STEPS, RUN_TIMES, st.integers(1, 20))
def test_whatever_comes_the_state_stays_within_its_bounds(
    steps: list[tuple[News, float, float]], run_seconds: list[float], max_running: int
) -> None:
    limits = Limits(max_running)
    for now, state in live(steps, run_seconds, limits):
        assert LOWEST_SHARE <= state.pace_share <= 1
        assert 1 - max_running <= state.priming <= max_running
        assert state.strikes >= 0
        assert (state.paused_until is None) == (state.pause_code is None)
        assert not state.is_suspended or state.paused_until is not None
        if state.paused_until is not None:
            assert state.paused_until - now <= timedelta(seconds=LONGEST_PROBE_SECONDS)
            is_short = state.paused_until - now <= timedelta(seconds=60)
            assert is_short or state.is_suspended


@given(STEPS, RUN_TIMES, st.integers(0, 40))
def test_a_create_taken_after_any_history_closes_the_breaker(
    steps: list[tuple[News, float, float]], run_seconds: list[float], in_flight: int
) -> None:
    lived = live([*steps, (Taken(in_flight), 0.0, 0.0)], run_seconds, LIMITS)
    before = lived[-2][1] if len(lived) > 1 else PaceState()
    now, state = lived[-1]

    assert not state.is_suspended
    assert state.strikes == 0
    assert state.paused_until is None or (not before.is_suspended and before.is_paused(now))


@given(STEPS)
def test_priming_is_never_raised_while_it_is_held(
    steps: list[tuple[News, float, float]],
) -> None:
    before = PaceState()
    for now, state in live(steps, [10.0] * 20, LIMITS):
        held = before.priming_held_until
        assert state.priming <= before.priming or held is None or now >= held
        before = state
