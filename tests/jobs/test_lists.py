"""What a list costs: a page, whatever the filter, the team's past and the answer's size."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from app.bench.reads.archive import RARE_MODEL, Archive, make_archive
from app.bench.rig.loads import MODEL, queue_jobs
from app.bench.rig.seats import Seat, add_key, add_team
from app.jobs.lists.pages import (
    ListsBusy,
    ListTooSlow,
    count_jobs,
    find_narrowest,
    list_jobs,
    make_query,
)
from app.jobs.lists.query import (
    COUNT_LIMIT,
    COUNT_LOOKS,
    PAGE_LOOKS,
    JobFilter,
    ListQuery,
    Statement,
)
from app.jobs.store import SELECT_JOBS
from app.kit.crypto import Vault
from app.kit.ids import find_lowest_id, make_uuid7
from app.kit.postgres.database import Pool, make_engine, make_sessions, open_list_pool
from tests.databases import cloned_database
from tests.factories import make_price

JOBS = 60_000
GIANTS = JOBS // 2
QUEUED = 2_000
PAGE = 20
SKEW_ROWS = 30
"""Jobs of the ten minutes by which an id may be wrong."""


@dataclass(frozen=True)
class Library:
    """An archive with a queue, and a team that has nothing."""

    pool: Pool
    archive: Archive
    quiet: Seat
    empty: Seat


@pytest.fixture(scope="module")
async def library(server_url: str, template: str, vault: Vault) -> AsyncIterator[Library]:
    async with cloned_database(server_url, template) as url:
        engine = make_engine(url)
        sessions = make_sessions(engine)
        await make_price(sessions)
        giant, quiet, empty = [
            await add_team(sessions, vault, name) for name in ("giant", "quiet", "empty")
        ]
        other_key = await add_key(sessions, vault, giant, "tenth")
        archive = await make_archive(url, giant, other_key, [quiet], JOBS)
        pool = await open_list_pool(url, max_size=4)
        await queue_jobs(pool, [giant] * QUEUED)
        await pool.execute("vacuum analyze")
        yield Library(pool, archive, quiet, empty)
        await pool.close()
        await engine.dispose()


def to_filter(library: Library, changes: dict[str, Any]) -> JobFilter:
    team = {"giant": library.archive.giant, "quiet": library.quiet, "empty": library.empty}
    changes = dict(changes)
    seat = team.get(changes.pop("of", "giant"))
    for name in ("created_after", "created_before"):
        if name in changes:
            changes[name] = library.archive.middle + changes[name]
    if changes.pop("from_the_middle", False):
        changes["before_id"] = find_lowest_id(library.archive.middle)
    return JobFilter(**{"team_id": seat.team_id if seat else None, **changes})


SINGLE: dict[str, dict[str, Any]] = {
    "all": {},
    "all of a quiet team": {"of": "quiet"},
    "all of an empty team": {"of": "empty"},
    "all teams": {"of": "all"},
    "deep page": {"from_the_middle": True},
    "queued": {"statuses": ("queued",)},
    "queued or on its way": {"statuses": ("queued", "submitting")},
    "running": {"statuses": ("running",)},
    "succeeded": {"statuses": ("succeeded",)},
    "failed": {"statuses": ("failed", "expired")},
    "canceled": {"statuses": ("canceled",)},
    "queued of an empty team": {"of": "empty", "statuses": ("queued",)},
    "failed of all": {"of": "all", "statuses": ("failed",)},
    "expired of all": {"of": "all", "statuses": ("expired",)},
    "queued of all": {"of": "all", "statuses": ("queued",)},
    "attention": {"needs_attention": True},
    "attention of all": {"of": "all", "needs_attention": True},
    "after": {"created_after": timedelta(0)},
    "before": {"created_before": timedelta(0)},
    "a day": {"created_after": timedelta(0), "created_before": timedelta(days=1)},
    "before all": {"created_before": -timedelta(days=40)},
    "after all": {"created_after": timedelta(days=40)},
    "key of most": {"key_name": "giant"},
    "key of a tenth": {"key_name": "tenth"},
    "key of another team": {"key_name": "quiet"},
    "model of most": {"model": MODEL},
    "model of few": {"model": RARE_MODEL},
    "unknown model": {"model": "none"},
    "metadata of half": {"metadata": {"half": "even"}},
    "metadata of the past": {"metadata": {"past": "yes"}},
    "metadata of one": {"metadata": {"order": "40000"}},
    "metadata of none": {"metadata": {"order": "none"}},
}
"""Filters that one index answers: a page reads a page."""

COMBINED: dict[str, dict[str, Any]] = {
    "half and one": {"metadata": {"half": "even", "order": "40000"}},
    "half and past": {"metadata": {"half": "odd", "past": "yes"}},
    "failed of a key": {"statuses": ("failed",), "key_name": "giant"},
    "failed of none": {"statuses": ("failed",), "metadata": {"half": "none"}},
    "queued with metadata": {"statuses": ("queued",), "metadata": {"half": "even"}},
    "few of half": {"model": RARE_MODEL, "metadata": {"half": "even"}},
    "succeeded of a tenth in the past": {
        "statuses": ("succeeded",),
        "key_name": "tenth",
        "metadata": {"past": "yes"},
    },
    "a tenth of the odd ones": {"key_name": "tenth", "metadata": {"half": "odd"}},
    "attention of the giant": {"needs_attention": True, "statuses": ("running",)},
}
"""Filters that are checked job by job: a page looks at PAGE_LOOKS jobs and goes on."""


@pytest.mark.parametrize("name", [*SINGLE, *COMBINED])
async def test_a_list_reads_a_page_and_not_the_past(library: Library, name: str) -> None:
    wanted = to_filter(library, (SINGLE | COMBINED)[name])
    limit = 8 * (PAGE + 1) + SKEW_ROWS if name in SINGLE else 4 * PAGE_LOOKS

    for statement in await plan_page(library.pool, wanted):
        assert await read_rows(library.pool, statement) <= limit, statement.sql


@pytest.mark.parametrize("name", [*SINGLE, *COMBINED])
async def test_a_count_looks_at_no_more_than_it_says(library: Library, name: str) -> None:
    query, source = await plan(library.pool, to_filter(library, (SINGLE | COMBINED)[name]))
    if not query.is_empty:
        assert await read_rows(library.pool, query.count(source)) <= 4 * COUNT_LOOKS


@pytest.mark.parametrize("name", [*SINGLE, *COMBINED])
async def test_the_pages_of_a_list_show_what_the_filter_says(library: Library, name: str) -> None:
    wanted = to_filter(library, (SINGLE | COMBINED)[name])

    expected = [row["id"] for row in await library.pool.fetch(*_reference(wanted))]
    shown: list[UUID] = []
    before = wanted.before_id
    is_over = False
    while not is_over and len(shown) < 3 * PAGE:
        page = await list_jobs(library.pool, replace(wanted, before_id=before), limit=PAGE)
        shown += [job.id for job in page.jobs]
        before, is_over = page.next_before, page.next_before is None

    assert shown == expected[: len(shown)]
    assert len(shown) == min(len(expected), 3 * PAGE)
    if is_over:
        assert len(shown) == len(expected)
    if name in SINGLE:
        assert await count_jobs(library.pool, wanted) == min(len(expected), COUNT_LIMIT)


async def test_a_list_that_takes_too_long_says_so(library: Library) -> None:
    wanted = to_filter(library, {})
    async with library.pool.acquire() as connection, connection.transaction():
        await connection.execute("lock table teams in access exclusive mode")
        with pytest.raises(ListTooSlow) as raised:
            await list_jobs(library.pool, wanted, limit=PAGE)

    assert raised.value.code == "list_too_slow"
    assert "3 s" in raised.value.message


async def test_more_lists_than_may_be_read_are_refused(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.jobs.lists.pages.ACQUIRE_SECONDS", 0.05)
    held = [await library.pool.acquire() for _ in range(4)]
    try:
        with pytest.raises(ListsBusy):
            await list_jobs(library.pool, to_filter(library, {}), limit=PAGE)
    finally:
        for connection in held:
            await library.pool.release(connection)


async def test_labels_go_with_their_job(library: Library) -> None:
    job_id = make_uuid7()
    count = "select count(*) from job_labels where job_id = $1"
    await library.pool.execute(
        """
        insert into jobs select (jsonb_populate_record(
            jobs, jsonb_build_object('id', $1::uuid, 'metadata', '{"a": "b", "c": ""}'::jsonb)
        )).* from jobs limit 1
        """,
        job_id,
    )
    assert await library.pool.fetchval(count, job_id) == 2
    await library.pool.execute("delete from jobs where id = $1", job_id)
    assert await library.pool.fetchval(count, job_id) == 0


async def plan(pool: Pool, wanted: JobFilter) -> tuple[ListQuery, Any]:
    async with pool.acquire() as connection:
        query = await make_query(connection, wanted)
        if query.is_empty:
            return query, None
        return query, await find_narrowest(connection, query)


async def plan_page(pool: Pool, wanted: JobFilter) -> list[Statement]:
    """Every statement of a page."""
    query, source = await plan(pool, wanted)
    if query.is_empty:
        return []
    page = query.page(source, f"{SELECT_JOBS} where jobs.id =", limit=PAGE + 1)
    statements = [page]
    is_full = len(await pool.fetch(page.sql, *page.values)) > PAGE
    if query.is_checked(source) and not is_full:
        statements.append(query.reach(source))
    return statements


async def read_rows(pool: Pool, statement: Statement) -> float:
    """The rows that a statement touches in its tables and indexes, thrown away or not."""
    explained = await pool.fetchval(
        f"explain (analyze, buffers, format json) {statement.sql}", *statement.values
    )
    return _sum_rows(json.loads(explained)[0]["Plan"])


def _sum_rows(node: dict[str, Any]) -> float:
    rows = 0.0
    if "Scan" in node["Node Type"] and node["Node Type"] != "Subquery Scan":
        thrown = sum(value for name, value in node.items() if name.startswith("Rows Removed"))
        rows = (node["Actual Rows"] + thrown) * node["Actual Loops"]
    return rows + sum(_sum_rows(each) for each in node.get("Plans", ()))


def _reference(wanted: JobFilter) -> tuple[Any, ...]:
    """The same list by a statement that knows no index."""
    return (
        """
        select jobs.id from jobs
        left join job_runs as runs on runs.job_id = jobs.id
        join keys on keys.id = jobs.key_id
        where ($1::uuid is null or jobs.team_id = $1)
            and ($2::text[] is null or coalesce(jobs.status, runs.status) = any($2))
            and ($3::timestamptz is null or jobs.created_at >= $3)
            and ($4::timestamptz is null or jobs.created_at < $4)
            and ($5::text is null or keys.name = $5)
            and ($6::text is null or jobs.model = $6)
            and ($7::jsonb is null or jobs.metadata @> $7)
            and (not $8::bool or runs.attention_code is not null)
            and ($9::uuid is null or jobs.id < $9)
        order by jobs.id desc
        """,
        wanted.team_id,
        list(wanted.statuses) or None,
        wanted.created_after,
        wanted.created_before,
        wanted.key_name,
        wanted.model,
        wanted.metadata,
        wanted.needs_attention,
        wanted.before_id,
    )
