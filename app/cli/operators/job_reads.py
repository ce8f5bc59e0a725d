"""What the verbs of jobs share: a connection, the job that was meant, the job as a document."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar
from uuid import UUID

import typer

from app.cli.context import (
    explaining_database_trouble,
    find_database_url,
    find_gateway_url,
    open_vault,
)
from app.jobs.links import Links
from app.jobs.queue.standing import Place
from app.jobs.store import JobRecord
from app.jobs.view import to_job_view, to_public
from app.kit.clock import utc_now
from app.kit.errors import FieldProblem, InvalidRequest
from app.kit.logs import configure_logs
from app.kit.postgres.database import Pool, open_list_pool, open_pool
from app.settings import Settings

QUIET = "warning"

T = TypeVar("T")

AskedJob = Annotated[str, typer.Argument(metavar="ID", help="The job's id, a UUID.")]


def with_pool(settings: Settings, work: Callable[[Pool], Awaitable[T]]) -> T:
    """Do the work over a connection to the gateway's database; raises GatewayError."""
    return _with_pool(settings, open_pool, work)


def with_list_pool(settings: Settings, work: Callable[[Pool], Awaitable[T]]) -> T:
    """The same for lists, whose statements have less time."""
    return _with_pool(settings, open_list_pool, work)


def _with_pool(
    settings: Settings,
    open_it: Callable[..., Awaitable[Pool]],
    work: Callable[[Pool], Awaitable[T]],
) -> T:
    # Before anything logs: without it the engine's lines would stand among what is printed.
    configure_logs(level=QUIET, as_json=False)
    url = find_database_url(settings)

    async def run() -> T:
        pool = await open_it(url, max_size=1)
        try:
            return await work(pool)
        finally:
            await pool.close()

    with explaining_database_trouble(url):
        return asyncio.run(run())


def parse_id(text: str) -> UUID:
    """Raises InvalidRequest."""
    try:
        return UUID(text)
    except ValueError:
        problem = FieldProblem(("id",), "bad_id", f"is {text!r}, not a job's id (a UUID)")
        raise InvalidRequest.from_problems((problem,)) from None


def to_document(settings: Settings, job: JobRecord, place: Place | None = None) -> dict[str, Any]:
    """The job as the native door shows it."""
    address = settings.public_url or find_gateway_url(settings)
    links = Links(open_vault(settings), address.rstrip("/"), settings.link_ttl_seconds)
    return to_public(to_job_view(job, links, now=utc_now(), place=place))
