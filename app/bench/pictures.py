"""Measure 6: how fast one process brings pictures home, checked and synced."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import httpx

from app.bench.effort import Effort
from app.bench.figures import Figure, Goal, Yardstick, spread
from app.bench.rig.arena import Arena
from app.bench.rig.picture_host import running_picture_host
from app.jobs.keeping.collect import Kept, Shelf, WaitingPicture, collect_picture
from app.kit.clock import utc_now
from app.media.fetch import ResultHosts, make_http_client
from app.media.store import open_store

CONCURRENCY = 8
"""The default of DASHGATE_DOWNLOAD_CONCURRENCY."""
MEGABYTE = 1_000_000


class NotKept(RuntimeError):
    """A picture was not kept, so that its bytes would be counted wrongly."""


async def measure_pictures(arena: Arena, effort: Effort) -> list[Figure]:
    rounds, pictures = (3, 50) if effort is Effort.QUICK else (5, 250)
    return await compare_stores(arena.folder, rounds=rounds, pictures=pictures)


async def compare_stores(folder: Path, *, rounds: int, pictures: int) -> list[Figure]:
    """Keeping and plain writing by turns, so that both meet the same machine."""
    kept_rates: list[float] = []
    raw_rates: list[float] = []
    async with (
        running_picture_host(folder) as host,
        make_http_client(connections=CONCURRENCY * 2) as client,
    ):
        content = (await client.get(f"http://{host}/0.png")).content
        for _ in range(rounds):
            with TemporaryDirectory(dir=folder) as place:
                raw_rates.append(await _time_raw(Path(place), content, pictures))
            with TemporaryDirectory(dir=folder) as place:
                kept_rates.append(await _time_keeping(Path(place), host, client, pictures))
    return [
        Figure(
            number="6",
            measure="storing pictures, checked and synced",
            result=median(kept_rates),
            unit="MB/s",
            goal=Goal(low=200),
            yardstick=Yardstick("raw disk", median(raw_rates)),
            note=(
                f"{rounds} rounds of {pictures} pictures of {len(content) / MEGABYTE:.1f} MB, "
                f"{CONCURRENCY} at a time; spread {spread(kept_rates):.0%}, of the raw disk "
                f"{spread(raw_rates):.0%}"
            ),
        )
    ]


async def _time_keeping(folder: Path, host: str, client: httpx.AsyncClient, count: int) -> float:
    shelf = Shelf(client, ResultHosts.of([host]), open_store(folder.as_uri()))
    expires_at = utc_now() + timedelta(hours=1)

    async def keep(number: int) -> int:
        waiting = WaitingPicture(0, f"http://{host}/{number}.png", expires_at)
        outcome = await collect_picture(shelf, waiting)
        if not isinstance(outcome, Kept):
            raise NotKept(outcome.reason)
        return outcome.facts.bytes

    return await _time(keep, range(count))


async def _time_raw(folder: Path, content: bytes, count: int) -> float:
    """Write, sync and rename in as many threads as pictures are kept at a time."""

    async def write(number: int) -> int:
        await asyncio.to_thread(_write_synced, folder / str(number), content)
        return len(content)

    return await _time(write, range(count))


def _write_synced(path: Path, content: bytes) -> None:
    draft = path.with_suffix(".draft")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)


async def _time(work: Callable[[int], Awaitable[int]], numbers: Sequence[int]) -> float:
    """Megabytes a second of the work on all numbers, CONCURRENCY at a time."""
    turns = iter(numbers)

    async def take_turns() -> int:
        return sum([await work(number) for number in turns])

    began = time.perf_counter()
    counts = await asyncio.gather(*(take_turns() for _ in range(CONCURRENCY)))
    return sum(counts) / MEGABYTE / (time.perf_counter() - began)
