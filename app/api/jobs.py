"""Jobs of the native door: create, read, list."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from hashlib import sha256
from typing import Annotated
from uuid import UUID

import structlog
from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import JSONResponse

from app.api.accepted import answer_as_known
from app.api.documents import (
    CANCEL_ANSWERS,
    CREATE_ANSWERS,
    CREATE_BODY,
    JOB_ANSWERS,
    LIST_ANSWERS,
    JobList,
)
from app.api.dry_run import dry_run_edit
from app.api.listing import ListQuery, to_filter
from app.api.waiting import (
    READ_BACK_SECONDS,
    read_wait_seconds,
    wait_for_accepted,
    wait_for_end,
)
from app.jobs.accept import Asker, accept_job
from app.jobs.accepting.outcomes import Acceptance, Idempotency
from app.jobs.cancel import CancelResult, cancel_job
from app.jobs.lifecycle import JobStatus
from app.jobs.links import Links
from app.jobs.lists.pages import list_jobs
from app.jobs.queue.standing import find_place
from app.jobs.requests.edit import EditRequest, fingerprint
from app.jobs.requests.parse_native import parse_native
from app.jobs.store import JobRecord, get_job
from app.jobs.view import JobView, to_job_view, to_public
from app.kit.deadlines import within
from app.kit.errors import Conflict
from app.kit.paging import make_cursor
from app.kit.postgres.database import CONNECTION_TROUBLE
from app.teams.authenticate import Caller
from app.web.bodies import parse_body
from app.web.context import DoorsHere, LinksHere, Reader, Writer, get_bodies
from app.web.etags import has_current, make_etag
from app.web.idempotency import read_idempotency_key
from app.web.json_bodies import parse_json
from app.web.parameters import refuse_unknown_parameters
from app.wiring import Doors

DOOR = "native"
RETRY_AFTER_SECONDS = "5"

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

AskedJob = Annotated[UUID, Path(description="the job's id")]

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

Prefer = Annotated[
    str | None,
    Header(
        description="`wait=30` holds the answer until the job has ended, 60 s at most. An answer "
        "without `Preference-Applied` was not held: too many wait already."
    ),
]
DryRun = Annotated[bool, Query(description="Check and price the request without accepting a job.")]


@router.post(
    "",
    status_code=202,
    response_model=JobView,
    responses=CREATE_ANSWERS,
    openapi_extra=CREATE_BODY,
    summary="Accept an edit",
)
async def create_job(
    request: Request,
    doors: DoorsHere,
    links: LinksHere,
    caller: Writer,
    *,
    prefer: Prefer = None,
    dry_run: DryRun = False,
) -> Response:
    """Accepted means durable: the job survives any crash once this has answered."""
    refuse_unknown_parameters(request, {"dry_run"})
    if dry_run:
        return await _answer_dry_run(request, doors, caller)
    wait_seconds = read_wait_seconds(prefer)
    acceptance, asked = await _accept(request, doors, caller)
    response = await _answer_accepted(
        doors, links, caller, acceptance, asked, wait_seconds=wait_seconds
    )
    response.headers["Location"] = f"{links.base_url}/v1/jobs/{acceptance.job_id}"
    if acceptance.replayed:
        response.headers["Idempotent-Replayed"] = "true"
    return response


@router.get("/{job_id}", response_model=JobView, responses=JOB_ANSWERS, summary="Read a job")
async def read_job(
    job_id: AskedJob,
    doors: DoorsHere,
    links: LinksHere,
    caller: Reader,
    *,
    prefer: Prefer = None,
    if_none_match: Annotated[str | None, Header(description="the `ETag` that you have")] = None,
) -> Response:
    """The job as it stands, with fresh links; `ETag` changes when anything of it does."""
    wait_seconds = read_wait_seconds(prefer)
    job, waited = await wait_for_end(doors, job_id, caller, seconds=wait_seconds)
    response = await _answer_job(doors, job, links, status_code=200)
    if has_current(if_none_match, response.headers["ETag"]):
        kept = {name: response.headers[name] for name in ("ETag", "Cache-Control")}
        return Response(status_code=304, headers=kept)
    return _with_preference(response, wait_seconds if waited else 0)


@router.post(
    "/{job_id}/cancel", response_model=JobView, responses=CANCEL_ANSWERS, summary="Cancel a job"
)
async def cancel_team_job(
    job_id: AskedJob, request: Request, doors: DoorsHere, links: LinksHere, caller: Writer
) -> Response:
    """A job that is on its way or upstream stops if it still can: poll it for what became of it.

    Once the upstream has made pictures they are paid for, and kept. Asking again does no harm.
    """
    refuse_unknown_parameters(request, ())
    pool = doors.base.pool
    result = await cancel_job(pool, job_id, team_id=caller.team_id)
    job = await get_job(pool, job_id, team_id=caller.team_id)
    if result is CancelResult.TOO_LATE:
        raise _refuse_cancel(job)
    is_canceled = job.status is JobStatus.CANCELED
    response = await _answer_job(doors, job, links, status_code=202)
    response.status_code = 200 if is_canceled else 202
    return response


@router.get("", response_model=JobList, responses=LIST_ANSWERS, summary="List the team's jobs")
async def list_team_jobs(
    request: Request,
    doors: DoorsHere,
    links: LinksHere,
    caller: Reader,
    query: Annotated[ListQuery, Query()],
) -> Response:
    """Newest first. Filter by metadata with `metadata.NAME=VALUE`.

    A page may hold fewer jobs than `limit`, or none, and still have a next one: `has_more` tells.
    """
    wanted = to_filter(query, request, caller.team_id, doors.base.vault)
    page = await list_jobs(doors.base.lists, wanted, limit=query.limit)
    now = doors.base.clock()
    following = page.next_before
    cursor = None if following is None else make_cursor(doors.base.vault, str(following))
    response = JSONResponse(
        {
            "object": "list",
            "data": [to_public(to_job_view(job, links, now=now)) for job in page.jobs],
            "has_more": cursor is not None,
            "next_cursor": cursor,
            "limit": query.limit,
        },
        headers={"Cache-Control": "no-store"},
    )
    if cursor is not None:
        url = request.url.include_query_params(cursor=cursor)
        response.headers["Link"] = f'<{links.base_url}{url.path}?{url.query}>; rel="next"'
    return response


async def _accept(
    request: Request, doors: Doors, caller: Caller
) -> tuple[Acceptance, EditRequest]:
    """On its own, so that the images have left memory before anybody waits for the job."""
    assert caller.team_id is not None
    key = read_idempotency_key(request)
    asker = Asker(caller.team_id, caller.key_id, DOOR)
    async with (await get_bodies(request)).read(request, caller.team_id) as body:
        asked = await parse_body(body, partial(_parse, headers=request.headers))
        idempotency = None if key is None else Idempotency(f"key:{key}", fingerprint(asked))
        acceptance = await accept_job(doors.accept, asker, asked, idempotency=idempotency)
    return acceptance, replace(asked, images=())


async def _answer_accepted(
    doors: Doors,
    links: Links,
    caller: Caller,
    acceptance: Acceptance,
    asked: EditRequest,
    *,
    wait_seconds: float,
) -> JSONResponse:
    """The job is stored: whatever goes wrong now, its client hears of it, and of its id."""
    try:
        job, waited = await wait_for_accepted(
            doors, acceptance.job_id, caller, seconds=wait_seconds
        )
        response = await within(READ_BACK_SECONDS, _answer_job(doors, job, links, status_code=202))
    except Exception as error:
        log.warning(
            "create.answered_as_known",
            job_id=str(acceptance.job_id),
            error=type(error).__name__,
            exc_info=not isinstance(error, CONNECTION_TROUBLE),
        )
        response = answer_as_known(acceptance, asked, caller)
        response.headers["Cache-Control"] = "no-store"
        response.headers["Retry-After"] = RETRY_AFTER_SECONDS
        return response
    return _with_preference(response, wait_seconds if waited else 0)


async def _answer_dry_run(request: Request, doors: Doors, caller: Caller) -> JSONResponse:
    assert caller.team_id is not None
    read_idempotency_key(request)  # What the create would refuse is refused here.
    async with (await get_bodies(request)).read(request, caller.team_id) as body:
        asked = await parse_body(body, partial(_parse, headers=request.headers))
        view = await dry_run_edit(
            doors.board, asked, team_id=caller.team_id, clock=doors.base.clock
        )
    return JSONResponse(view.model_dump(mode="json"), headers={"Cache-Control": "no-store"})


def _parse(body: bytes, headers: Mapping[str, str]) -> EditRequest:
    return parse_native(parse_json(body, headers))


def _refuse_cancel(job: JobRecord) -> Conflict:
    if job.status.is_final:
        return Conflict(f"job {job.id} has ended: it is {job.status}", code="job_finished")
    return Conflict(
        f"job {job.id} is {job.status}: its pictures are made and paid for, and are being kept",
        code="job_finalizing",
    )


async def _answer_job(
    doors: Doors, job: JobRecord, links: Links, *, status_code: int
) -> JSONResponse:
    place = None
    if job.status is JobStatus.QUEUED:
        place = await find_place(doors.board, job.id)
    view = to_job_view(job, links, now=doors.base.clock(), place=place)
    response = JSONResponse(to_public(view), 200 if job.status.is_final else status_code)
    response.headers["ETag"] = make_etag(sha256(response.body).hexdigest()[:32])
    response.headers["Cache-Control"] = "no-store"
    if not job.status.is_final:
        response.headers["Retry-After"] = RETRY_AFTER_SECONDS
    return response


def _with_preference(response: JSONResponse, wait_seconds: float) -> JSONResponse:
    if wait_seconds > 0:
        response.headers["Preference-Applied"] = f"wait={wait_seconds:g}"
    return response
