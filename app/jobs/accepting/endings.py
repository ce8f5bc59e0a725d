"""Waiting for jobs to end: one sweep for everybody who waits in this process."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from app.jobs.events import JOB_CHANGED
from app.kit.background.loop import run_loop, wait_for_any
from app.kit.postgres.database import Pool
from app.kit.postgres.listener import Listener

WAITERS_LIMIT = 2_000
TEAM_WAITERS_LIMIT = 500
SWEEP_SECONDS = 1.0
GATHER_SECONDS = 0.05
"""News that come that close together are looked up at once."""


class Endings:
    """Tells who waits for a job that it has ended; more than its limits do not wait."""

    def __init__(
        self,
        pool: Pool,
        listener: Listener,
        *,
        limit: int = WAITERS_LIMIT,
        team_limit: int = TEAM_WAITERS_LIMIT,
    ) -> None:
        self._pool = pool
        self._listener = listener
        self._limit, self._team_limit = limit, team_limit
        self._waiting: defaultdict[UUID, set[asyncio.Event]] = defaultdict(set)
        self._teams: Counter[UUID | None] = Counter()
        self._nudge = asyncio.Event()

    async def wait(
        self, job_id: UUID, team_id: UUID | None, *, seconds: float, stopping: asyncio.Event
    ) -> bool:
        """Return when the job has ended, the time is over or the process stops.

        False at once when as many wait already as may.
        """
        if self._teams.total() >= self._limit or self._teams[team_id] >= self._team_limit:
            return False
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        with (
            self._joined(job_id, team_id) as ended,
            self._listener.subscribed(JOB_CHANGED, str(job_id)) as changed,
        ):
            self._nudge.set()
            while (left := until - loop.time()) > 0 and not ended.is_set():
                if stopping.is_set():
                    break
                await wait_for_any(ended, changed, stopping, seconds=left)
                if changed.is_set():
                    changed.clear()
                    self._nudge.set()
        return True

    async def run(self, stop: asyncio.Event) -> None:
        await run_loop(
            self._sweep, name="endings", stop=stop, nudge=self._nudge, idle_seconds=SWEEP_SECONDS
        )

    async def _sweep(self) -> bool:
        await asyncio.sleep(GATHER_SECONDS)
        if self._waiting:
            rows = await self._pool.fetch(_FIND_ENDED, list(self._waiting))
            for row in rows:
                for ended in self._waiting.get(row["id"], ()):
                    ended.set()
        return False

    @contextmanager
    def _joined(self, job_id: UUID, team_id: UUID | None) -> Iterator[asyncio.Event]:
        ended = asyncio.Event()
        self._waiting[job_id].add(ended)
        self._teams[team_id] += 1
        try:
            yield ended
        finally:
            self._waiting[job_id].discard(ended)
            if not self._waiting[job_id]:
                del self._waiting[job_id]
            self._teams[team_id] -= 1
            if not self._teams[team_id]:
                del self._teams[team_id]


_FIND_ENDED = "select id from jobs where id = any($1) and status is not null"
