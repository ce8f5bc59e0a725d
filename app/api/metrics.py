"""The door for Prometheus: the gateway's state by few cheap statements, and this process's."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import TypeVar

import structlog
from asyncpg import PostgresError
from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    CollectorRegistry,
    GCCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app import __version__
from app.jobs.gauges import Readings, read_gauges
from app.kit.postgres.database import CONNECTION_TROUBLE, Pool
from app.web import traffic
from app.web.context import DoorsHere

Family = TypeVar("Family", CounterMetricFamily, GaugeMetricFamily)

PREFIX = "dashgate_"
CACHE_SECONDS = 5.0
"""However often it is asked, the database is read no more often than this."""
SCRAPE_SECONDS = 3.0
"""What the database has not said by then is left out."""

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


def make_metrics_router() -> APIRouter:
    """`GET /metrics`, with a memory of its own."""
    router = APIRouter(include_in_schema=False)
    exposition = Exposition()

    @router.head("/metrics")
    @router.get("/metrics")
    async def tell_metrics(doors: DoorsHere) -> Response:
        """Without a key, as scrapers come: nothing in it names a team or a job."""
        content = await exposition.render(doors.base.lists)
        return Response(content, media_type=CONTENT_TYPE_PLAIN_0_0_4)

    return router


class Exposition(Collector):
    """The gauges as they were read last, and the process's own numbers as they are."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self._registry.register(self)
        self._reading = asyncio.Lock()
        self._families: tuple[Metric, ...] = ()
        self._read_at = float("-inf")

    async def render(self, pool: Pool) -> bytes:
        """The text for a scraper; callers at the same time share one reading."""
        async with self._reading:
            if time.monotonic() - self._read_at >= CACHE_SECONDS:
                self._families = tuple(_to_families(*await _read(pool)))
                self._read_at = time.monotonic()
        return generate_latest(self._registry) + generate_latest(traffic.registry)

    def collect(self) -> Iterable[Metric]:
        return self._families


async def _read(pool: Pool) -> tuple[list[Readings], bool]:
    """What the database said in time, and whether it said anything to the end."""
    read: list[Readings] = []
    reading = asyncio.create_task(_read_all(pool, read))
    done, _ = await asyncio.wait((reading,), timeout=SCRAPE_SECONDS)
    if not done:
        # A connection that hangs is given up on its own time, not on the scraper's.
        reading.add_done_callback(lambda late: late.cancelled() or late.exception())
        reading.cancel()
        return read, bool(read)
    try:
        await reading
    except (*CONNECTION_TROUBLE, PostgresError) as error:
        log.warning("metrics.database_lost", error=type(error).__name__)
        return read, False
    return read, True


async def _read_all(pool: Pool, read: list[Readings]) -> None:
    async for readings in read_gauges(pool):
        read.append(readings)


def _to_families(read: Sequence[Readings], is_up: bool) -> Iterable[Metric]:
    yield _make_family("database_up", "Whether the database answers.", ((), float(is_up)))
    yield _make_family("build_info", "What runs here.", ((__version__,), 1), labels=("version",))
    yield _make_family(
        "gauges_read",
        "Whether a group of gauges was read in time.",
        *(((readings.group.name,), float(readings.rows is not None)) for readings in read),
        labels=("group",),
    )
    for readings in read:
        yield from _to_group(readings)


def _to_group(readings: Readings) -> Iterable[Metric]:
    labels = readings.group.labels
    for column, text in readings.group.gauges.items():
        samples = [
            (tuple(str(row[label]) for label in labels), float(row[column]))
            for row in readings.rows or ()
            if row[column] is not None
        ]
        if readings.group.is_counter:
            yield _fill(CounterMetricFamily(PREFIX + column, text, labels=labels), samples)
        else:
            yield _make_family(column, text, *samples, labels=labels)


def _make_family(
    name: str,
    text: str,
    *samples: tuple[tuple[str, ...], float],
    labels: tuple[str, ...] = (),
) -> GaugeMetricFamily:
    return _fill(GaugeMetricFamily(PREFIX + name, text, labels=labels), samples)


def _fill(family: Family, samples: Sequence[tuple[tuple[str, ...], float]]) -> Family:
    for values, value in samples:
        family.add_metric(values, value)
    return family
