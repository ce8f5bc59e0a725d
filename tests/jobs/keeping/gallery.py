"""Pictures on a real socket, hands that keep them, and jobs whose tasks have ended."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from app.jobs.keeping.collect import Shelf
from app.jobs.keeping.keep import PATIENCE_SECONDS, Keeper
from app.jobs.lifecycle import Fence
from app.jobs.store import JobRecord
from app.kit.clock import utc_now
from app.kit.postgres.database import Pool
from app.media.fetch import ResultHosts, make_http_client
from app.media.store import PictureStore
from tests.jobs.scene import Scene, ended_with
from tests.media.images import make_noise
from tests.media.wire import Request, Wire, reply
from tests.waiting import wait_until

RED, BLUE = make_noise(seed=1, width=64, height=64), make_noise(seed=2, width=64, height=64)
DAY = timedelta(hours=24)


@dataclass
class Gallery:
    """Pictures by path, and what is to happen to those who ask for them."""

    pictures: dict[str, bytes] = field(default_factory=dict)
    statuses: dict[str, str] = field(default_factory=dict)
    stuck: set[str] = field(default_factory=set)
    """Names of pictures that do not come while the gate is shut."""
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    under_way: int = 0
    most_under_way: int = 0
    wire: Wire = field(init=False)

    def __post_init__(self) -> None:
        self.gate.set()

    async def answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        if not self.stuck or request.target[1:] in self.stuck:
            await self.gate.wait()
        self.under_way -= 1
        status = self.statuses.get(request.target, "200 OK")
        writer.write(reply(status, self.pictures.get(request.target, b"")))

    def hang(self, name: str, content: bytes) -> str:
        """The picture's URL."""
        self.pictures[f"/{name}"] = content
        return f"http://{self.wire.host}/{name}"

    @property
    def asked_for(self) -> list[str]:
        return [request.target[1:] for request in self.wire.requests]

    def count_requests(self, name: str) -> int:
        return self.asked_for.count(name)


@dataclass(frozen=True)
class Hand:
    """One process that keeps pictures."""

    keeper: Keeper
    scene: Scene

    async def keep_all(self) -> None:
        """Whatever may be claimed now, to its end."""
        while await self.keeper.step():
            pass
        await self.keeper.drain(seconds=20)

    async def retry(self) -> None:
        """As if the pause before the next try were over."""
        await self.scene.pool.execute("update job_runs set due_at = now()")
        await self.keep_all()

    async def retry_until_ended(self, fence: Fence) -> JobRecord:
        async def has_ended() -> bool:
            await self.retry()
            return await self.scene.run_of(fence.job_id) is None

        await wait_until(has_ended)
        return await self.scene.get(fence.job_id)


@asynccontextmanager
async def keeping_hand(
    scene: Scene,
    store: PictureStore,
    *hosts: str,
    concurrency: int = 8,
    patience_seconds: float = PATIENCE_SECONDS,
    pool: "Pool | None" = None,
) -> AsyncIterator[Hand]:
    async with make_http_client() as downloads:
        keeper = Keeper(
            pool or scene.pool,
            Shelf(downloads, ResultHosts().plus(*hosts), store),
            concurrency=concurrency,
            patience_seconds=patience_seconds,
        )
        yield Hand(keeper, scene)
        await keeper.drain(seconds=0)


async def ended(scene: Scene, *urls: str | None, age: timedelta = timedelta(0)) -> Fence:
    """A job whose task ended that long ago."""
    fence = await scene.running(f"task-{urls}", n=len(urls))
    await scene.decide(fence, ended_with(*urls, ended_at=utc_now() - age))
    return fence
