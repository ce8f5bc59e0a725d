"""The guards of creates that are being answered: each is released or armed, whatever happens.

A guard that stayed behind would keep equal creates waiting for as long as this process lives.
What cannot be written at once is written later, beside the requests.
"""

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

import structlog

from app.kit.background.loop import run_loop
from app.kit.deadlines import within
from app.kit.postgres.database import Pool

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

AT_ONCE_SECONDS = 2.0
LATE_COMMIT_SECONDS = 120.0
"""A commit whose answer was lost has come through by then, or never will."""
ANSWERED_SECONDS = 60
"""Longer than a create whose client has left can be on its way to be stored."""
SWEEP_SECONDS = 1.0
LEFT_LIMIT = 10_000


@dataclass(frozen=True, slots=True)
class Settlement:
    """What becomes of one create's guard.

    Released: the answer was written, so an equal create that comes now is meant. Armed: nobody
    heard the answer, so an equal create is the same one sent again.
    """

    team_id: UUID
    key: str
    job_id: UUID
    is_armed: bool
    look_until: float = 0.0
    """By the event loop's clock: until then the guard may still appear."""


class Guards:
    """Settles guards at once when that is possible, and else as soon as it is."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._left: deque[Settlement] = deque(maxlen=LEFT_LIMIT)
        self._nudge = asyncio.Event()
        self._stop = asyncio.Event()

    async def release(self, team_id: UUID, key: str, job_id: UUID) -> None:
        await self._settle(Settlement(team_id, key, job_id, is_armed=False))

    async def arm(self, team_id: UUID, key: str, job_id: UUID) -> None:
        await self._settle(Settlement(team_id, key, job_id, is_armed=True))

    def arm_when_found(self, team_id: UUID, key: str, job_id: UUID) -> None:
        """For a create of which nobody knows whether it was stored."""
        until = asyncio.get_running_loop().time() + LATE_COMMIT_SECONDS
        self._leave(Settlement(team_id, key, job_id, is_armed=True, look_until=until))

    async def run(self) -> None:
        """Settle what was left, until `close`."""
        await run_loop(
            self._settle_left,
            name="guards",
            stop=self._stop,
            nudge=self._nudge,
            idle_seconds=SWEEP_SECONDS,
        )

    async def close(self) -> None:
        """Try once more; what is left then counts as armed, for this process is gone."""
        self._stop.set()
        with suppress(Exception):
            await within(AT_ONCE_SECONDS, self._settle_left())

    async def _settle(self, settlement: Settlement) -> None:
        try:
            await within(AT_ONCE_SECONDS, self._write(settlement))
        except Exception as error:
            log.warning("guard.left", error=type(error).__name__)
            self._leave(settlement)

    def _leave(self, settlement: Settlement) -> None:
        self._left.append(settlement)
        self._nudge.set()

    async def _settle_left(self) -> bool:
        now = asyncio.get_running_loop().time()
        for _ in range(len(self._left)):
            settlement = self._left.popleft()
            try:
                found = await self._write(settlement)
            except Exception:
                self._left.append(settlement)
                raise
            if not found and now < settlement.look_until:
                self._left.append(settlement)
        return False

    async def _write(self, settlement: Settlement) -> bool:
        """Whether the guard was there."""
        statement = _ARM if settlement.is_armed else _RELEASE
        done = await self._pool.execute(
            statement, settlement.team_id, settlement.key, settlement.job_id
        )
        return not done.endswith(" 0")


_RELEASE = f"""
update idempotency_keys set answered_at = now(),
    expires_at = now() + interval '{ANSWERED_SECONDS} seconds'
where team_id = $1 and key = $2 and job_id = $3
"""
_ARM = "update idempotency_keys set owner = null where team_id = $1 and key = $2 and job_id = $3"
