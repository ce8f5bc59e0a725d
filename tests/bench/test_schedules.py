"""Ideal schedules, the SDK's cadence and shares, by table."""

import statistics

import pytest

from app.bench.rig.upstream import LognormalSpan
from app.bench.schedules import (
    Asking,
    ask_like_sdk,
    find_makespan,
    list_starts,
    shares_of_ideal,
)


@pytest.mark.parametrize(
    ("durations", "slots", "makespan"),
    [
        ([3.0], 5, 3.0),
        ([1.0, 1.0, 1.0, 1.0], 2, 2.0),
        ([4.0, 1.0, 1.0, 1.0], 2, 4.0),
        ([1.0, 1.0, 4.0], 2, 5.0),
        ([2.0, 3.0, 4.0], 1, 9.0),
    ],
)
def test_tasks_go_in_turn_to_the_first_free_slot(
    durations: list[float], slots: int, makespan: float
) -> None:
    assert find_makespan(durations, slots) == makespan


def test_starts_are_the_moments_at_which_slots_come_free() -> None:
    assert list_starts([3.0, 1.0, 1.0, 5.0, 1.0], 2) == [0.0, 0.0, 1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("duration", "asking"),
    [
        (0.0, Asking(0.0, 1)),
        (1.0, Asking(0.0, 2)),
        (6.5, Asking(1.5, 6)),
        (20.0, Asking(0.0, 9)),
        (20.5, Asking(4.5, 10)),
        (46.0, Asking(4.0, 15)),
    ],
)
def test_the_sdk_asks_ever_less_often_up_to_five_seconds(duration: float, asking: Asking) -> None:
    assert ask_like_sdk(duration) == asking


def test_the_sdks_cadence_scales_with_time() -> None:
    asking = ask_like_sdk(4.6, scale=0.1)

    assert asking.calls == 15
    assert asking.delay_seconds == pytest.approx(0.4)


def test_the_sdk_loses_what_it_is_known_to_lose_on_tasks_of_45_seconds() -> None:
    """2.5 s and 15.6 calls a task."""
    span = LognormalSpan.of(45, 0.5, seed=1)
    askings = [ask_like_sdk(next(iter(span))) for _ in range(4_000)]

    assert statistics.fmean(asking.delay_seconds for asking in askings) == pytest.approx(
        2.5, abs=0.1
    )
    assert statistics.fmean(asking.calls for asking in askings) == pytest.approx(15.6, abs=0.3)


def test_a_drawn_span_is_one_moment_and_another_each_time() -> None:
    span = LognormalSpan.of(45, 0.5, seed=1)
    draws = [tuple(span) for _ in range(1_000)]

    assert all(low == high for low, high in draws)
    assert len(set(draws)) == 1_000
    assert statistics.median(low for low, _ in draws) == pytest.approx(45, rel=0.1)


def test_shares_are_measured_by_weight() -> None:
    assert shares_of_ideal({"a": 50, "b": 10, "c": 0}, {"a": 5.0, "b": 1.0, "c": 1.0}) == {
        "a": pytest.approx(50 / (60 * 5 / 7)),
        "b": pytest.approx(10 / (60 / 7)),
        "c": 0.0,
    }
