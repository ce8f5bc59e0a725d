"""A storm as it passes: the blows, the bad weather, the calm, the judgement."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from app.bench.storm.check import Evidence, Verdict, check, count_in_flight_peaks
from app.bench.storm.clients import Clients
from app.bench.storm.contenders.contract import ACCOUNT_KEYS, SLOTS, Contender, Lost
from app.bench.storm.crew import Crew
from app.bench.storm.database import Database
from app.bench.storm.ledgers import Books, read_bill
from app.bench.storm.options import StormOptions
from app.bench.storm.plan import POISON, Clocks, Strike, plan_strikes, slow_down
from app.bench.storm.report import StormReport, count_refusals
from app.bench.storm.stillness import Standing, find_silent, list_attended
from app.bench.storm.weather import (
    count_strikes,
    lies_end_seconds,
    list_climate,
    list_weather,
)
from app.emulator.disturb.faults import FaultRule
from app.kit.postgres.database import CONNECTION_TROUBLE

LOOK_SECONDS = 0.2
START_SECONDS = 60.0
COLLECT_SECONDS = 30.0
QUIET_START_SECONDS = 1.0
SLOWNESS_LIMIT = 2.0
STORIES_TOLD = 3
STANDSTILL_SECONDS = 15.0
"""So long the jobs that are left must have called a person before nothing more is expected."""
IN_FLIGHT_LIMIT = 2 * SLOTS
"""Tasks of an account: those that run, and as many at most that wait so that no slot idles."""


@dataclass(slots=True)
class Scene:
    """Everything that takes part in one storm."""

    options: StormOptions
    database: Database
    contender: Contender
    crew: Crew
    clients: Clients
    clocks: Clocks
    upstream_root: str
    http: httpx.AsyncClient
    strikes: Counter[str] = field(default_factory=Counter)
    weather: Counter[str] = field(default_factory=Counter)
    ended_in_storm: int = 0

    async def play(self, seed: int) -> None:
        """Storm, lies until long after it, then calm until all has ended or patience has."""
        options = self.options
        slowness = await self._wait_until_ready()
        began = time.monotonic()
        ordering = asyncio.create_task(self.clients.order_all())
        beside = [
            asyncio.create_task(self.clients.look_around()),
            asyncio.create_task(self._supervise()),
        ]
        try:
            if not options.is_calm:
                weather = list_weather(
                    seed, tuple(ACCOUNT_KEYS), options.storm_seconds, without=options.without
                )
                await self._change_weather(weather)
                await self._strike_all(seed, began, slowness)
                self.ended_in_storm = await self._count_ended()
                await self._clear_weather(began)
            deadline = time.monotonic() + options.calm_seconds
            await asyncio.wait([ordering], timeout=deadline - time.monotonic())
            await self._wait_until_rest(deadline)
        finally:
            for task in (ordering, *beside):
                task.cancel()
            outcomes = await asyncio.gather(ordering, *beside, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome

    async def judge(self, seed: int, *, seconds: float) -> StormReport:
        books, standing = await self.contender.read_books(), await self.contender.list_standing()
        with suppress(TimeoutError):
            async with asyncio.timeout(COLLECT_SECONDS):
                await self.clients.collect_all(books.jobs)
        bill = await self._ask_upstream("GET", "bill")
        self.weather += count_strikes(await self._ask_upstream("GET", "faults"))
        evidence = Evidence(
            tasks=read_bill(bill["tasks"]),
            books=books,
            heard=self.clients.report(),
            in_flight_limits=dict.fromkeys(ACCOUNT_KEYS, IN_FLIGHT_LIMIT),
            refused_prompts=frozenset(job.prompt for job in books.jobs if POISON in job.prompt),
            attended=list_attended(standing),
        )
        verdict = check(evidence)
        verdict = replace(verdict, findings=(*verdict.findings, *find_silent(standing)))
        return StormReport(
            seed=seed,
            contender=self.options.contender,
            again=self.options.to_command(seed),
            seconds=seconds,
            ended_in_storm=self.ended_in_storm,
            statuses=Counter(job.status or "unended" for job in evidence.books.jobs),
            strikes=self.strikes,
            weather=self.weather,
            clocks=self.clocks,
            standing=Counter(job.code or "nobody" for job in standing),
            calls=sum(job.events.count("job.attention") for job in books.jobs),
            billed_images=bill["image_count"],
            in_flight_peaks=count_in_flight_peaks(evidence),
            refused_calls=count_refusals(bill["calls"]["refused"]),
            verdict=verdict,
            stories=await self._tell_stories(verdict, books, standing),
        )

    async def _tell_stories(
        self, verdict: Verdict, books: Books, standing: Sequence[Standing]
    ) -> dict[str, tuple[str, ...]]:
        """What has happened to the first jobs that something is wrong with, or that wait."""
        job_ids = {job.job_id for job in books.jobs}
        suspects = [
            books.wasted.get(finding.subject, finding.subject)
            for finding in (*verdict.findings, *verdict.booked)
        ]
        suspects += [job.job_id for job in standing]
        wanted = [job_id for job_id in dict.fromkeys(suspects) if job_id in job_ids]
        return {
            job_id: await self.contender.tell_story(job_id) for job_id in wanted[:STORIES_TOLD]
        }

    async def _wait_until_ready(self) -> float:
        """How many times slower than a quiet machine this one has started the gateway."""
        began = time.monotonic()
        async with asyncio.timeout(START_SECONDS):
            while not await self.contender.is_ready(self.http):  # noqa: ASYNC110
                await asyncio.sleep(LOOK_SECONDS)
        slowness = (time.monotonic() - began) / QUIET_START_SECONDS
        return min(max(slowness, 1.0), SLOWNESS_LIMIT)

    async def _strike_all(self, seed: int, began: float, slowness: float) -> None:
        """Blow after blow, at longer intervals where processes take longer to get up again."""
        strikes = plan_strikes(
            seed,
            self.options.storm_seconds,
            processes=len(self.crew.names),
            crashes_database=self.options.database_url is None,
        )
        async with asyncio.TaskGroup() as blows:
            for strike in slow_down(strikes, slowness):
                if strike.at_seconds > self.options.storm_seconds:
                    break
                await asyncio.sleep(max(0.0, began + strike.at_seconds - time.monotonic()))
                blows.create_task(self._strike(strike))

    async def _strike(self, strike: Strike) -> None:
        self.strikes[strike.deed] += 1
        name = self.crew.names[strike.victim]
        match strike.deed:
            case "kill":
                await self.crew.restart(name)
            case "freeze":
                self.crew.send(name, signal.SIGSTOP)
                await asyncio.sleep(strike.seconds)
                self.crew.send(name, signal.SIGCONT)
            case "cut":
                await self.database.cut_connections()
            case "crash":
                await self.database.crash(down_seconds=strike.seconds)

    async def _supervise(self) -> None:
        """Start again what has ended by itself, until cancelled."""
        while True:
            for name in self.crew.names:
                if self.crew.has_ended(name):
                    self.strikes["death"] += 1
                    self.crew.start(name)
            await asyncio.sleep(LOOK_SECONDS)

    async def _count_ended(self) -> int:
        books = await self.contender.read_books()
        return sum(job.status is not None for job in books.jobs)

    async def _wait_until_rest(self, deadline: float) -> None:
        """Until all has ended, or nobody but those that call a person is left for long enough."""
        standing: Sequence[Standing] = ()
        since = time.monotonic()
        while time.monotonic() < deadline:
            with suppress(Lost, *CONNECTION_TROUBLE):
                if await self.contender.is_at_rest():
                    return
                before, standing = standing, await self.contender.list_standing()
                is_still = standing == before and all(job.is_told for job in standing)
                if not (standing and is_still):
                    since = time.monotonic()
                elif time.monotonic() - since > STANDSTILL_SECONDS:
                    return
            await asyncio.sleep(LOOK_SECONDS)

    async def _clear_weather(self, began: float) -> None:
        """Wait until lists tell the truth, and leave only what never changes."""
        if "lies" not in self.options.without:
            await asyncio.sleep(max(0.0, began + lies_end_seconds() - time.monotonic()))
        self.weather += count_strikes(await self._ask_upstream("GET", "faults"))
        await self._change_weather(list_climate(without=self.options.without))

    async def _change_weather(self, rules: tuple[FaultRule, ...]) -> None:
        body = [rule.model_dump(mode="json", exclude_defaults=True) for rule in rules]
        await self._ask_upstream("PUT", "faults", json=body)

    async def _ask_upstream(self, method: str, name: str, **options: Any) -> Any:
        url = f"{self.upstream_root}/_emulator/{name}"
        answer = await self.http.request(method, url, **options)
        if answer.status_code != 200:
            raise RuntimeError(f"{method} {name}: {answer.status_code} {answer.text[:500]}")
        return answer.json()
