"""The yardstick: a gateway as most are, with a lease on each job and a retry when it lapses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import uuid4

import asyncpg
import httpx

from app.bench.storm.contenders.contract import Lost
from app.bench.storm.crew import Command
from app.bench.storm.ledgers import BookedAttempt, BookedJob, Books
from app.bench.storm.plan import Order
from app.bench.storm.stillness import Standing
from app.kit.clock import utc_now
from app.kit.postgres.database import CONNECTION_TROUBLE, connect


@dataclass(slots=True)
class Naive:
    """The naive gateway as storms see it: its door is its table."""

    database_url: str
    upstream_url: str
    workers: int

    @property
    def commands(self) -> Mapping[str, Command]:
        names = (f"worker-{number}" for number in range(self.workers))
        return {name: Command("app.bench.storm.contenders.naive_worker") for name in names}

    @property
    def environment(self) -> Mapping[str, str]:
        return {"DATABASE_URL": self.database_url, "UPSTREAM_URL": self.upstream_url}

    async def furnish(self) -> None:
        await self._fetch(_CREATE_TABLE)

    async def is_ready(self, http: httpx.AsyncClient) -> bool:
        return True

    async def submit(self, http: httpx.AsyncClient, order: Order) -> str:
        rows = await self._fetch(_INSERT, order.number, str(uuid4()), order.prompt, order.n)
        return str(rows[0]["job_id"])

    async def cancel(self, http: httpx.AsyncClient, team: int, job_id: str) -> None:
        """It knows no cancel."""

    async def find_final_status(
        self, http: httpx.AsyncClient, team: int, job_id: str
    ) -> str | None:
        rows = await self._fetch("select status from naive_jobs where job_id = $1", job_id)
        status: str | None = rows[0]["status"]
        return status

    async def fetch_pictures(
        self, http: httpx.AsyncClient, team: int, job_id: str
    ) -> tuple[bytes, ...]:
        rows = await self._fetch("select pictures from naive_jobs where job_id = $1", job_id)
        return tuple(rows[0]["pictures"])

    async def is_at_rest(self) -> bool:
        return not await self._fetch("select from naive_jobs where status is null limit 1")

    async def list_standing(self) -> Sequence[Standing]:
        """It calls nobody, and waits for nothing that it knows of."""
        return ()

    async def read_books(self) -> Books:
        rows = await self._fetch("select * from naive_jobs order by number")
        jobs = tuple(_to_job(row) for row in rows)
        return Books(jobs, spent_images=sum(job.image_count for job in jobs), wasted_images=0)

    async def tell_story(self, job_id: str) -> tuple[str, ...]:
        return ()

    async def _fetch(self, statement: str, *values: object) -> list[asyncpg.Record]:
        try:
            connection = await connect(self.database_url)
            try:
                return await connection.fetch(statement, *values)
            finally:
                connection.terminate()
        except CONNECTION_TROUBLE as error:
            raise Lost(str(error)) from error


def _to_job(row: asyncpg.Record) -> BookedJob:
    attempts = []
    if row["task_id"] is not None:
        attempts = [BookedAttempt("", "kept", utc_now(), None, row["task_id"])]
    return BookedJob(
        job_id=row["job_id"],
        team=0,
        prompt=row["prompt"],
        n=row["n"],
        status=row["status"],
        image_count=len(row["pictures"] or ()),
        attempts=tuple(attempts),
    )


_CREATE_TABLE = """
create table naive_jobs (
    number int primary key, job_id text not null, prompt text not null, n int not null,
    lease_until timestamptz not null default '-infinity', api_key text, task_id text,
    status text, pictures bytea[] not null default '{}'
)
"""
_INSERT = """
insert into naive_jobs (number, job_id, prompt, n) values ($1, $2, $3, $4)
on conflict (number) do update set prompt = excluded.prompt returning job_id
"""
