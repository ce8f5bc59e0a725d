"""The keeping of finished jobs' pictures: claim, collect side by side, record, end the job."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeVar
from urllib.parse import urlsplit

import structlog

from app.jobs.keeping.collect import (
    NOT_FETCHED,
    NOT_KEPT,
    STORE_TROUBLE,
    Kept,
    Lost,
    NotYet,
    Shelf,
    WaitingPicture,
    collect_picture,
)
from app.jobs.keeping.turns import (
    KEEP_LEASE_SECONDS,
    KeepTurn,
    claim_kept,
    end_turn,
    find_rivals,
    load_waiting,
    release_lease,
    renew_leases,
)
from app.jobs.moves import StaleRun
from app.jobs.moves.pictures import keep_pictures
from app.kit.background.loop import run_loop
from app.kit.faultpoints import faultpoint
from app.kit.postgres.database import CONNECTION_TROUBLE, Connection, Pool, transaction
from app.media.health import StoreHealth

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

T = TypeVar("T")

PICTURES_PER_JOB = 4
"""As many as one job may have; all of them are fetched at once."""
PATIENCE_SECONDS = 5.0
"""A job at work for longer gives way to one that is closer to its end."""
RECORD_RETRY_SECONDS = 0.5
ROOM_SECONDS = 1.0
"""How long to wait for room before looking whether to stop."""
TROUBLED_SHARE = 0.75
"""Of the places, for jobs that were tried in vain: they never hold up all others."""
GAVE_WAY = "it came slowly, and gave way to pictures that are closer to their end"


@dataclass(eq=False, slots=True)
class Work:
    """A job in hand."""

    turn: KeepTurn
    begun_at: float
    limits: set[asyncio.Timeout] = field(default_factory=set)

    def give_way(self) -> None:
        """Stop what is still under way, as if it had failed."""
        for limit in self.limits:
            limit.reschedule(self.begun_at)
        self.limits.clear()


class Keeper:
    """Keeps pictures of up to `concurrency` jobs at once, under leases it renews."""

    def __init__(
        self,
        pool: Pool,
        shelf: Shelf,
        *,
        concurrency: int,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._pool = pool
        self._shelf = shelf
        self._concurrency = concurrency
        self._troubled_places = max(1, int(concurrency * TROUBLED_SHARE))
        self._patience_seconds = patience_seconds
        self._store = StoreHealth()
        self._works: dict[asyncio.Task[None], Work] = {}

    async def step(self) -> bool:
        """Claim as many finished jobs as there is room for; a loop's step."""
        now = asyncio.get_running_loop().time()
        works = self._works.values()
        troubled_room = self._troubled_places - sum(work.turn.is_troubled for work in works)
        if len(works) >= self._concurrency:
            await self._make_way(now, is_troubled_full=troubled_room <= 0)
        room = self._store.take_room(self._concurrency - len(works), now)
        if room <= 0:
            return await self._wait_for_room()
        async with transaction(self._pool) as connection:
            turns = await claim_kept(connection, limit=room, troubled_limit=troubled_room)
        for turn in turns:
            work = Work(turn, asyncio.get_running_loop().time())
            task = asyncio.create_task(self._keep_job(work))
            self._works[task] = work
            task.add_done_callback(self._works.pop)
        return bool(turns)

    async def renew(self) -> None:
        """Renew the leases of what is being kept, until cancelled."""
        await run_loop(
            self._renew_once,
            name="renew leases",
            stop=asyncio.Event(),
            idle_seconds=KEEP_LEASE_SECONDS / 3,
        )

    async def drain(self, *, seconds: float) -> None:
        """Wait that long for what is being kept; give back what is not done by then."""
        if not self._works:
            return
        _, late = await asyncio.wait(self._works, timeout=seconds)
        turns = [self._works[task].turn for task in late]
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        with suppress(*CONNECTION_TROUBLE):
            async with transaction(self._pool) as connection:
                for turn in turns:
                    await release_lease(connection, turn, due_in_seconds=0)

    async def _make_way(self, now: float, *, is_troubled_full: bool) -> None:
        slow = [
            work
            for work in self._works.values()
            if work.limits and now - work.begun_at >= self._patience_seconds
        ]
        if not slow:
            return
        calm_at, troubled_at = await find_rivals(self._pool)
        yielding = find_yielding(slow, calm_at)
        if yielding is None:
            # A troubled job takes the place of another troubled one when their share is used up.
            rivals = [work for work in slow if work.turn.is_troubled or not is_troubled_full]
            yielding = find_yielding(rivals, troubled_at)
        if yielding is not None:
            log.info("pictures.gave_way", job_id=str(yielding.turn.fence.job_id))
            yielding.give_way()

    async def _wait_for_room(self) -> bool:
        if not self._works:
            return False
        await asyncio.wait(self._works, timeout=ROOM_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        return True

    async def _renew_once(self) -> bool:
        tokens = [work.turn.lease_token for work in self._works.values()]
        if tokens:
            async with transaction(self._pool) as connection:
                await renew_leases(connection, tokens)
        return False

    async def _keep_job(self, work: Work) -> None:
        job_id = str(work.turn.fence.job_id)
        try:
            await self._keep(work)
        except CONNECTION_TROUBLE as error:
            log.warning("pictures.database_lost", job_id=job_id, error=type(error).__name__)
        except StaleRun:
            log.warning("run.stale_news_dropped", job_id=job_id)
        except Exception:
            log.exception("pictures.keeping_failed", job_id=job_id)

    async def _keep(self, work: Work) -> None:
        turn = work.turn
        waiting = await load_waiting(self._pool, turn)
        shelf = await self._shelf_for(turn)
        ends = await asyncio.gather(
            *(self._keep_picture(work, shelf, picture) for picture in waiting),
            return_exceptions=True,
        )
        told = [
            (picture, _to_outcome(turn, picture, end))
            for picture, end in zip(waiting, ends, strict=True)
        ]
        faultpoint("keep.before_end")
        judged = await self._surely(lambda connection: end_turn(connection, turn, told))
        faultpoint("keep.after_end")
        _log_failures(turn, judged)

    async def _keep_picture(
        self, work: Work, shelf: Shelf, picture: WaitingPicture
    ) -> Kept | Lost | NotYet:
        outcome: Kept | Lost | NotYet
        try:
            async with asyncio.timeout(None) as limit:
                work.limits.add(limit)
                outcome = await collect_picture(shelf, picture)
                work.limits.discard(limit)
        except TimeoutError:
            outcome = NotYet(picture.index, NOT_FETCHED, GAVE_WAY)
        match outcome:
            case Kept(_, key, facts):
                self._note_store_health(None)
                await self._surely(
                    lambda connection: keep_pictures(
                        connection, work.turn.fence, picture.places, key=key, facts=facts
                    )
                )
            case NotYet(_, code, reason) if code == STORE_TROUBLE:
                self._note_store_health(reason)
        return outcome

    def _note_store_health(self, trouble: str | None) -> None:
        was_ill = self._store.is_ill
        if trouble is not None:
            self._store.note_trouble(asyncio.get_running_loop().time())
        else:
            self._store.note_success()
        if self._store.is_ill and not was_ill:
            log.error("store.unavailable", reason=trouble)
        elif was_ill and not self._store.is_ill:
            log.info("store.available_again")

    async def _surely(self, write: Callable[[Connection], Awaitable[T]]) -> T:
        """Write once the database can be reached: what is in hand may be gone upstream by then."""
        while True:
            try:
                async with transaction(self._pool) as connection:
                    return await write(connection)
            except CONNECTION_TROUBLE as error:
                log.warning("record.waiting_for_database", error=type(error).__name__)
                await asyncio.sleep(RECORD_RETRY_SECONDS)

    async def _shelf_for(self, turn: KeepTurn) -> Shelf:
        """An account with a base URL of its own may keep its results on that host."""
        base_url = await self._pool.fetchval(
            "select base_url from accounts where id = $1", turn.account_id
        )
        return replace(self._shelf, hosts=self._shelf.hosts.plus(urlsplit(base_url).netloc))


def find_yielding(slow: Iterable[Work], rival_at: datetime | None) -> Work | None:
    """The one furthest from its end, if the rival that waits is closer to its own."""
    furthest = max(slow, key=lambda work: work.turn.expires_at, default=None)
    if furthest is None or rival_at is None or furthest.turn.expires_at <= rival_at:
        return None
    return furthest


def _to_outcome(
    turn: KeepTurn, picture: WaitingPicture, end: Kept | Lost | NotYet | BaseException
) -> Kept | Lost | NotYet:
    """An error of ours is one picture's trouble: it is told, tried again, and bounded in time."""
    if not isinstance(end, BaseException):
        return end
    if isinstance(end, (*CONNECTION_TROUBLE, StaleRun)) or not isinstance(end, Exception):
        raise end
    log.error("pictures.keeping_failed", job_id=str(turn.fence.job_id), exc_info=end)
    reason = f"an error in the gateway, {type(end).__name__}: its log tells more"
    return NotYet(picture.index, NOT_KEPT, reason)


def _log_failures(turn: KeepTurn, outcomes: Iterable[Kept | Lost | NotYet]) -> None:
    about = log.bind(job_id=str(turn.fence.job_id))
    for outcome in outcomes:
        match outcome:
            case NotYet(index, _, reason):
                about.warning("picture.not_kept_yet", index=index, reason=reason)
            case Lost(index, reason):
                about.error("picture.lost", index=index, reason=reason)
