"""Looks at running tasks: as often as ever when one may end, seldom while none can."""

import random
from dataclasses import dataclass, field
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.accounts.run_times import RunTimes
from app.jobs.core.watch_pace import next_look_seconds
from tests.accounts.learning import learn_lognormal

BASE, LONGEST = 1.0, 5.0
SLOTS = 5
MEDIAN, DEVIATION = 45.0, 0.5
LEARNED = learn_lognormal(MEDIAN, DEVIATION, 200)
COUNT = 1500


def look_again(ages: list[float], times: RunTimes = LEARNED) -> float:
    return next_look_seconds(ages, times, base_seconds=BASE, longest_seconds=LONGEST)


def test_nothing_learned_means_a_look_at_each_beat() -> None:
    assert look_again([0.0], RunTimes()) == BASE
    assert look_again([0.0], learn_lognormal(MEDIAN, DEVIATION, 10)) == BASE


def test_a_young_task_is_left_alone_and_an_old_one_is_not() -> None:
    assert [look_again([age]) for age in (0.0, 15.0, 45.0, 90.0)] == [LONGEST, 1.5, BASE, BASE]


def test_the_oldest_task_decides() -> None:
    assert look_again([0.0, 0.0, 0.0, 45.0]) == BASE


@given(
    st.lists(st.floats(0, 1e6), max_size=8),
    st.floats(0.01, 1000),
    st.floats(0, 3),
    st.integers(0, 100),
)
def test_a_pause_is_never_beyond_its_bounds(
    ages: list[float], median: float, deviation: float, count: int
) -> None:
    pause = look_again(ages, learn_lognormal(median, deviation, count))

    assert BASE <= pause <= LONGEST


@dataclass(slots=True)
class Watched:
    delays: list[float] = field(default_factory=list)
    looks: int = 0


def watch(load: float, *, is_adaptive: bool, median: float = MEDIAN) -> Watched:
    """A simulated account: tasks come at random, at most five run, and the list tells all."""
    dice = random.Random(20261123)
    mean = median * 2.718_281_828 ** (DEVIATION**2 / 2)
    starts: list[tuple[float, float]] = []
    free_at = [0.0] * SLOTS
    arrived_at = 0.0
    for _ in range(COUNT):
        arrived_at += dice.expovariate(load * SLOTS / mean) if load < 1 else 0.0
        slot = min(range(SLOTS), key=free_at.__getitem__)
        begin = max(arrived_at, free_at[slot])
        free_at[slot] = begin + median * 2.718_281_828 ** dice.gauss(0, DEVIATION)
        starts.append((begin, free_at[slot]))
    return _look(sorted(starts), is_adaptive)


def _look(tasks: list[tuple[float, float]], is_adaptive: bool) -> Watched:
    watched, now, running = Watched(), 0.0, list[tuple[float, float]]()
    while tasks or running:
        while tasks and tasks[0][0] <= now:
            running.append(tasks.pop(0))
        if not running:
            now = tasks[0][0]
            continue
        ages = [now - begin for begin, _ in running]
        now += look_again(ages) if is_adaptive else BASE
        watched.looks += 1
        watched.delays += [now - end for _, end in running if end <= now]
        running = [task for task in running if task[1] > now]
    return watched


@pytest.mark.parametrize(
    ("load", "longest_delay", "least_saved"),
    [(1.0, 0.6, -0.01), (0.5, 0.6, 0.03), (0.1, 0.6, 0.15)],
)
def test_looks_are_saved_where_few_tasks_run_and_ends_are_seen_as_soon(
    load: float, longest_delay: float, least_saved: float
) -> None:
    steady, adaptive = watch(load, is_adaptive=False), watch(load, is_adaptive=True)
    saved = 1 - adaptive.looks / steady.looks

    assert len(adaptive.delays) == len(steady.delays) == COUNT
    assert fmean(adaptive.delays) <= longest_delay
    assert saved >= least_saved


def test_a_model_that_has_become_four_times_as_quick_is_seen_late_but_seen() -> None:
    watched = watch(1.0, is_adaptive=True, median=MEDIAN / 4)

    assert fmean(watched.delays) <= LONGEST / 2
