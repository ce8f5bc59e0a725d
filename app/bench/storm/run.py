"""One storm: the scene is set, the storm is raised and judged, all is cleared away."""

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx

from app.bench.storm.clients import Clients
from app.bench.storm.contenders.contract import UPSTREAM, Contender
from app.bench.storm.contenders.dashgate import Dashgate
from app.bench.storm.contenders.naive import Naive
from app.bench.storm.crew import Crew, UpstreamProcess
from app.bench.storm.database import open_database
from app.bench.storm.options import StormOptions
from app.bench.storm.plan import Clocks, plan_clocks, plan_orders
from app.bench.storm.report import StormReport
from app.bench.storm.scene import Scene
from app.bench.storm.weather import lies_end_seconds
from app.emulator import EmulatorOptions
from app.kit.ports import find_free_port

HOST = "127.0.0.1"
START_SECONDS = 30.0


async def run_storm(seed: int, options: StormOptions | None = None) -> StormReport:
    """Raise a storm over a whole gateway, wait for its end in calm, compare the ledgers.

    The seed fixes orders, blows and the upstream's errors, though not how they meet.
    """
    options = options or StormOptions()
    began = time.monotonic()
    async with open_scene(seed, options) as scene:
        await scene.play(seed)
        return await scene.judge(seed, seconds=time.monotonic() - began)


@asynccontextmanager
async def open_scene(seed: int, options: StormOptions) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        folder = _make_folder(stack, options)
        database = await stack.enter_async_context(open_database(options.database_url, folder))
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=20, trust_env=False))
        clocks = _plan_clocks(seed, options)
        upstream = replace(UPSTREAM, seed=seed, clock_skew_seconds=clocks.upstream)
        root = await _start_upstream(stack, http, upstream, folder)
        contender = _make_contender(options, database.url, f"{root}/api/v1", folder, clocks)
        await contender.furnish()
        ends_at_seconds = max(options.storm_seconds, lies_end_seconds())
        clients = Clients(
            contender,
            plan_orders(
                seed, options.jobs, options.storm_seconds, ends_at_seconds=ends_at_seconds
            ),
        )
        stack.push_async_callback(clients.close)
        crew = Crew(folder, {"PATH": os.environ["PATH"], **contender.environment})
        stack.push_async_callback(crew.close)
        for name, command in contender.commands.items():
            crew.start(name, command)
        yield Scene(options, database, contender, crew, clients, clocks, root, http)


def _plan_clocks(seed: int, options: StormOptions) -> Clocks:
    worst_seconds = 0.0 if options.is_calm else options.clock_seconds
    processes = options.doors + options.workers
    return plan_clocks(seed, processes=processes, worst_seconds=worst_seconds)


def _make_folder(stack: AsyncExitStack, options: StormOptions) -> Path:
    if options.logs is not None:
        options.logs.mkdir(parents=True, exist_ok=True)
        return options.logs
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dashgate-storm-")))
    folder.chmod(0o755)
    return folder


def _make_contender(
    options: StormOptions, database_url: str, upstream_url: str, folder: Path, clocks: Clocks
) -> Contender:
    if options.contender == "naive":
        return Naive(database_url, upstream_url, options.workers)
    ports = tuple(find_free_port(HOST) for _ in range(options.doors))
    return Dashgate(database_url, upstream_url, folder, ports, options.workers, clocks)


async def _start_upstream(
    stack: AsyncExitStack, http: httpx.AsyncClient, options: EmulatorOptions, folder: Path
) -> str:
    """The root of an emulator that answers."""
    port = find_free_port(HOST)
    upstream = UpstreamProcess(options, port, folder / "upstream.log")
    upstream.start()
    stack.push_async_callback(upstream.close)
    root, deadline = f"http://{HOST}:{port}", time.monotonic() + START_SECONDS
    while True:
        try:
            await http.get(f"{root}/_emulator/stats")
        except httpx.TransportError:
            if time.monotonic() > deadline or not upstream.is_alive():
                raise RuntimeError(f"the upstream did not start: see {folder}") from None
            await asyncio.sleep(0.05)
        else:
            return root
