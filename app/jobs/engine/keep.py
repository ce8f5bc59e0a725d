"""The keeping of finished jobs' pictures: claim, collect side by side, record, end the job."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import structlog

from app.jobs.engine.claim import (
    KEEP_LEASE_SECONDS,
    KeepTurn,
    claim_kept,
    release_lease,
    renew_leases,
)
from app.jobs.engine.collect import (
    Kept,
    Lost,
    NotYet,
    Shelf,
    WaitingPicture,
    collect_picture,
)
from app.jobs.events import write_event
from app.jobs.lifecycle import Flag, JobStatus
from app.jobs.moves import StaleRun
from app.jobs.record import end, record
from app.kit.clock import Clock
from app.kit.postgres.database import CONNECTION_TROUBLE, Connection, Pool, transaction

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

SHORTEST_RETRY_SECONDS = 0.5
LONGEST_RETRY_SECONDS = 60.0
ROOM_SECONDS = 1.0
"""How long to wait for room before looking whether to stop."""
LOST_CODE = "picture_lost"


class Keeper:
    """Keeps pictures of up to `concurrency` jobs at once, under leases it renews."""

    def __init__(self, pool: Pool, shelf: Shelf, *, clock: Clock, concurrency: int) -> None:
        self._pool = pool
        self._shelf = shelf
        self._clock = clock
        self._concurrency = concurrency
        self._working: dict[asyncio.Task[None], KeepTurn] = {}

    async def step(self) -> bool:
        """Claim as many finished jobs as there is room for; a loop's step."""
        room = self._concurrency - len(self._working)
        if room <= 0:
            await asyncio.wait(
                self._working, timeout=ROOM_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            return True
        async with transaction(self._pool) as connection:
            turns = await claim_kept(connection, limit=room)
        for turn in turns:
            task = asyncio.create_task(self._keep_job(turn))
            self._working[task] = turn
            task.add_done_callback(self._working.pop)
        return bool(turns)

    async def renew(self) -> None:
        """Renew the leases of what is being kept, until cancelled."""
        while True:
            await asyncio.sleep(KEEP_LEASE_SECONDS / 3)
            tokens = [turn.lease_token for turn in self._working.values()]
            if tokens:
                with suppress(*CONNECTION_TROUBLE):
                    async with transaction(self._pool) as connection:
                        await renew_leases(connection, tokens)

    async def drain(self, *, seconds: float) -> None:
        """Wait that long for what is being kept; give back what is not done by then."""
        if not self._working:
            return
        _, late = await asyncio.wait(self._working, timeout=seconds)
        turns = [self._working[task] for task in late]
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        with suppress(*CONNECTION_TROUBLE):
            async with transaction(self._pool) as connection:
                for turn in turns:
                    await release_lease(connection, turn, due_in_seconds=0)

    async def _keep_job(self, turn: KeepTurn) -> None:
        try:
            await self._keep(turn)
        except CONNECTION_TROUBLE as error:
            log.warning(
                "pictures.database_lost",
                job_id=str(turn.fence.job_id),
                error=type(error).__name__,
            )
        except StaleRun:
            log.warning("run.stale_news_dropped", job_id=str(turn.fence.job_id))
        except Exception:
            log.exception("pictures.keeping_failed", job_id=str(turn.fence.job_id))

    async def _keep(self, turn: KeepTurn) -> None:
        waiting = await self._load(turn)
        shelf = await self._shelf_for(turn)
        now = self._clock()
        outcomes = await asyncio.gather(
            *(collect_picture(shelf, picture, now=now) for picture in waiting)
        )
        async with transaction(self._pool) as connection:
            await _hold(connection, turn)
            for outcome in outcomes:
                await _write(connection, turn, outcome)
            late = [outcome for outcome in outcomes if isinstance(outcome, NotYet)]
            if late:
                pause_seconds = find_retry_seconds(now - turn.ended_at)
                await release_lease(connection, turn, due_in_seconds=pause_seconds)
            else:
                await _end_job(connection, turn)
        for outcome in late:
            log.warning(
                "picture.not_kept_yet",
                job_id=str(turn.fence.job_id),
                index=outcome.index,
                reason=outcome.reason,
            )

    async def _shelf_for(self, turn: KeepTurn) -> Shelf:
        """An account with a base URL of its own may keep its results on that host."""
        base_url = await self._pool.fetchval(
            "select base_url from accounts where id = $1", turn.account_id
        )
        return replace(self._shelf, hosts=self._shelf.hosts.plus(urlsplit(base_url).netloc))

    async def _load(self, turn: KeepTurn) -> list[WaitingPicture]:
        rows = await self._pool.fetch(
            "select index, source_url, source_expires_at from pictures"
            " where job_id = $1 and status = 'upstream' order by index",
            turn.fence.job_id,
        )
        return [
            WaitingPicture(row["index"], row["source_url"], row["source_expires_at"])
            for row in rows
        ]


def find_retry_seconds(age: timedelta) -> float:
    """When to try again what could not be kept: soon after its end, ever more seldom later."""
    half = age.total_seconds() / 2
    return min(max(half, SHORTEST_RETRY_SECONDS), LONGEST_RETRY_SECONDS)


async def _hold(connection: Connection, turn: KeepTurn) -> None:
    held: datetime | None = await connection.fetchval(
        "select lease_expires_at from job_runs where job_id = $1 and lease_token = $2 for update",
        turn.fence.job_id,
        turn.lease_token,
    )
    if held is None:
        raise StaleRun


async def _write(connection: Connection, turn: KeepTurn, outcome: Kept | Lost | NotYet) -> None:
    job_id = turn.fence.job_id
    match outcome:
        case Kept(index, store_key, facts):
            await connection.execute(
                _KEEP,
                job_id,
                index,
                store_key,
                bytes.fromhex(facts.sha256),
                facts.content_type,
                facts.bytes,
                facts.width,
                facts.height,
            )
            await write_event(
                connection, job_id, "picture.kept", {"index": index, "bytes": facts.bytes}
            )
        case Lost(index, reason):
            await connection.execute(_LOSE, job_id, index, LOST_CODE, reason)
            await write_event(
                connection, job_id, "picture.lost", {"index": index, "reason": reason}
            )
            log.error("picture.lost", job_id=str(job_id), index=index, reason=reason)
        case NotYet(index, code, reason):
            await record(connection, turn.fence, Flag(code, f"picture {index}: {reason}"))


async def _end_job(connection: Connection, turn: KeepTurn) -> None:
    kept = await connection.fetchval(
        "select count(*) from pictures where job_id = $1 and status = 'kept'", turn.fence.job_id
    )
    if kept:
        await end(connection, turn.fence, JobStatus.SUCCEEDED)
    else:
        reason = "the upstream made pictures, and none could be kept before they expired"
        await end(connection, turn.fence, JobStatus.FAILED, error=(LOST_CODE, reason))


_KEEP = """
update pictures set status = 'kept', store_key = $3, sha256 = $4, content_type = $5,
    byte_count = $6, width = $7, height = $8, kept_at = now(), source_url = null
where job_id = $1 and index = $2 and status = 'upstream'
"""

_LOSE = """
update pictures set status = 'failed', error_code = $3, error_message = $4, source_url = null
where job_id = $1 and index = $2 and status = 'upstream'
"""
