"""Measure 8: how much bigger a worker is for the jobs that are in flight."""

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import repeat
from uuid import UUID

from app.bench.effort import Effort
from app.bench.figures import Figure, Goal, Yardstick
from app.bench.rig.arena import Arena
from app.bench.rig.children import Child, start_child
from app.bench.rig.crowd import KEY_PREFIX, Crowd, running_crowd
from app.bench.rig.gateway import SECRET, make_environment
from app.bench.rig.loads import queue_jobs, send_out
from app.bench.rig.seats import add_account, add_team
from app.kit.crypto import Vault
from app.kit.postgres.database import Sessions, make_engine, make_sessions, open_pool

MEGABYTE = 1_000_000
GOAL_BYTES_PER_JOB = 600
"""60 MB at 100,000 jobs in flight."""
SAMPLE_SECONDS = 0.1
PATIENCE_SECONDS = 60.0


class NotWatched(RuntimeError):
    """The worker never asked for its tasks: its size would say nothing."""


@dataclass(frozen=True, slots=True)
class Flight:
    """How many jobs run on how many accounts, and how long the worker is looked at."""

    accounts: int
    each: int
    seconds: float

    @property
    def jobs(self) -> int:
        return self.accounts * self.each


async def measure_memory(arena: Arena, effort: Effort) -> list[Figure]:
    if effort is Effort.QUICK:
        return await compare_sizes(arena, Flight(accounts=20, each=1_000, seconds=8.0))
    return await compare_sizes(arena, Flight(accounts=100, each=1_000, seconds=30.0))


async def compare_sizes(arena: Arena, flight: Flight) -> list[Figure]:
    """A worker with the same accounts and no job, then one with all of them running."""
    empty = await _find_peak_bytes(arena, flight, has_jobs=False)
    full = await _find_peak_bytes(arena, flight, has_jobs=True)
    return [
        Figure(
            number="8",
            measure=f"worker memory growth, {flight.jobs:,} jobs in flight",
            result=(full - empty) / MEGABYTE,
            unit="MB",
            goal=Goal(high=GOAL_BYTES_PER_JOB * flight.jobs / MEGABYTE),
            yardstick=Yardstick("worker without jobs", empty / MEGABYTE),
            note=(
                f"largest resident size within {flight.seconds:g} s, {flight.accounts} accounts "
                "either way"
            ),
        )
    ]


async def _find_peak_bytes(arena: Arena, flight: Flight, *, has_jobs: bool) -> int:
    async with AsyncExitStack() as stack:
        database_url = await stack.enter_async_context(arena.database())
        folder = arena.make_folder(database_url)
        crowd = await stack.enter_async_context(running_crowd(folder, each=flight.each))
        engine = make_engine(database_url)
        stack.push_async_callback(engine.dispose)
        account_ids = await _add_accounts(make_sessions(engine), crowd, flight.accounts)
        if has_jobs:
            await _fill(database_url, make_sessions(engine), account_ids, flight)
        environment = make_environment(database_url, folder, scale=1.0)
        worker = start_child("worker", "app", "work", folder=folder, environment=environment)
        stack.push_async_callback(worker.stop)
        expected_calls = flight.accounts if has_jobs else 0
        return await _watch(worker, flight.seconds, crowd, expected_calls)


async def _add_accounts(sessions: Sessions, crowd: Crowd, count: int) -> list[UUID]:
    vault = Vault((SECRET,))
    return [
        await add_account(
            sessions,
            vault,
            base_url=crowd.base_url,
            name=f"crowd-{number}",
            api_key=f"{KEY_PREFIX}{number}",
            max_running=1_000,
        )
        for number in range(count)
    ]


async def _fill(
    database_url: str, sessions: Sessions, account_ids: list[UUID], flight: Flight
) -> None:
    seat = await add_team(sessions, Vault((SECRET,)), "crowd")
    pool = await open_pool(database_url, max_size=2)
    try:
        await queue_jobs(pool, repeat(seat, flight.jobs))
        await send_out(pool, account_ids, each=flight.each)
    finally:
        await pool.close()


async def _watch(worker: Child, seconds: float, crowd: Crowd, expected_calls: int) -> int:
    """The largest resident size until it has asked that often, and for that time at least."""
    peak, began = 0, time.monotonic()
    while time.monotonic() < began + seconds or await crowd.count_calls() < expected_calls:
        if time.monotonic() > began + seconds + PATIENCE_SECONDS:
            raise NotWatched("\n".join(worker.tail()))
        worker.check()
        peak = max(peak, worker.resident_bytes)
        await asyncio.sleep(SAMPLE_SECONDS)
    return peak
