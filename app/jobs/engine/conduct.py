"""The conductor: while this process leads, every account's lanes and tasks are looked after."""

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import structlog

from app.accounts.directory import UpstreamAccount, load_accounts
from app.dashscope.client import DashScope, UpstreamHttp
from app.jobs.engine.dispatch import PREPARE_SECONDS, LaneDesk, work_lane
from app.jobs.engine.follow import AccountDesk, follow_running, resolve_doubts
from app.jobs.engine.submit import ReadInput
from app.jobs.engine.watch import AccountView
from app.jobs.events import QUEUE_CHANGED
from app.kit.clock import Clock
from app.kit.crypto import Vault
from app.kit.loop import run_loop, wait_for_any
from app.kit.pace import Pace
from app.kit.postgres.database import CONNECTION_TROUBLE, Pool
from app.kit.postgres.listener import Listener

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

CONDUCTOR_LOCK = 0x6461_7368_0002
REFRESH_SECONDS = 1.0
DOUBT_SECONDS = 1.0
PACE_MARGIN = 0.95
"""Share of the upstream's query limits that is used."""


@dataclass(frozen=True, slots=True)
class Timings:
    """The engine's times; seconds throughout."""

    submit_timeout_seconds: float
    settle_seconds: float
    watch_interval_seconds: float


@dataclass(frozen=True, slots=True)
class Orchestra:
    """What conducting needs: the database, the way upstream, the inputs."""

    pool: Pool
    listener: Listener
    vault: Vault
    queries: UpstreamHttp
    creates: UpstreamHttp
    read_input: ReadInput
    clock: Clock
    timings: Timings
    models: Sequence[str]


class Conductor:
    """Starts and ends the loops of each account as accounts come, change and go."""

    def __init__(self, orchestra: Orchestra) -> None:
        self._orchestra = orchestra
        self._sections: dict[UUID, Section] = {}

    async def conduct(self, ending: asyncio.Event) -> None:
        """Look after all accounts until `ending`; returns when every loop has come to rest."""
        orchestra = self._orchestra
        try:
            while not ending.is_set():
                try:
                    await self._arrange(await load_accounts(orchestra.pool, orchestra.vault))
                except CONNECTION_TROUBLE as error:
                    log.warning("conductor.database_lost", error=type(error).__name__)
                await wait_for_any(ending, seconds=REFRESH_SECONDS)
        finally:
            await self._dismiss(list(self._sections))

    async def _arrange(self, accounts: Sequence[UpstreamAccount]) -> None:
        current = {account.id: account for account in accounts}
        await self._dismiss(
            [
                account_id
                for account_id, section in self._sections.items()
                if current.get(account_id) != section.account
            ]
        )
        for account in accounts:
            if account.id not in self._sections:
                await _ensure_paces(self._orchestra, account)
                self._sections[account.id] = Section(self._orchestra, account)
                log.info("account.taken_up", account=account.name, lanes=len(account.lanes))

    async def _dismiss(self, account_ids: Sequence[UUID]) -> None:
        sections = [self._sections.pop(account_id) for account_id in account_ids]
        for section in sections:
            section.stop.set()
        await asyncio.gather(*(section.rest() for section in sections))


class Section:
    """The loops of one account."""

    def __init__(self, orchestra: Orchestra, account: UpstreamAccount) -> None:
        self.account = account
        self.stop = asyncio.Event()
        self._tasks = [asyncio.create_task(loop) for loop in self._loops(orchestra)]

    async def rest(self) -> None:
        """Wait for the loops, each of which ends what it has begun."""
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*self._tasks)

    def _loops(self, orchestra: Orchestra) -> Iterator[Coroutine[Any, Any, None]]:
        account, timings = self.account, orchestra.timings
        clients = [
            DashScope(account.base_url, lane.api_key, orchestra.queries, orchestra.creates)
            for lane in account.lanes
        ]
        if not clients:
            return
        rate = account.query_rate * PACE_MARGIN
        desk = AccountDesk(
            pool=orchestra.pool,
            account_id=account.id,
            view=AccountView(clients[0], Pace(rate), Pace(rate)),
            clock=orchestra.clock,
            settle=timedelta(
                seconds=PREPARE_SECONDS + timings.submit_timeout_seconds + timings.settle_seconds
            ),
        )
        yield run_loop(
            partial(follow_running, desk, orchestra.models),
            name=f"follow {account.name}",
            stop=self.stop,
            idle_seconds=timings.watch_interval_seconds,
        )
        yield run_loop(
            partial(resolve_doubts, desk, orchestra.models),
            name=f"doubts {account.name}",
            stop=self.stop,
            idle_seconds=DOUBT_SECONDS,
        )
        if account.state == "active":
            for lane, upstream in zip(account.lanes, clients, strict=True):
                yield self._lane_loop(
                    orchestra,
                    LaneDesk(
                        pool=orchestra.pool,
                        account=account,
                        lane=lane,
                        upstream=upstream,
                        read_input=orchestra.read_input,
                        submit_timeout_seconds=timings.submit_timeout_seconds,
                    ),
                )

    async def _lane_loop(self, orchestra: Orchestra, desk: LaneDesk) -> None:
        with orchestra.listener.subscribed(QUEUE_CHANGED) as nudge:
            await run_loop(
                partial(work_lane, desk, orchestra.models, stop=self.stop, nudge=nudge),
                name=f"lane {desk.account.name}",
                stop=self.stop,
            )


async def _ensure_paces(orchestra: Orchestra, account: UpstreamAccount) -> None:
    await orchestra.pool.executemany(
        "insert into account_paces (account_id, model) values ($1, $2) on conflict do nothing",
        [(account.id, model) for model in orchestra.models],
    )
