"""The conductor: while this process leads, every account's lanes and tasks are looked after."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import structlog

from app.accounts.directory import UpstreamAccount, load_accounts
from app.dashscope.client import DashScope, UpstreamHttp
from app.dashscope.outcomes import CallCounts
from app.dashscope.sending import CREATE_BYTES_LIMIT
from app.dashscope.upstream_clock import UpstreamClock
from app.jobs.core.state import Rules
from app.jobs.engine.dispatch import LaneDesk, Nudges, work_lane
from app.jobs.engine.follow import AccountDesk, Patience, follow_account
from app.jobs.engine.judge import Judge
from app.jobs.engine.reconcile import resolve_doubts, resolve_reviews
from app.jobs.engine.strays import find_late_tasks, settle_orphans
from app.jobs.engine.submit import ReadInput
from app.jobs.engine.watch import AccountView
from app.jobs.events import ACCEPTED, QUEUE_CHANGED, TASK_HINTED
from app.kit.background.chores import Apart, count_failures
from app.kit.background.loop import run_loop, wait_for_any
from app.kit.background.pace import Pace
from app.kit.crypto import Vault
from app.kit.postgres.database import CONNECTION_TROUBLE, Pool
from app.kit.postgres.listener import Listener

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

CONDUCTOR_LOCK = 0x6461_7368_0002
REFRESH_SECONDS = 1.0
DOUBT_SECONDS = 1.0
LONGEST_STRAY_SECONDS = 30.0
MODEL_PAUSE_SECONDS = 5.0
"""At most, for a model at which a whole look has failed."""
UNKNOWN_SECONDS = 120.0
LOOKS_APART_SECONDS = 5.0
PACE_MARGIN = 0.95
"""Share of the upstream's query limits that is used."""


@dataclass(frozen=True, slots=True)
class Timings:
    """The engine's times; seconds throughout."""

    prepare_seconds: float
    submit_timeout_seconds: float
    settle_seconds: float
    watch_interval_seconds: float
    review_seconds: float
    lost_seconds: float
    stale_list_seconds: float
    slowest_upload_kbps: float

    @property
    def slowest_bytes_per_second(self) -> float:
        return self.slowest_upload_kbps * 1000 / 8

    @property
    def send_seconds(self) -> float:
        """How long the largest create may take to connect and to be written."""
        return self.submit_timeout_seconds + CREATE_BYTES_LIMIT / self.slowest_bytes_per_second

    def to_rules(self) -> Rules:
        out = self.prepare_seconds + self.send_seconds
        whole = out + self.submit_timeout_seconds + self.settle_seconds
        return Rules(
            settle=timedelta(seconds=whole),
            review_after=timedelta(seconds=max(self.review_seconds, whole)),
            lost_after=timedelta(seconds=self.lost_seconds),
            unknown_patience=timedelta(seconds=min(UNKNOWN_SECONDS, self.lost_seconds / 2)),
            stale_after=timedelta(seconds=self.stale_list_seconds),
            looks_apart=timedelta(seconds=min(LOOKS_APART_SECONDS, self.settle_seconds / 2)),
        )


@dataclass(frozen=True, slots=True)
class Orchestra:
    """What conducting needs: the database, the way upstream, the inputs."""

    pool: Pool
    listener: Listener
    vault: Vault
    queries: UpstreamHttp
    creates: UpstreamHttp
    read_input: ReadInput
    timings: Timings
    models: Sequence[str]
    calls: CallCounts = field(default_factory=CallCounts)


class Conductor:
    """Starts and ends the loops of each account as accounts come, change and go."""

    def __init__(self, orchestra: Orchestra) -> None:
        self._orchestra = orchestra
        self._sections: dict[UUID, Section] = {}
        self._leaving: dict[UUID, asyncio.Task[None]] = {}
        self._apart = Apart("accounts")

    async def conduct(self, ending: asyncio.Event) -> None:
        """Look after all accounts until `ending`; returns when every loop has come to rest."""
        orchestra = self._orchestra
        try:
            while not ending.is_set():
                try:
                    await self._arrange(await load_accounts(orchestra.pool, orchestra.vault))
                except CONNECTION_TROUBLE as error:
                    log.warning("conductor.database_lost", error=type(error).__name__)
                except Exception:
                    log.exception("conductor.step_failed")
                await self._tell_calls()
                await wait_for_any(ending, seconds=REFRESH_SECONDS)
        finally:
            self._dismiss(list(self._sections))
            await asyncio.gather(*self._leaving.values(), return_exceptions=True)

    async def _tell_calls(self) -> None:
        """Add to the table what has been called since; what cannot be added is kept."""
        taken = self._orchestra.calls.take()
        if not taken:
            return
        try:
            await self._orchestra.pool.executemany(_ADD_CALLS, taken)
        except CONNECTION_TROUBLE:
            self._orchestra.calls.put_back(taken)

    async def _arrange(self, accounts: Sequence[UpstreamAccount]) -> None:
        """An account whose loops still end what they have begun holds up no other."""
        current = {account.id: account for account in accounts}
        self._dismiss(
            [
                account_id
                for account_id, section in self._sections.items()
                if current.get(account_id) != section.account
            ]
        )
        self._leaving = {
            account_id: rest for account_id, rest in self._leaving.items() if not rest.done()
        }
        new = [
            account
            for account in accounts
            if account.id not in self._sections and account.id not in self._leaving
        ]
        await self._apart.each(new, self._take_up, key=lambda account: account.id)
        await count_failures(self._orchestra.pool, self._apart)

    async def _take_up(self, account: UpstreamAccount) -> None:
        await _ensure_paces(self._orchestra, account)
        self._sections[account.id] = Section(self._orchestra, account)
        log.info("account.taken_up", account=account.name, lanes=len(account.lanes))

    def _dismiss(self, account_ids: Sequence[UUID]) -> None:
        for account_id in account_ids:
            section = self._sections.pop(account_id)
            section.stop.set()
            self._leaving[account_id] = asyncio.create_task(section.rest())


