"""Query, list and cancel tasks: answered from our rows, never from the upstream."""

from datetime import datetime, timedelta
from uuid import UUID

from fastapi import APIRouter, Request
from starlette.datastructures import QueryParams

from app.dashscope.payloads import TaskStatus, parse_list_time
from app.dashscope_api.answers import (
    SHOWN_AS,
    WireResponse,
    to_listed,
    to_summary,
    to_task,
    to_unknown,
)
from app.dashscope_api.errors import WireError
from app.jobs.cancel import cancel_queued_job
from app.jobs.lists.pages import count_jobs, list_jobs
from app.jobs.lists.query import JobFilter
from app.jobs.store import find_job
from app.kit.errors import FieldProblem, InvalidRequest
from app.web.context import DoorsHere, LinksHere, Reader, Writer
from app.web.parameters import SHOWN_CHARACTERS
from app.web.patience import patiently
from app.web.request_ids import request_id_of

LIST_WINDOW = timedelta(hours=24)
PAGE_SIZE_DEFAULT = 10
PAGE_SIZE_LIMIT = 100
PAGE_LIMIT = 10_000
DIGITS_LIMIT = 9
FIRST_YEAR, LAST_YEAR = 1970, 9998
YEARS = f"its year must be from {FIRST_YEAR} to {LAST_YEAR}"
READ_PARAMETERS = (
    *("page_no", "page_size", "start_time", "end_time"),
    *("status", "api_key_id", "model_name", "task_id"),
)
SUSPENDED = "SUSPENDED"
"""A word that SDKs know, for a status that no task has had."""
NO_ID = UUID(int=0)
CANNOT_CANCEL = "Failed to cancel the task, please confirm if the task is in PENDING status."

router = APIRouter()


@router.get("/tasks/{task_id}")
@router.get("/tasks/{task_id}/")
async def query_task(
    task_id: str, request: Request, doors: DoorsHere, links: LinksHere, caller: Reader
) -> WireResponse:
    """Always 200; unknown parameters are ignored, for one SDK sends its create's along."""
    request_id = request_id_of(request)
    job_id = _parse_id(task_id)
    if job_id is None:
        return WireResponse(to_unknown(task_id, request_id))
    job = await patiently(lambda: find_job(doors.base.reads, job_id, team_id=caller.team_id))
    if job is None:
        return WireResponse(to_unknown(task_id, request_id))
    return WireResponse(to_task(job, links, now=doors.base.clock(), request_id=request_id))


@router.get("/tasks")
@router.get("/tasks/")
async def list_tasks(request: Request, doors: DoorsHere, caller: Reader) -> WireResponse:
    """The team's own tasks, newest first, of at most 24 hours and the newest 10,000 of those.

    `total` counts no further either: who has more asks for a shorter time.
    """
    query = request.query_params
    _refuse_nul(query)
    page = _read_number(query.get("page_no"), "page_no", default=1, highest=PAGE_LIMIT)
    size = _read_number(
        query.get("page_size"), "page_size", default=PAGE_SIZE_DEFAULT, highest=PAGE_SIZE_LIMIT
    )
    wanted = _read_filter(request, caller.team_id, doors.base.clock())
    pool, offset = doors.base.lists, (page - 1) * size
    total = await patiently(lambda: count_jobs(pool, wanted))
    found = await patiently(lambda: list_jobs(pool, wanted, limit=size, offset=offset))
    return WireResponse(
        {
            "total": total,
            "data": [to_listed(job) for job in found.jobs],
            # The SDK's newer client reads this name, with times as text; the others ignore it.
            "tasks": [to_summary(job) for job in found.jobs],
            "total_page": -(-total // size),
            "page_no": page,
            "request_id": request_id_of(request),
            "page_size": size,
        }
    )


@router.api_route("/tasks/{task_id}/cancel", methods=["POST", "GET"])
@router.api_route("/tasks/{task_id}/cancel/", methods=["POST", "GET"])
async def cancel_task(
    task_id: str, request: Request, doors: DoorsHere, caller: Writer
) -> WireResponse:
    """Only a pending task can be canceled; one old SDK asks for it by GET."""
    job_id = _parse_id(task_id)
    if job_id is None or not await cancel_queued_job(
        doors.base.pool, job_id, team_id=caller.team_id
    ):
        raise WireError(400, "UnsupportedOperation", CANNOT_CANCEL)
    return WireResponse({"request_id": request_id_of(request)})


def _parse_id(task_id: str) -> UUID | None:
    try:
        return UUID(task_id)
    except ValueError:
        return None


def _read_filter(request: Request, team_id: UUID | None, now: datetime) -> JobFilter:
    query = request.query_params
    for name in ("model_name", "api_key_id"):
        if "\0" in query.get(name, ""):
            raise _bad(name, "contains a NUL character; remove it")
    since, until = _read_window(query.get("start_time"), query.get("end_time"), now)
    status = query.get("status")
    statuses: tuple[str, ...] = ()
    if status:
        statuses = tuple(ours for ours, theirs in SHOWN_AS.items() if theirs == status.upper())
        if not statuses and status.upper() not in {*TaskStatus, SUSPENDED}:
            known = ", ".join(TaskStatus)
            raise _bad("status", f"is {_show(status)}; it must be one of {known}")
        statuses = statuses or ("unknown",)
    return JobFilter(
        team_id=team_id,
        statuses=statuses,
        created_after=since,
        created_before=until,
        key_name=query.get("api_key_id"),
        model=query.get("model_name"),
        only_id=(_parse_id(query["task_id"]) or NO_ID) if query.get("task_id") else None,
    )


def _read_window(start: str | None, end: str | None, now: datetime) -> tuple[datetime, datetime]:
    since, until = _read_time(start, "start_time"), _read_time(end, "end_time")
    if since is None and until is None:
        return now - LIST_WINDOW, now + timedelta(minutes=1)
    if until is None and since is not None:
        return since, since + LIST_WINDOW
    assert until is not None
    if since is None:
        return until - LIST_WINDOW, until
    if not timedelta(0) <= until - since <= LIST_WINDOW:
        raise _bad("end_time", "must come after start_time, by 24 hours at most")
    return since, until


def _read_time(text: str | None, name: str) -> datetime | None:
    if not text:
        return None
    try:
        moment = parse_list_time(text)
    except OverflowError:
        raise _bad(name, f"is {_show(text)}; {YEARS}") from None
    except ValueError:
        raise _bad(name, f"is {_show(text)}; it must be YYYYMMDDhhmmss in UTC+8") from None
    # A day before and after it must be times as well.
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise _bad(name, f"is {_show(text)}; {YEARS}")
    return moment


def _read_number(text: str | None, name: str, *, default: int, highest: int) -> int:
    if not text:
        return default
    is_number = text.isdecimal() and len(text) <= DIGITS_LIMIT
    if not is_number or not 1 <= int(text) <= highest:
        raise _bad(name, f"is {_show(text)}; it must be a number from 1 to {highest}")
    return int(text)


def _refuse_nul(query: QueryParams) -> None:
    for name in READ_PARAMETERS:
        if any("\0" in value for value in query.getlist(name)):
            raise _bad(name, "contains a NUL character; remove it")


def _show(text: str) -> str:
    return repr(text[:SHOWN_CHARACTERS])


def _bad(name: str, message: str) -> InvalidRequest:
    return InvalidRequest.from_problems((FieldProblem((name,), "bad_query", message),))
