"""Learning how long tasks run: exact at first, following what changes, never out of bounds."""

import math
import random
from statistics import fmean, pvariance

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.accounts.run_times import MEMORY_COUNT, RunTimes, learn
from tests.accounts.learning import learn_lognormal


def learn_all(seconds: list[float]) -> RunTimes:
    times = RunTimes()
    for each in seconds:
        times = learn(times, each)
    return times


@given(st.lists(st.floats(0.01, 10_000), min_size=1, max_size=MEMORY_COUNT))
def test_the_first_are_learned_exactly(seconds: list[float]) -> None:
    times = learn_all(seconds)
    logs = [math.log(each) for each in seconds]

    assert times.count == len(seconds)
    assert times.log_mean == pytest.approx(fmean(logs), abs=1e-9)
    assert times.log_variance == pytest.approx(pvariance(logs), abs=1e-9)


def test_a_known_distribution_is_found_again() -> None:
    times = learn_lognormal(45, 0.5, 200)

    assert times.quantile_seconds(0.5) == pytest.approx(45, rel=0.02)
    assert times.quantile_seconds(0.9) == pytest.approx(45 * math.exp(0.5 * 1.2816), rel=0.05)
    assert times.mean_seconds() == pytest.approx(51.0, rel=0.03)


def test_what_changes_is_followed_and_what_was_fades() -> None:
    dice = random.Random(7)
    quick = [dice.lognormvariate(math.log(45), 0.3) for _ in range(1000)]
    slow = [dice.lognormvariate(math.log(90), 0.3) for _ in range(3 * MEMORY_COUNT)]

    assert learn_all(quick + slow).quantile_seconds(0.5) == pytest.approx(90, rel=0.1)


def test_the_hazard_of_a_young_task_is_nothing_and_grows() -> None:
    times = learn_lognormal(45, 0.5, 200)

    assert times.hazard(1) < 1e-9
    assert times.hazard(20) < times.hazard(45)
    # Density over survival at the median: 0.7979 / (deviation x seconds).
    assert times.hazard(45) == pytest.approx(0.7979 / (0.5 * 45), rel=0.05)


@given(st.floats(0, 1e7), st.floats(0.01, 1e5), st.floats(0.01, 3))
def test_the_hazard_is_a_number_at_any_age(age: float, median: float, deviation: float) -> None:
    hazard = RunTimes(50, math.log(median), deviation**2).hazard(age)

    assert 0 <= hazard < math.inf
