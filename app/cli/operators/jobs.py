"""`job list` and `job show`: what became of jobs, for operators."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar
from uuid import UUID

import typer

from app.cli.context import (
    explaining_database_trouble,
    find_database_url,
    find_gateway_url,
    load_settings,
    open_vault,
)
from app.cli.output import AsJson, print_json, print_table, say
from app.jobs.lifecycle import JobStatus
from app.jobs.links import Links
from app.jobs.store import JobFilter, JobRecord, get_job, list_events, list_jobs
from app.jobs.view import to_job_view, to_public
from app.kit.clock import utc_now
from app.kit.errors import FieldProblem, InvalidRequest
from app.kit.postgres.database import Pool, open_pool
from app.kit.times import to_rfc3339
from app.settings import Settings

LIMIT_DEFAULT = 20
LIMIT_HIGHEST = 1_000
COLUMNS = ("id", "team", "status", "n", "created_at", "finished_at", "amount", "attention")

T = TypeVar("T")

jobs = typer.Typer(help="Jobs of all teams.", no_args_is_help=True)


@jobs.command("list")
def show_list(
    *,
    status: Annotated[JobStatus | None, typer.Option(help="Only jobs of that status.")] = None,
    team: Annotated[str | None, typer.Option(metavar="TEAM", help="Only that team's.")] = None,
    attention: Annotated[
        bool, typer.Option("--attention", help="Only jobs that a person must look at.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=LIMIT_HIGHEST)] = LIMIT_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    settings = load_settings()

    async def read(pool: Pool) -> list[JobRecord]:
        team_id = await _find_team(pool, team)
        wanted = JobFilter(
            team_id=team_id, statuses=(status,) if status else (), needs_attention=attention
        )
        return await list_jobs(pool, wanted, limit=limit)

    found = [_to_document(settings, job) for job in _read(settings, read)]
    if as_json:
        print_json(found)
    elif found:
        print_table([_to_row(job) for job in found], COLUMNS)
    else:
        say("There is no such job.")


@jobs.command("show")
def show_job(
    *, job_id: Annotated[str, typer.Argument(metavar="ID")], as_json: AsJson = False
) -> None:
    """Show one job and what has happened to it."""
    settings = load_settings()
    wanted = _parse_id(job_id)

    async def read(pool: Pool) -> tuple[JobRecord, list[dict[str, Any]]]:
        return await get_job(pool, wanted, team_id=None), await list_events(pool, wanted)

    job, events = _read(settings, read)
    document = {**_to_document(settings, job), "events": events}
    if as_json:
        print_json(document)
        return
    print_table([_to_row(document)], COLUMNS)
    if job.error_code is not None:
        say(f"{job.error_code}: {job.error_message}")
    for picture in document["pictures"]:
        typer.echo(picture.get("url") or f"picture {picture['index']}: {picture['error']}")
    print_table([_to_line(event) for event in events], ("at", "type", "detail"))


def _read(settings: Settings, work: Callable[[Pool], Awaitable[T]]) -> T:
    url = find_database_url(settings)

    async def run() -> T:
        pool = await open_pool(url, max_size=1)
        try:
            return await work(pool)
        finally:
            await pool.close()

    with explaining_database_trouble(url):
        return asyncio.run(run())


async def _find_team(pool: Pool, name_or_id: str | None) -> UUID | None:
    if name_or_id is None:
        return None
    found: UUID | None = await pool.fetchval(
        "select id from teams where name = $1 or id::text = $1", name_or_id
    )
    if found is None:
        raise InvalidRequest(f"there is no team {name_or_id!r}: see `dashgate team list`")
    return found


def _to_document(settings: Settings, job: JobRecord) -> dict[str, Any]:
    address = settings.public_url or find_gateway_url(settings)
    links = Links(open_vault(settings), address.rstrip("/"), settings.link_ttl_seconds)
    return to_public(to_job_view(job, links, now=utc_now()))


def _to_row(document: dict[str, Any]) -> dict[str, Any]:
    usage, attention = document["usage"], document["attention"]
    return {
        **document,
        "amount": f"{usage['amount']} {usage['currency']}",
        "attention": attention["code"] if attention else None,
    }


def _to_line(event: dict[str, Any]) -> dict[str, Any]:
    detail = ", ".join(f"{name} {value}" for name, value in event["detail"].items())
    return {"at": to_rfc3339(event["at"]), "type": event["type"], "detail": detail}


def _parse_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        problem = FieldProblem(("id",), "bad_id", f"is {text!r}, not a job's id (a UUID)")
        raise InvalidRequest.from_problems((problem,)) from None
