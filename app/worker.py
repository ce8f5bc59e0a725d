"""The worker process: conducts the accounts when it leads, keeps pictures always."""

import asyncio
import signal
from contextlib import AsyncExitStack
from functools import partial

import httpx
import structlog

from app.dashscope.line import make_create_http, make_query_http
from app.jobs.cancel import WISH_RULES
from app.jobs.engine.conduct import CONDUCTOR_LOCK, Conductor, Orchestra, Timings
from app.jobs.engine.judge import Judge
from app.jobs.engine.progress import call_attention
from app.jobs.engine.sweep import Upkeep, expire_queued, mend
from app.jobs.events import PICTURES_WAITING
from app.jobs.keeping.collect import Shelf
from app.jobs.keeping.keep import PICTURES_PER_JOB, Keeper
from app.jobs.keeping.risk import raise_alarms
from app.jobs.requests.models import MODELS
from app.kit.background.chores import Apart
from app.kit.background.loop import run_loop
from app.kit.logs import configure_logs
from app.kit.postgres.leader import lead
from app.media.fetch import ResultHosts, make_http_client
from app.settings import Settings
from app.wiring import Resources, look_at_store, open_resources, require_schema

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

EXPIRY_SECONDS = 2.0
TIDY_SECONDS = 300.0
ALARM_SECONDS = 10.0
MEND_SECONDS = 1.0
PROGRESS_SECONDS = 2.0
DRAIN_SHARE = 0.5
"""Share of the grace after SIGTERM in which pictures in hand may still be kept."""


async def run_worker(settings: Settings) -> None:
    """Work until SIGTERM or SIGINT, then end what was begun and return."""
    configure_logs(level=settings.log_level, as_json=settings.log_format == "json")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with open_resources(settings) as base:
        await require_schema(base.pool)
        await look_at_store(base.store)
        await work(base, stop)


async def work(base: Resources, stop: asyncio.Event) -> None:
    """All loops of a worker, until `stop` and their own clean end."""
    settings = base.settings
    async with AsyncExitStack() as stack:
        queries = await stack.enter_async_context(make_query_http())
        creates = await stack.enter_async_context(make_create_http())
        downloads = await stack.enter_async_context(
            make_http_client(connections=settings.download_concurrency * PICTURES_PER_JOB)
        )
        keeper = Keeper(
            base.pool,
            Shelf(downloads, _result_hosts(settings), base.store),
            concurrency=settings.download_concurrency,
        )
        conductor = Conductor(_make_orchestra(base, queries, creates))
        log.info("worker.started")
        await asyncio.gather(
            base.listener.run(stop),
            lead(
                base.database_url,
                lock=CONDUCTOR_LOCK,
                duty=partial(_lead, base, conductor),
                stop=stop,
            ),
            _keep(base, keeper, stop),
        )
        log.info("worker.stopped")


async def _lead(base: Resources, conductor: Conductor, ending: asyncio.Event) -> None:
    """What only one worker does at a time."""
    await asyncio.gather(
        conductor.conduct(ending),
        run_loop(
            partial(expire_queued, Judge(base.pool, WISH_RULES)),
            name="expire",
            stop=ending,
            idle_seconds=EXPIRY_SECONDS,
        ),
        run_loop(
            Upkeep(base.pool, base.store).tidy,
            name="tidy",
            stop=ending,
            idle_seconds=TIDY_SECONDS,
        ),
        run_loop(
            partial(mend, base.pool),
            name="queues",
            stop=ending,
            idle_seconds=MEND_SECONDS,
        ),
        run_loop(
            partial(
                call_attention,
                Judge(base.pool, _to_timings(base.settings).to_rules()),
                Apart("progress"),
            ),
            name="progress",
            stop=ending,
            idle_seconds=PROGRESS_SECONDS,
        ),
        run_loop(
            partial(raise_alarms, base.pool, Apart("alarms")),
            name="alarms",
            stop=ending,
            idle_seconds=ALARM_SECONDS,
        ),
    )


def _to_timings(settings: Settings) -> Timings:
    return Timings(
        prepare_seconds=settings.prepare_seconds,
        submit_timeout_seconds=settings.submit_timeout_seconds,
        settle_seconds=settings.settle_seconds,
        watch_interval_seconds=settings.watch_interval_seconds,
        review_seconds=settings.review_seconds,
        lost_seconds=settings.lost_seconds,
        stale_list_seconds=settings.stale_list_seconds,
        slowest_upload_kbps=settings.slowest_upload_kbps,
    )


async def _keep(base: Resources, keeper: Keeper, stop: asyncio.Event) -> None:
    renewal = asyncio.create_task(keeper.renew())
    with base.listener.subscribed(PICTURES_WAITING) as nudge:
        await run_loop(keeper.step, name="keep", stop=stop, nudge=nudge)
    await keeper.drain(seconds=base.settings.stop_grace_seconds * DRAIN_SHARE)
    renewal.cancel()
    await asyncio.gather(renewal, return_exceptions=True)


def _result_hosts(settings: Settings) -> ResultHosts:
    return ResultHosts.of(settings.result_hosts) if settings.result_hosts else ResultHosts()


def _make_orchestra(
    base: Resources, queries: httpx.AsyncClient, creates: httpx.AsyncClient
) -> Orchestra:
    settings = base.settings
    return Orchestra(
        pool=base.pool,
        listener=base.listener,
        vault=base.vault,
        queries=queries,
        creates=creates,
        read_input=base.store.get,
        timings=_to_timings(settings),
        models=tuple(MODELS),
    )
