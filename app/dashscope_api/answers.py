"""Bodies of the task API: our jobs in the upstream's words (pure but for the response class).

Source: Alibaba Cloud Model Studio, "Wan2.5 general image editing" and "Manage asynchronous
tasks"; values inside `results` items are scalars, for one SDK can read no others.
"""

from datetime import datetime
from typing import Any

import orjson
from fastapi.responses import JSONResponse

from app.dashscope.payloads import TaskStatus, to_wire_time
from app.jobs.lifecycle import JobStatus
from app.jobs.links import Links
from app.jobs.store import JobRecord, PictureRecord
from app.jobs.view import shown_pictures

SHOWN_AS: dict[JobStatus, TaskStatus] = {
    JobStatus.QUEUED: TaskStatus.PENDING,
    JobStatus.SUBMITTING: TaskStatus.PENDING,
    JobStatus.RUNNING: TaskStatus.RUNNING,
    JobStatus.FINALIZING: TaskStatus.RUNNING,
    JobStatus.SUCCEEDED: TaskStatus.SUCCEEDED,
    JobStatus.FAILED: TaskStatus.FAILED,
    JobStatus.EXPIRED: TaskStatus.FAILED,
    JobStatus.CANCELED: TaskStatus.CANCELED,
}


class WireResponse(JSONResponse):
    """JSON as the upstream sends it: UTF-8, unescaped; an HTTP status of 200 unless told."""

    def __init__(self, content: Any, status_code: int = 200, **options: Any) -> None:
        super().__init__(content, status_code, **options)
        self.headers["Cache-Control"] = "no-store"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content)


def to_created(job_id: str, status: TaskStatus, request_id: str) -> dict[str, Any]:
    """The answer to a create."""
    return {"output": {"task_status": status, "task_id": job_id}, "request_id": request_id}


def to_unknown(task_id: str, request_id: str) -> dict[str, Any]:
    """The answer about a task that is not there or not the caller's: no 404, no hint."""
    output = {"task_id": task_id, "task_status": TaskStatus.UNKNOWN}
    return {"request_id": request_id, "output": output}


def to_task(job: JobRecord, links: Links, *, now: datetime, request_id: str) -> dict[str, Any]:
    """The answer to a query of any state."""
    output = to_summary(job)
    answer: dict[str, Any] = {"request_id": request_id, "output": output}
    if job.status is JobStatus.SUCCEEDED:
        output["results"] = [
            _to_result(job, picture, links, now) for picture in shown_pictures(job)
        ]
        answer["usage"] = {"image_count": job.image_count}
    elif job.error_code is not None:
        output["code"] = job.error_code
        output["message"] = job.error_message or ""
    output["task_metrics"] = _to_metrics(job)
    return answer


def to_summary(job: JobRecord) -> dict[str, Any]:
    """Id, status and times in words: the head of a query's output."""
    summary: dict[str, Any] = {
        "task_id": str(job.id),
        "task_status": SHOWN_AS[job.status],
        "submit_time": to_wire_time(job.created_at),
    }
    if job.submitted_at is not None:
        summary["scheduled_time"] = to_wire_time(job.submitted_at)
    if job.finished_at is not None:
        summary["end_time"] = to_wire_time(job.finished_at)
    return summary


def to_listed(job: JobRecord) -> dict[str, Any]:
    """A row of the list: metadata only, times in epoch milliseconds."""
    listed: dict[str, Any] = {
        "api_key_id": job.key,
        "caller_parent_id": job.team,
        "caller_uid": job.team,
        "gmt_create": _to_millis(job.created_at),
        "model_name": job.model,
        "request_id": str(job.id),
        "status": SHOWN_AS[job.status],
        "task_id": str(job.id),
        "user_api_unique_key": (f"apikey:v1:aigc:image2image:image-synthesis:{job.model}"),
    }
    if job.submitted_at is not None:
        listed["start_time"] = _to_millis(job.submitted_at)
    if job.finished_at is not None:
        listed["end_time"] = _to_millis(job.finished_at)
    return listed


def _to_result(
    job: JobRecord, picture: PictureRecord, links: Links, now: datetime
) -> dict[str, Any]:
    if picture.content_type is None:
        return {"code": picture.error_code, "message": picture.error_message or ""}
    result = {"orig_prompt": job.prompt}
    if picture.actual_prompt is not None:
        result["actual_prompt"] = picture.actual_prompt
    result["url"] = links.picture_url(
        job.id, picture.index, content_type=picture.content_type, now=now
    )
    return result


def _to_metrics(job: JobRecord) -> dict[str, int]:
    if not job.status.is_final:
        return {"TOTAL": job.n, "SUCCEEDED": 0, "FAILED": 0}
    delivered = job.image_count or 0
    failed = job.n - delivered
    if job.status is JobStatus.CANCELED:
        failed = 0
    return {"TOTAL": job.n, "SUCCEEDED": delivered, "FAILED": failed}


def _to_millis(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
