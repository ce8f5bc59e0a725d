"""A whole gateway to measure: API and workers as real processes over a scaled upstream."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from app.bench.rig.answering import HOST
from app.bench.rig.arena import Arena
from app.bench.rig.children import Child, start_child
from app.bench.rig.orders import send_orders
from app.bench.rig.seats import Seat, add_account, add_team
from app.bench.rig.upstream import (
    Upstream,
    UpstreamOptions,
    running_upstream,
)
from app.kit.crypto import Vault
from app.kit.ports import find_free_port
from app.kit.postgres.database import Pool, Sessions, make_engine, make_sessions, open_pool

SECRET = "for-the-gateways-of-measures-" * 2
FULL_WATCH_SECONDS = 1.0
"""The watch interval before scaling: the default of DASHGATE_WATCH_INTERVAL_SECONDS."""
LOOK_SECONDS = 0.2
STALL_SECONDS = 60.0


class Stalled(RuntimeError):
    """No job has ended for a long time: the figure would be of something broken."""


@dataclass(slots=True)
class Gateway:
    """A running gateway with one account; jobs go in through its API."""

    folder: Path
    upstream: Upstream
    pool: Pool = field(repr=False)
    sessions: Sessions = field(repr=False)
    environment: dict[str, str] = field(repr=False)
    url: str = ""
    children: list[Child] = field(default_factory=list)

    def start(self, name: str, *arguments: str) -> None:
        child = start_child(
            name, "app", *arguments, folder=self.folder, environment=self.environment
        )
        self.children.append(child)

    async def start_api(self) -> None:
        port = find_free_port(HOST)
        self.url = f"http://{HOST}:{port}"
        self.start("api", "serve", "--port", str(port))
        await self.children[-1].wait_for_port(port)

    def start_workers(self, count: int) -> None:
        for number in range(count):
            self.start(f"worker-{number}", "work")

    async def add_team(self, name: str) -> Seat:
        return await add_team(self.sessions, Vault((SECRET,)), name)

    async def send(self, seat: Seat, count: int) -> None:
        await send_orders(self.url, seat, count)

    async def wait_for_ends(self) -> None:
        """Return when every job has ended; raises ChildEnded, or Stalled when none does."""
        last_left, last_change = -1, time.monotonic()
        while True:
            left = await self.pool.fetchval("select count(*) from jobs where status is null")
            if left == 0:
                return
            if left != last_left:
                last_left, last_change = left, time.monotonic()
            if time.monotonic() - last_change > STALL_SECONDS:
                raise Stalled(self._describe_stall(left))
            for child in self.children:
                child.check()
            await asyncio.sleep(LOOK_SECONDS)

    def _describe_stall(self, left: int) -> str:
        said = [line for child in self.children for line in (f"{child.name}:", *child.tail())]
        return "\n".join([f"{left} jobs left, and none ended for {STALL_SECONDS:.0f} s", *said])


@asynccontextmanager
async def running_gateway(arena: Arena, options: UpstreamOptions) -> AsyncIterator[Gateway]:
    """A gateway without workers: jobs may be accepted before the first is sent out."""
    async with AsyncExitStack() as stack:
        database_url = await stack.enter_async_context(arena.database())
        folder = arena.make_folder(database_url)
        upstream = await stack.enter_async_context(running_upstream(options, folder))
        engine = make_engine(database_url)
        stack.push_async_callback(engine.dispose)
        pool = await open_pool(database_url, max_size=4)
        stack.push_async_callback(pool.close)
        gateway = Gateway(
            folder,
            upstream,
            pool,
            make_sessions(engine),
            make_environment(database_url, folder, scale=options.scale),
        )
        await add_account(
            gateway.sessions,
            Vault((SECRET,)),
            base_url=upstream.base_url,
            max_running=options.slots,
            submit_rate=Decimal(options.submits_per_second),
            query_rate=Decimal(options.calls_per_second),
        )
        try:
            await gateway.start_api()
            yield gateway
        finally:
            await asyncio.gather(*(child.stop() for child in reversed(gateway.children)))


def make_environment(database_url: str, folder: Path, *, scale: float) -> dict[str, str]:
    """What API and worker read; times that belong to the upstream are scaled."""
    return {
        "DATABASE_URL": database_url,
        "DASHGATE_NO_SETUP": "1",
        "DASHGATE_SECRET_KEY": SECRET,
        "DASHGATE_DATA_DIR": str(folder),
        "DASHGATE_STORE_URL": (folder / "store").as_uri(),
        "DASHGATE_WATCH_INTERVAL_SECONDS": str(FULL_WATCH_SECONDS * scale),
        "DASHGATE_LOG_LEVEL": "warning",
    }
