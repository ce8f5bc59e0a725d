"""The clients of a storm: each wants one job, and sends again what it may send again."""

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

import httpx

from app.bench.storm.contenders.contract import Contender, Lost, NotSent
from app.bench.storm.ledgers import BookedJob, Hearsay
from app.bench.storm.plan import Order

RETRY_SECONDS = 0.1
LOOK_SECONDS = 0.5
FETCHES = 8

T = TypeVar("T")


class Clients:
    """All clients, and what they were told."""

    def __init__(self, contender: Contender, orders: Sequence[Order]) -> None:
        self._contender = contender
        self._orders = orders
        self._http = httpx.AsyncClient(
            trust_env=False, limits=httpx.Limits(max_connections=64, max_keepalive_connections=16)
        )
        self._answers: defaultdict[int, list[str]] = defaultdict(list)
        self._waiting = {order.number for order in orders if order.idempotency_key}
        self._statuses: defaultdict[str, set[str]] = defaultdict(set)
        self._cancels: set[str] = set()
        self._pictures: dict[str, tuple[str, ...]] = {}

    async def order_all(self) -> None:
        """Send every order at its time; returns when all have been heard, or given up."""
        began = asyncio.get_running_loop().time()
        await asyncio.gather(*(self._order(order, began) for order in self._orders))

    async def look_around(self) -> None:
        """Ask for the jobs again and again until cancelled, as impatient owners do."""
        while True:
            for team, job_id in self._known_jobs():
                try:
                    await self._look(team, job_id)
                except (Lost, NotSent):
                    await asyncio.sleep(RETRY_SECONDS)
            await asyncio.sleep(LOOK_SECONDS)

    async def collect_all(self, jobs: Iterable[BookedJob]) -> None:
        """In calm: how each job has ended, and the pictures that its owner gets.

        Of all that have ended: those too whose owner was never told that they were accepted.
        """
        room = asyncio.Semaphore(FETCHES)

        async def collect(job: BookedJob) -> None:
            async with room:
                await _insist(lambda: self._look(job.team, job.job_id))
                contents = await _insist(
                    lambda: self._contender.fetch_pictures(self._http, job.team, job.job_id)
                )
            digests = [hashlib.sha256(content).hexdigest() for content in contents]
            self._pictures[job.job_id] = tuple(digests)

        await asyncio.gather(*(collect(job) for job in jobs if job.status is not None))

    def report(self) -> Hearsay:
        return Hearsay(
            answers={number: tuple(job_ids) for number, job_ids in self._answers.items()},
            unheard=frozenset(self._waiting),
            final_statuses={
                job_id: frozenset(statuses) for job_id, statuses in self._statuses.items()
            },
            cancels=frozenset(self._cancels),
            picture_sha256=dict(self._pictures),
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def _order(self, order: Order, began: float) -> None:
        await _sleep_until(began + order.at_seconds)
        job_id = await self._submit(order)
        if job_id is None:
            return
        if order.is_sent_twice:
            await self._submit(order)
        if order.cancel_at_seconds is not None:
            await _sleep_until(began + order.cancel_at_seconds)
            self._cancels.add(job_id)
            try:
                await self._contender.cancel(self._http, order.team, job_id)
            except (Lost, NotSent):
                return

    async def _submit(self, order: Order) -> str | None:
        """The job's id; None when the answer was lost and sending again might make a second."""
        while True:
            try:
                job_id = await self._contender.submit(self._http, order)
            except NotSent:
                await asyncio.sleep(RETRY_SECONDS)
            except Lost:
                if order.idempotency_key is None:
                    return None
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self._answers[order.number].append(job_id)
                self._waiting.discard(order.number)
                return job_id

    async def _look(self, team: int, job_id: str) -> None:
        status = await self._contender.find_final_status(self._http, team, job_id)
        if status is not None:
            self._statuses[job_id].add(status)

    def _known_jobs(self) -> list[tuple[int, str]]:
        teams = {order.number: order.team for order in self._orders}
        return [
            (teams[number], job_id)
            for number, job_ids in self._answers.items()
            for job_id in dict.fromkeys(job_ids)
        ]


async def _insist(call: Callable[[], Awaitable[T]]) -> T:
    while True:
        try:
            return await call()
        except (Lost, NotSent):
            await asyncio.sleep(RETRY_SECONDS)


async def _sleep_until(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - asyncio.get_running_loop().time()))
