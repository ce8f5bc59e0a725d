"""Work on items that have nothing to do with each other: one that fails holds up no other."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import structlog

from app.kit.postgres.database import CONNECTION_TROUBLE, Connection, Pool

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

PAUSES_SECONDS = (1.0, 5.0, 30.0, 300.0)
"""After the first failure of an item, the second, and so on; the last one stays."""
DATABASE_PAUSE_SECONDS = 5.0
"""A lost database comes back for all: nobody rests longer for its sake."""
LOST_IN_A_ROW = 3
"""So many items in a row with a trouble that may be shared mean that it is everybody's."""
FORGOTTEN_SECONDS = 3600.0

T = TypeVar("T")
R = TypeVar("R")


@dataclass(slots=True)
class _Trouble:
    failures: int
    next_at: float


@dataclass(slots=True)
class _Round(Generic[R]):
    done: list[R] = field(default_factory=list)
    lost: int = 0
    """Items in a row that have met a shared trouble."""
    trouble: Exception | None = None


class Apart:
    """Does items one by one, or some at once.

    One that fails is logged, counted, and rests before its next try.
    """

    def __init__(
        self,
        name: str,
        *,
        shared_troubles: tuple[type[Exception], ...] = CONNECTION_TROUBLE,
        longest_pause_seconds: float = PAUSES_SECONDS[-1],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`shared_troubles` are those that may be everybody's: several in a row end the round."""
        self.name = name
        self._shared_troubles = shared_troubles
        self._longest_pause_seconds = longest_pause_seconds
        self._clock = clock
        self._troubles: dict[Hashable, _Trouble] = {}
        self._untold: list[str] = []

    def resting(self) -> list[Hashable]:
        """The keys of what rests now: a query leaves them out, so that they never fill a batch."""
        now = self._clock()
        return [key for key, trouble in self._troubles.items() if now < trouble.next_at]

    async def each(
        self,
        items: Iterable[T],
        work: Callable[[T], Awaitable[R]],
        *,
        key: Callable[[T], Hashable] | None = None,
        at_once: int = 1,
    ) -> list[R]:
        """Do every item that does not rest; returns what those that succeeded have given.

        Raises a shared trouble, once several items in a row have met it.
        """
        resting = set(self.resting())
        named = ((item if key is None else key(item), item) for item in items)
        due = iter([(name, item) for name, item in named if name not in resting])
        round_ = _Round[R]()
        await asyncio.gather(*(self._do(due, work, round_) for _ in range(at_once)))
        if round_.trouble is not None:
            raise round_.trouble
        return round_.done

    async def _do(
        self,
        due: Iterator[tuple[Hashable, T]],
        work: Callable[[T], Awaitable[R]],
        round_: "_Round[R]",
    ) -> None:
        for name, item in due:
            if round_.trouble is not None:
                return
            try:
                round_.done.append(await work(item))
            except self._shared_troubles as error:
                round_.lost += 1
                self._note(name, error)
                if round_.lost >= LOST_IN_A_ROW:
                    round_.trouble = error
            except Exception as error:
                round_.lost = 0
                self._note(name, error)
            else:
                round_.lost = 0
                self._troubles.pop(name, None)

    def take_failures(self) -> list[str]:
        """What has failed since this was asked last: the item, and the name of its error."""
        untold, self._untold = self._untold, []
        return untold

    def _note(self, name: Hashable, error: Exception) -> None:
        now = self._clock()
        old = {
            known
            for known, trouble in self._troubles.items()
            if now >= trouble.next_at + FORGOTTEN_SECONDS
        }
        for known in old:
            del self._troubles[known]
        trouble = self._troubles.setdefault(name, _Trouble(0, now))
        is_database = isinstance(error, CONNECTION_TROUBLE)
        longest = DATABASE_PAUSE_SECONDS if is_database else self._longest_pause_seconds
        pause = min(PAUSES_SECONDS[min(trouble.failures, len(PAUSES_SECONDS) - 1)], longest)
        trouble.failures += 1
        trouble.next_at = now + pause
        self._untold.append(f"{name}: {type(error).__name__}")
        about = {"work": self.name, "item": str(name), "failures": trouble.failures}
        if isinstance(error, self._shared_troubles):
            log.warning("item.in_trouble", **about, error=type(error).__name__)
        else:
            log.error("item.failed", **about, pause_seconds=pause, exc_info=error)


async def count_failures(pool: Pool, *works: Apart) -> None:
    """Add what has failed to the counts that the metrics show."""
    for work in works:
        failures = work.take_failures()
        if failures:
            await pool.execute(_COUNT, work.name, len(failures), failures[-1])


async def count_failure(connection: Connection, work: str, error: str, *, count: int = 1) -> None:
    """Add what has failed for good, in the transaction that says so."""
    await connection.execute(_COUNT, work, count, error)


_COUNT = """
insert into chore_failures as known (work, failures, last_error) values ($1, $2, $3)
on conflict (work) do update set failures = known.failures + excluded.failures,
    last_error = excluded.last_error, last_at = now()
"""
