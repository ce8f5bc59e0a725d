"""Work on items that have nothing to do with each other: one that fails holds up no other."""

import time
from collections.abc import Awaitable, Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import structlog

from app.kit.postgres.database import CONNECTION_TROUBLE, Connection, Pool

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

PAUSES_SECONDS = (1.0, 5.0, 30.0, 300.0)
"""After the first failure of an item, the second, and so on; the last one stays."""
LOST_IN_A_ROW = 3
"""So many items in a row with a trouble that may be shared mean that it is everybody's."""
FORGOTTEN_SECONDS = 3600.0

T = TypeVar("T")
R = TypeVar("R")


@dataclass(slots=True)
class _Trouble:
    failures: int
    next_at: float


class Apart:
    """Does items one by one; a failing one is logged, counted, and rests before its next try."""

    def __init__(
        self,
        name: str,
        *,
        shared_troubles: tuple[type[Exception], ...] = CONNECTION_TROUBLE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`shared_troubles` are those that may be everybody's: several in a row end the round."""
        self.name = name
        self._shared_troubles = shared_troubles
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
    ) -> list[R]:
        """Do every item that does not rest; returns what those that succeeded have given.

        Raises a shared trouble, once several items in a row have met it.
        """
        done: list[R] = []
        lost = 0
        resting = set(self.resting())
        for item in items:
            name = item if key is None else key(item)
            if name in resting:
                continue
            try:
                done.append(await work(item))
            except self._shared_troubles as error:
                lost += 1
                self._note(name, error)
                if lost == LOST_IN_A_ROW:
                    raise
            except Exception as error:
                lost = 0
                self._note(name, error)
            else:
                lost = 0
                self._troubles.pop(name, None)
        return done

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
        pause = PAUSES_SECONDS[min(trouble.failures, len(PAUSES_SECONDS) - 1)]
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
