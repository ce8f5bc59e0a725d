"""Lists of jobs: a page at a time, whatever the filter and however long the past."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from app.jobs.lists.query import PAGE_LOOKS, JobFilter, ListQuery, Statement
from app.jobs.lists.walks import Source
from app.jobs.store import SELECT_JOBS, JobRecord, to_record
from app.kit.errors import Unavailable
from app.kit.postgres.database import LIST_TIMEOUT_SECONDS, Connection, Pool, Record

ACQUIRE_SECONDS = 5.0
"""How long a list waits for one of the few connections that lists have."""


class ListsBusy(Unavailable):
    """More lists are asked for at once than may be read."""

    code = "lists_busy"


class ListTooSlow(Unavailable):
    """A list that was cut off at the time that a list may take."""

    code = "list_too_slow"


@dataclass(frozen=True, slots=True)
class JobPage:
    """Jobs newest first; the next page is of those before `next_before`, None at the end.

    A page may hold fewer jobs than asked for and still have a next one: when PAGE_LOOKS jobs were
    looked at and most of them are not what several filters together ask for.
    """

    jobs: list[JobRecord]
    next_before: UUID | None


async def list_jobs(
    pool: Pool, wanted: JobFilter, *, limit: int, offset: int | None = None
) -> JobPage:
    """One page; with an offset, of COUNT_LIMIT jobs in all. Raises ListsBusy and ListTooSlow."""
    async with _reading(pool) as connection:
        query = await make_query(connection, wanted)
        if query.is_empty:
            return JobPage([], None)
        source = await find_narrowest(connection, query)
        select = f"{SELECT_JOBS} where jobs.id ="
        rows = await _fetch(connection, query.page(source, select, limit=limit + 1, offset=offset))
        jobs = [to_record(row) for row in rows]
        if len(jobs) > limit:
            return JobPage(jobs[:limit], jobs[limit - 1].id)
        if offset is not None or not query.is_checked(source):
            return JobPage(jobs, None)
        (reach,) = await _fetch(connection, query.reach(source))
        return JobPage(jobs, reach["last_id"] if reach["looked_at"] == PAGE_LOOKS else None)


async def count_jobs(pool: Pool, wanted: JobFilter) -> int:
    """How many jobs a list shows: exact up to COUNT_LIMIT, which also stands for any more.

    With several filters, of the newest COUNT_LOOKS that the narrowest of them lets through.
    Raises ListsBusy and ListTooSlow.
    """
    async with _reading(pool) as connection:
        query = await make_query(connection, wanted)
        if query.is_empty:
            return 0
        source = await find_narrowest(connection, query)
        (row,) = await _fetch(connection, query.count(source))
        count: int = row["count"]
        return count


@asynccontextmanager
async def _reading(pool: Pool) -> AsyncIterator[Connection]:
    try:
        connection = await pool.acquire(timeout=ACQUIRE_SECONDS)
    except TimeoutError:
        raise ListsBusy(
            f"no list could be begun within {ACQUIRE_SECONDS:g} s, so many are asked for at once: "
            "ask again in a while"
        ) from None
    try:
        yield connection
    except asyncpg.QueryCanceledError:
        raise ListTooSlow(
            f"the list took longer than the {LIST_TIMEOUT_SECONDS:g} s that a list may take: ask "
            "again, or for a shorter time (`created_after`, `created_before`) or fewer jobs"
        ) from None
    finally:
        await pool.release(connection)


async def make_query(connection: Connection, wanted: JobFilter) -> ListQuery:
    """The filter's statements, with the keys that it names."""
    if wanted.key_name is None:
        return ListQuery(wanted)
    rows = await connection.fetch(_FIND_KEYS, wanted.key_name, wanted.team_id)
    return ListQuery(wanted, [row["id"] for row in rows])


async def find_narrowest(connection: Connection, query: ListQuery) -> Source:
    """The source with the fewest jobs, as far as they are counted; of equal ones the first."""
    if len(query.sources) == 1:
        return query.sources[0]
    (counts,) = await _fetch(connection, query.probe())
    return query.sources[min(range(len(query.sources)), key=lambda index: counts[index])]


async def _fetch(connection: Connection, statement: Statement) -> list[Record]:
    return await connection.fetch(statement.sql, *statement.values)


_FIND_KEYS = "select id from keys where name = $1 and ($2::uuid is null or team_id = $2)"
