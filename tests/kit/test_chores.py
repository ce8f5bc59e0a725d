"""Items each for themselves: a poisoned one rests, the others are done."""

import asyncio

import pytest
from structlog.testing import capture_logs

from app.kit.background.chores import (
    DATABASE_PAUSE_SECONDS,
    LOST_IN_A_ROW,
    PAUSES_SECONDS,
    Apart,
    count_failures,
)
from app.kit.postgres.database import Pool


class Table:
    """Work that fails for what is poisoned, and a clock in the hand."""

    def __init__(self, *poisoned: int, error: type[Exception] = ValueError) -> None:
        self.poisoned, self.error = set(poisoned), error
        self.tried: list[int] = []
        self.now = 0.0

    async def work(self, item: int) -> int:
        self.tried.append(item)
        if item in self.poisoned:
            raise self.error(item)
        return item


async def test_one_that_fails_holds_up_no_other() -> None:
    table = Table(2)

    with capture_logs() as logs:
        assert await Apart("t").each([1, 2, 3], table.work) == [1, 3]

    (told,) = logs
    assert (told["event"], told["work"], told["item"]) == ("item.failed", "t", "2")


async def test_one_that_fails_rests_ever_longer_and_is_fresh_once_it_has_succeeded() -> None:
    table = Table(2)
    apart = Apart("t", clock=lambda: table.now)

    for pause in (*PAUSES_SECONDS, PAUSES_SECONDS[-1]):
        await apart.each([2], table.work)
        assert apart.resting() == [2]
        tried = len(table.tried)
        await apart.each([2], table.work)
        assert len(table.tried) == tried
        table.now += pause
        assert apart.resting() == []

    table.poisoned.clear()
    assert await apart.each([2], table.work) == [2]
    table.poisoned.add(2)
    await apart.each([2], table.work)
    table.now += PAUSES_SECONDS[0]
    assert apart.resting() == []


async def test_a_database_that_is_lost_for_all_ends_the_round() -> None:
    table = Table(*range(10), error=ConnectionResetError)

    with pytest.raises(ConnectionResetError):
        await Apart("t").each(range(10), table.work)

    assert len(table.tried) == LOST_IN_A_ROW


async def test_one_whose_statement_is_always_too_slow_ends_no_round() -> None:
    table = Table(0, 3, 6, error=ConnectionResetError)

    assert await Apart("t").each(range(8), table.work) == [1, 2, 4, 5, 7]


async def test_failures_are_counted_where_the_metrics_look(pool: Pool) -> None:
    table = Table(1, 2)
    apart = Apart("t")

    for items in ([1], [2], []):
        await apart.each(items, table.work)
        await count_failures(pool, apart)

    row = await pool.fetchrow("select work, failures, last_error from chore_failures")
    assert row is not None
    assert tuple(row) == ("t", 2, "2: ValueError")


async def test_some_are_done_at_once_and_each_but_once() -> None:
    inside = 0
    highest = 0
    done: list[int] = []

    async def work(item: int) -> None:
        nonlocal inside, highest
        inside += 1
        highest = max(highest, inside)
        await asyncio.sleep(0)
        inside -= 1
        done.append(item)
        if item == 3:
            raise ValueError

    await Apart("t").each(range(10), work, at_once=4)

    assert sorted(done) == list(range(10))
    assert highest == 4


async def test_nobody_rests_long_for_a_lost_database() -> None:
    table = Table(1, error=ConnectionResetError)
    apart = Apart("t", clock=lambda: table.now)

    for _ in range(6):
        await apart.each([1], table.work)
        table.now += DATABASE_PAUSE_SECONDS

    assert len(table.tried) == 6