class Section:
    """The loops of one account."""

    def __init__(self, orchestra: Orchestra, account: UpstreamAccount) -> None:
        self.account = account
        self.stop = asyncio.Event()
        self._tasks = [asyncio.create_task(loop) for loop in self._loops(orchestra)]

    async def rest(self) -> None:
        """Wait for the loops, each of which ends what it has begun."""
        for ended in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                log.error("account.loop_ended", account=self.account.name, exc_info=ended)

    def _loops(self, orchestra: Orchestra) -> Iterator[Coroutine[Any, Any, None]]:
        account, timings = self.account, orchestra.timings
        clock = UpstreamClock()
        clients = [
            DashScope(
                account.base_url,
                lane.api_key,
                orchestra.queries,
                orchestra.creates,
                slowest_bytes_per_second=timings.slowest_bytes_per_second,
                clock=clock,
                calls=orchestra.calls,
            )
            for lane in account.lanes
        ]
        if not clients:
            return
        rate = account.query_rate * PACE_MARGIN
        desk = AccountDesk(
            judge=Judge(orchestra.pool, timings.to_rules()),
            account_id=account.id,
            view=AccountView(clients[0], Pace(rate), Pace(rate), tuple(clients[1:])),
        )
        yield self._follow_loop(orchestra, desk)
        yield self._round_loop("doubts", resolve_doubts, desk, orchestra, DOUBT_SECONDS)
        stray_seconds = min(LONGEST_STRAY_SECONDS, timings.settle_seconds / 2 + DOUBT_SECONDS)
        yield self._round_loop("reviews", resolve_reviews, desk, orchestra, stray_seconds)
        yield self._round_loop("orphans", settle_orphans, desk, orchestra, stray_seconds)
        yield self._round_loop("late", find_late_tasks, desk, orchestra, stray_seconds)
        if account.state == "active":
            for lane, upstream in zip(account.lanes, clients, strict=True):
                yield self._lane_loop(
                    orchestra,
                    LaneDesk(
                        judge=desk.judge,
                        account=account,
                        lane=lane,
                        upstream=upstream,
                        read_input=orchestra.read_input,
                        prepare_seconds=timings.prepare_seconds,
                        send_seconds=timings.send_seconds,
                        submit_timeout_seconds=timings.submit_timeout_seconds,
                    ),
                )

    async def _follow_loop(self, orchestra: Orchestra, desk: AccountDesk) -> None:
        with orchestra.listener.subscribed(TASK_HINTED, str(desk.account_id)) as hint:
            await run_loop(
                partial(
                    follow_account,
                    desk,
                    orchestra.models,
                    Patience(orchestra.timings.watch_interval_seconds, self.stop, hint),
                ),
                name=f"follow {self.account.name}",
                stop=self.stop,
            )

    async def _round_loop(
        self,
        name: str,
        look: Callable[[AccountDesk, str], Awaitable[bool]],
        desk: AccountDesk,
        orchestra: Orchestra,
        seconds: float,
    ) -> None:
        models = Apart(name, longest_pause_seconds=MODEL_PAUSE_SECONDS)

        async def look_at_all() -> bool:
            await models.each(orchestra.models, partial(look, desk))
            await count_failures(desk.pool, models, *desk.works.values())
            return False

        await run_loop(
            look_at_all, name=f"{name} {self.account.name}", stop=self.stop, idle_seconds=seconds
        )

    async def _lane_loop(self, orchestra: Orchestra, desk: LaneDesk) -> None:
        with (
            orchestra.listener.subscribed(QUEUE_CHANGED) as freed,
            orchestra.listener.subscribed(QUEUE_CHANGED, ACCEPTED) as accepted,
        ):
            nudges = Nudges(freed, accepted)
            await run_loop(
                partial(work_lane, desk, orchestra.models, stop=self.stop, nudges=nudges),
                name=f"lane {desk.account.name}",
                stop=self.stop,
            )


async def _ensure_paces(orchestra: Orchestra, account: UpstreamAccount) -> None:
    await orchestra.pool.executemany(
        "insert into account_paces (account_id, model) values ($1, $2) on conflict do nothing",
        [(account.id, model) for model in orchestra.models],
    )


_ADD_CALLS = """
insert into upstream_calls (call, answer, calls) values ($1, $2, $3)
on conflict (call, answer) do update set calls = upstream_calls.calls + excluded.calls
"""
