"""`job cancel` and `job requeue`: what a person wants of a job, and what it may cost."""

from typing import Annotated, Any
from uuid import UUID

import typer

from app import PROGRAM
from app.audit.record import note_audit
from app.cli.context import load_settings, who_acts
from app.cli.operators.job_reads import AskedJob, parse_id, to_document, with_pool
from app.cli.output import AsJson, print_json
from app.jobs.cancel import CancelResult, cancel_job
from app.jobs.explain.phrases import say_before, say_hold
from app.jobs.lifecycle import Action, Stop
from app.jobs.queue.board import Board
from app.jobs.queue.standing import Place, find_place
from app.jobs.requeue import Agreement, RequeueResult, requeue_job
from app.jobs.store import JobRecord, get_job
from app.kit.errors import Conflict
from app.kit.postgres.database import Connection, Pool
from app.settings import Settings

CANCEL_ANSWERS = {
    CancelResult.CANCELED: "is canceled; it costs its team nothing",
    CancelResult.ASKED: (
        "is asked to stop: it has been sent or is being sent. It ends free if no task was made, "
        "or if the task still waits upstream; pictures that are made are kept, and paid for"
    ),
}
REQUEUE_ANSWERS = {
    RequeueResult.GIVE_UP: "has given up its attempt, and waits its turn again",
    RequeueResult.END: "has given up its attempt, and ended free: it was asked to stop",
    RequeueResult.START_NOW: "may go out at once, when its turn comes",
    RequeueResult.KEEP_NOW: "has its pictures tried again at once",
}

Seen = tuple[JobRecord, Place | None]


def cancel(*, job_id: AskedJob, as_json: AsJson = False) -> None:
    """Cancel a job of any team, or ask it to stop; exit 1 when it is too late."""
    settings, wanted = load_settings(), parse_id(job_id)

    async def work(pool: Pool) -> tuple[CancelResult, Seen]:
        job = await get_job(pool, wanted, team_id=None)

        async def audit(connection: Connection, actions: tuple[Action, ...]) -> None:
            is_over = any(isinstance(action, Stop) for action in actions)
            result = CancelResult.CANCELED if is_over else CancelResult.ASKED
            await _audit(connection, "job.canceled", job, {"result": result.value})

        result = await cancel_job(pool, wanted, team_id=None, witness=audit)
        return result, await _look(pool, wanted)

    result, seen = with_pool(settings, work)
    job, _ = seen
    if result is CancelResult.TOO_LATE:
        why = "has ended" if job.status.is_final else "its pictures are paid for, and being kept"
        raise Conflict(f"too late to cancel job {wanted}, it is {job.status}: {why}")
    _print_outcome(settings, seen, CANCEL_ANSWERS[result], as_json=as_json)


def requeue(
    *,
    job_id: AskedJob,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="What was found; it is kept.")
    ],
    agreed: Annotated[
        Agreement | None,
        typer.Option(
            "--yes",
            parser=Agreement.parse,
            metavar="ATTEMPT",
            help="Agree that another picture may be paid for; which attempt, is shown without.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Have a job tried again: given up and queued anew, sent at once, or its pictures fetched."""
    settings, wanted = load_settings(), parse_id(job_id)

    async def work(pool: Pool) -> tuple[RequeueResult, Seen]:
        job = await get_job(pool, wanted, team_id=None)

        async def audit(connection: Connection, result: RequeueResult) -> None:
            detail = {"result": result.value, "reason": reason}
            await _audit(connection, "job.requeued", job, detail)

        result = await requeue_job(pool, wanted, reason=reason, agreed=agreed, witness=audit)
        return result, await _look(pool, wanted)

    result, seen = with_pool(settings, work)
    _print_outcome(settings, seen, REQUEUE_ANSWERS[result], as_json=as_json)


async def _look(pool: Pool, job_id: UUID) -> Seen:
    return await get_job(pool, job_id, team_id=None), await find_place(Board(pool), job_id)


async def _audit(
    connection: Connection, action: str, job: JobRecord, detail: dict[str, Any]
) -> None:
    await note_audit(
        connection,
        actor=who_acts(),
        action=action,
        subject_kind="job",
        subject_id=job.id,
        detail={**detail, "team": job.team},
    )


def _print_outcome(settings: Settings, seen: Seen, answer: str, *, as_json: bool) -> None:
    job, place = seen
    if as_json:
        print_json(to_document(settings, job, place))
        return
    typer.echo(f"Job {job.id} {answer}.")
    if place is not None:
        typer.echo(f"In the queue: {say_before(place.position)}: {say_hold(place.held_by)}.")
    if not job.status.is_final:
        typer.echo(f"What becomes of it: {PROGRAM} job explain {job.id}")
