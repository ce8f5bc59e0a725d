"""How much of the store a team's input images may take: one team must not fill it for all."""

import asyncio
from collections import defaultdict
from uuid import UUID

import asyncpg
import structlog

from app.kit.deadlines import within
from app.kit.errors import LimitExceeded
from app.kit.postgres.database import Pool

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

MEASURED_FOR_SECONDS = 60.0
MEASURE_SECONDS = 2.0
FULL_FOR_SECONDS = 5.0
"""A team that was refused hears soon of what has been deleted since."""
RETRY_AFTER_SECONDS = 600
GIGABYTE = 1000**3


class InputsFull(LimitExceeded):
    """The team's stored input images leave no room for one more."""

    code = "input_quota_exceeded"

    def __init__(self, held_bytes: int, more_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"the team's stored input images take {held_bytes / GIGABYTE:.2f} GB, and with this "
            f"one ({more_bytes} bytes) more than the {limit_bytes / GIGABYTE:g} GB that a team "
            "may have; nothing was stored. They go by themselves when their jobs' time is over: "
            "send images as URLs, or ask an operator for more (DASHGATE_TEAM_INPUT_GB)",
            retry_after_seconds=RETRY_AFTER_SECONDS,
        )


class _Account:
    """What a team held when it was last measured, and what this process added since."""

    __slots__ = ("held_bytes", "lock", "measured_at")

    def __init__(self) -> None:
        self.held_bytes = 0
        self.measured_at: float | None = None
        self.lock = asyncio.Lock()


class InputQuota:
    """Counts what each team has stored: measured once a minute, and added to between.

    Several processes overshoot by what they take within that minute.
    """

    def __init__(self, pool: Pool, *, limit_bytes: int) -> None:
        self._pool = pool
        self._limit_bytes = limit_bytes
        self._accounts: defaultdict[UUID, _Account] = defaultdict(_Account)

    async def take(self, team_id: UUID, more_bytes: int) -> None:
        """Room for content that is new; raises InputsFull."""
        account = self._accounts[team_id]
        async with account.lock:
            await self._measure(account, team_id, MEASURED_FOR_SECONDS)
            if account.held_bytes + more_bytes > self._limit_bytes:
                await self._measure(account, team_id, FULL_FOR_SECONDS)
            if account.held_bytes + more_bytes > self._limit_bytes:
                raise InputsFull(account.held_bytes, more_bytes, self._limit_bytes)
            account.held_bytes += more_bytes

    async def _measure(self, account: _Account, team_id: UUID, valid_seconds: float) -> None:
        now = asyncio.get_running_loop().time()
        if account.measured_at is not None and now - account.measured_at < valid_seconds:
            return
        account.measured_at = now
        try:
            account.held_bytes = await within(MEASURE_SECONDS, self._pool.fetchval(_HELD, team_id))
        except (TimeoutError, asyncpg.QueryCanceledError):
            # The count of before stands: a slow database is no reason to refuse a team.
            log.warning("quota.not_measured", team_id=str(team_id))


_HELD = """
select coalesce(sum(byte_count), 0)::bigint from files where team_id = $1 and is_shared
"""
