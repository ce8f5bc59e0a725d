"""Plans: the seed decides them, and they hold what a storm is to hold."""

from collections import Counter
from itertools import pairwise

import pytest

from app.bench.storm.plan import (
    LATE_SECONDS,
    POISON,
    Clocks,
    Order,
    Strike,
    plan_clocks,
    plan_orders,
    plan_strikes,
    slow_down,
)

STORM_SECONDS = 15.0
ENDS_AT_SECONDS = 25.0


def plan_both(seed: int) -> tuple[tuple[Order, ...], tuple[Strike, ...]]:
    return (
        plan_orders(seed, 150, STORM_SECONDS, ends_at_seconds=ENDS_AT_SECONDS),
        plan_strikes(seed, STORM_SECONDS, processes=4, crashes_database=True),
    )


def test_a_seed_is_a_plan() -> None:
    assert plan_both(7) == plan_both(7)
    assert plan_both(7) != plan_both(8)


@pytest.mark.parametrize("seed", range(1, 6))
def test_orders_are_of_all_sorts(seed: int) -> None:
    orders, _ = plan_both(seed)
    prompts = Counter(order.prompt for order in orders)

    assert {order.n for order in orders} == {1, 2, 3, 4}
    assert {order.team for order in orders} == {0, 1, 2}
    assert max(prompts.values()) > 10
    assert list(prompts.values()).count(1) > 60
    assert any(order.idempotency_key is None for order in orders)
    assert any(order.is_sent_twice for order in orders)
    assert any(order.cancel_at_seconds is not None for order in orders)
    assert all(order.idempotency_key for order in orders if order.is_sent_twice)
    late = [order for order in orders if order.at_seconds >= STORM_SECONDS]
    assert 5 < len(late) < 50
    assert all(0 <= order.at_seconds - ENDS_AT_SECONDS <= LATE_SECONDS for order in late)


@pytest.mark.parametrize("seed", range(1, 6))
def test_one_order_is_poison_one_is_heavy_and_both_come_early(seed: int) -> None:
    orders, _ = plan_both(seed)

    [poison] = [order for order in orders if POISON in order.prompt]
    [heavy] = [order for order in orders if order.is_heavy]
    prompts = Counter(order.prompt for order in orders)
    for order in (poison, heavy):
        assert prompts[order.prompt] == 1
        assert order.cancel_at_seconds is None
        assert order.at_seconds < STORM_SECONDS / 2
    assert poison is not heavy


def test_every_clock_is_off_in_its_own_way_and_the_databases_too() -> None:
    plans = [plan_clocks(seed, processes=5, worst_seconds=300) for seed in range(1, 51)]

    offsets = [offset for plan in plans for offset in (plan.upstream, *plan.processes)]
    assert all(len({plan.upstream, *plan.processes}) == 6 for plan in plans)
    assert max(offsets) > 300
    assert min(offsets) < -300
    assert all(abs(offset) <= 600 for offset in offsets)
    assert plans[0] == plan_clocks(1, processes=5, worst_seconds=300)


def test_without_skew_every_clock_is_right() -> None:
    assert plan_clocks(1, processes=2, worst_seconds=0) == Clocks(0, (0, 0))


@pytest.mark.parametrize("seed", range(1, 6))
def test_every_process_is_struck_and_blows_follow_each_other_closely(seed: int) -> None:
    _, strikes = plan_both(seed)
    blows = [strike for strike in strikes if strike.deed != "crash"]

    assert {strike.victim for strike in blows if strike.deed == "kill"} == {0, 1, 2, 3}
    assert {strike.deed for strike in strikes} >= {"kill", "freeze", "crash"}
    assert all(later.at_seconds - earlier.at_seconds <= 0.5 for earlier, later in pairwise(blows))
    assert all(strike.at_seconds < STORM_SECONDS for strike in strikes)


def test_a_database_that_was_given_is_not_crashed_and_all_else_stays_as_it_was() -> None:
    _, with_crashes = plan_both(7)

    strikes = plan_strikes(7, STORM_SECONDS, processes=4, crashes_database=False)

    assert list(strikes) == [strike for strike in with_crashes if strike.deed != "crash"]


def test_on_a_slow_machine_blows_are_rarer_and_crashes_are_not() -> None:
    _, strikes = plan_both(7)

    slowed = slow_down(strikes, 2)

    at_twice = sorted(each.at_seconds * (1 if each.deed == "crash" else 2) for each in strikes)
    assert [each.at_seconds for each in slowed] == at_twice
    assert Counter(each.deed for each in slowed) == Counter(each.deed for each in strikes)
