"""`job`: what became of jobs, and what a person wants of them, for operators."""

from dataclasses import replace
from typing import Annotated, Any
from uuid import UUID

import typer

from app import PROGRAM
from app.cli.context import load_settings
from app.cli.operators.job_reads import AskedJob, parse_id, to_document, with_list_pool, with_pool
from app.cli.operators.job_story import explain_job
from app.cli.operators.job_wishes import cancel, requeue
from app.cli.output import AsJson, print_json, print_table, say
from app.jobs.explain.facts import AttemptFacts
from app.jobs.explain.load import load_facts
from app.jobs.explain.phrases import say_before, say_hold
from app.jobs.explain.story import Story, tell_story
from app.jobs.lifecycle import JobStatus
from app.jobs.lists.pages import list_jobs
from app.jobs.lists.query import JobFilter
from app.jobs.queue.board import Board
from app.jobs.queue.standing import Place, find_place
from app.jobs.store import JobRecord, get_job, list_events
from app.kit.errors import InvalidRequest
from app.kit.postgres.database import Pool
from app.kit.times import to_rfc3339

LIMIT_DEFAULT = 20
LIMIT_HIGHEST = 1_000
COLUMNS = ("id", "team", "status", "n", "created_at", "finished_at", "amount", "attention")
ATTEMPT_COLUMNS = ("number", "account", "intended_at", "outcome", "task_id", "error_code")

jobs = typer.Typer(help="Jobs of all teams.", no_args_is_help=True)
jobs.command("explain")(explain_job)
jobs.command("cancel")(cancel)
jobs.command("requeue")(requeue)


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
        return await _list_all(pool, wanted, limit)

    found = [to_document(settings, job) for job in with_list_pool(settings, read)]
    if as_json:
        print_json(found)
    elif found:
        print_table([_to_row(job) for job in found], COLUMNS)
    else:
        say("No job needs attention." if attention else "There is no such job.")


@jobs.command("show")
def show_job(*, job_id: AskedJob, as_json: AsJson = False) -> None:
    """Show one job, its attempts, and what has happened to it."""
    settings, wanted = load_settings(), parse_id(job_id)

    async def read(pool: Pool) -> tuple[JobRecord, Place | None, Story, list[dict[str, Any]]]:
        job = await get_job(pool, wanted, team_id=None)
        story = tell_story(await load_facts(pool, wanted))
        return job, await find_place(Board(pool), wanted), story, await list_events(pool, wanted)

    job, place, story, events = with_pool(settings, read)
    document = to_document(settings, job, place)
    attempts = [_to_attempt(each) for each in story.attempts]
    if as_json:
        steps = list(story.next_steps)
        print_json({**document, "attempts": attempts, "next_steps": steps, "events": events})
        return
    print_table([_to_row(document)], COLUMNS)
    _print_state(document, story)
    if attempts:
        print_table(attempts, ATTEMPT_COLUMNS)
    print_table([_to_line(event) for event in events], ("at", "type", "detail"))


def _print_state(document: dict[str, Any], story: Story) -> None:
    queue, attention, error = document["queue"], document["attention"], document["error"]
    if error is not None:
        say(f"{error['code']}: {error['message']}")
    if queue is not None:
        eta = queue["eta_seconds"]
        when = f"; its task may end in {eta['p50']} to {eta['p90']} s" if eta else ""
        before, hold = say_before(queue["position"]), say_hold(queue["held_by"])
        typer.echo(f"queue: {before}: {hold}{when}")
    if attention is not None:
        typer.echo(f"attention: {attention['code']}: {attention['detail']}")
    for step in story.next_steps:
        typer.echo(f"  {step}")
    if story.cancel_requested_at is not None:
        typer.echo(f"asked to stop at {to_rfc3339(story.cancel_requested_at)}")
    for picture in document["pictures"]:
        typer.echo(picture.get("url") or f"picture {picture['index']}: {picture['error']}")


async def _list_all(pool: Pool, wanted: JobFilter, limit: int) -> list[JobRecord]:
    """As many as are asked for: a page may hold fewer and still have a next one."""
    found: list[JobRecord] = []
    while True:
        page = await list_jobs(pool, wanted, limit=limit - len(found))
        found += page.jobs
        if len(found) == limit or page.next_before is None:
            return found
        wanted = replace(wanted, before_id=page.next_before)


async def _find_team(pool: Pool, name_or_id: str | None) -> UUID | None:
    if name_or_id is None:
        return None
    found: UUID | None = await pool.fetchval(
        "select id from teams where name = $1 or id::text = $1", name_or_id
    )
    if found is None:
        raise InvalidRequest(f"there is no team {name_or_id!r}: see `{PROGRAM} team list`")
    return found


def _to_attempt(attempt: AttemptFacts) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "account": attempt.account,
        "intended_at": to_rfc3339(attempt.intended_at),
        "outcome": attempt.outcome,
        "task_id": attempt.task_id,
        "error_code": attempt.error_code,
    }


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
