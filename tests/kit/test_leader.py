"""One leader at a time, over a real Postgres, whatever becomes of the one before."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from app.kit.postgres import leader
from app.kit.postgres.database import Pool
from app.kit.postgres.leader import lead
from app.kit.postgres.presence import PRESENT_NUMBERS, Presence
from tests.waiting import wait_until

LOCK = 4711


@dataclass
class Candidate:
    """Somebody who would lead, and a note of when it did."""

    name: str
    log: list[str]
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    may_rest: asyncio.Event = field(default_factory=asyncio.Event)
    leads: bool = False

    def __post_init__(self) -> None:
        self.may_rest.set()

    async def lead_on(self, ending: asyncio.Event) -> None:
        self.leads = True
        self.log.append(f"{self.name} leads")
        await ending.wait()
        await self.may_rest.wait()
        self.log.append(f"{self.name} rests")
        self.leads = False


Run = Callable[[str], Candidate]


@pytest.fixture
async def run(database: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Run]:
    """Makes candidates, who share one log."""
    monkeypatch.setattr(leader, "RETRY_SECONDS", 0.02)
    monkeypatch.setattr(leader, "BEAT_SECONDS", 0.05)
    log: list[str] = []
    started: list[tuple[Candidate, asyncio.Task[None]]] = []

    def start(name: str) -> Candidate:
        candidate = Candidate(name, log)
        duty = lead(database, lock=LOCK, duty=candidate.lead_on, stop=candidate.stop)
        started.append((candidate, asyncio.create_task(duty)))
        return candidate

    yield start
    for candidate, _ in started:
        candidate.stop.set()
    async with asyncio.timeout(10):
        await asyncio.gather(*(task for _, task in started))


async def end_backends(pool: Pool, condition: str = "true") -> None:
    await pool.execute(
        "select pg_terminate_backend(l.pid) from pg_locks l join pg_database d on d.oid = database"
        f" where locktype = 'advisory' and datname = current_database() and {condition}"
    )


async def test_only_one_leads_and_the_other_takes_over_when_it_resigns(run: Run) -> None:
    first = run("first")
    await wait_until(lambda: first.leads)
    second = run("second")
    await asyncio.sleep(0.1)
    assert not second.leads

    first.stop.set()

    await wait_until(lambda: second.leads)
    assert first.log == ["first leads", "first rests", "second leads"]


async def test_a_leader_that_resigns_ends_what_it_has_begun_before_another_leads(
    run: Run,
) -> None:
    first = run("first")
    await wait_until(lambda: first.leads)
    second = run("second")
    first.may_rest.clear()
    first.stop.set()
    await asyncio.sleep(0.1)
    assert not second.leads

    first.may_rest.set()

    await wait_until(lambda: second.leads)
    assert first.log == ["first leads", "first rests", "second leads"]


async def test_a_leader_whose_connection_is_ended_rests_and_somebody_leads_again(
    run: Run, pool: Pool
) -> None:
    candidate = run("only")
    await wait_until(lambda: candidate.leads)

    await end_backends(pool)

    await wait_until(lambda: candidate.log == ["only leads", "only rests", "only leads"])


async def test_a_leader_that_falls_silent_is_put_out_by_the_database(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A paused process keeps its connection open and its lock; Postgres ends both."""
    monkeypatch.setattr(leader, "SILENCE_LIMIT_SECONDS", 1)
    monkeypatch.setattr(leader, "BEAT_SECONDS", 3)
    silent = run("silent")
    await wait_until(lambda: silent.leads)
    monkeypatch.setattr(leader, "BEAT_SECONDS", 0.05)
    other = run("other")

    await wait_until(lambda: other.leads)
    await wait_until(lambda: not silent.leads)

    assert silent.log == ["silent leads", "other leads", "silent rests"]


async def test_a_duty_that_ends_by_itself_is_taken_up_again(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leader, "BEAT_SECONDS", 0.02)
    stop = asyncio.Event()
    times = 0

    async def end_at_once(_: asyncio.Event) -> None:
        nonlocal times
        times += 1

    leading = asyncio.create_task(lead(database, lock=LOCK, duty=end_at_once, stop=stop))
    await wait_until(lambda: times >= 2)
    stop.set()
    await leading


async def test_a_candidate_without_a_database_waits_for_it_and_can_be_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leader, "RETRY_SECONDS", 0.02)
    candidate = Candidate("lonely", [])
    url = "postgresql://dashgate@127.0.0.1:9/none"
    leading = asyncio.create_task(
        lead(url, lock=LOCK, duty=candidate.lead_on, stop=candidate.stop)
    )
    await asyncio.sleep(0.1)
    assert not leading.done()

    candidate.stop.set()

    async with asyncio.timeout(5):
        await leading
    assert candidate.log == []


@asynccontextmanager
async def present(database: str) -> AsyncIterator[Presence]:
    presence, stop = Presence(database), asyncio.Event()
    here = asyncio.create_task(presence.run(stop))
    yield presence
    stop.set()
    await here


async def test_a_process_is_present_for_as_long_as_it_runs(database: str, pool: Pool) -> None:
    async def numbers() -> set[int]:
        return {row["number"] for row in await pool.fetch(PRESENT_NUMBERS)}

    def are(*wanted: Presence) -> Callable[[], Awaitable[bool]]:
        async def holds() -> bool:
            return {presence.number for presence in wanted} == await numbers()

        return holds

    async with present(database) as one:
        async with present(database) as other:
            await wait_until(are(one, other))
        await wait_until(are(one))
        assert one.number != other.number
    await wait_until(are())


async def test_other_locks_are_nobodys_presence(pool: Pool) -> None:
    async with pool.acquire() as connection:
        await connection.execute("select pg_advisory_lock(1), pg_advisory_lock(1, 2)")
        assert await pool.fetch(PRESENT_NUMBERS) == []
        await connection.execute("select pg_advisory_unlock_all()")


async def test_a_duty_that_fails_is_taken_up_again(database: str) -> None:
    stop = asyncio.Event()
    tries: list[int] = []

    async def stumble(ending: asyncio.Event) -> None:
        tries.append(1)
        if len(tries) < 3:
            raise KeyError("ours")
        await ending.wait()

    leading = asyncio.create_task(lead(database, lock=LOCK, duty=stumble, stop=stop))
    await wait_until(lambda: len(tries) == 3)
    stop.set()
    await leading
