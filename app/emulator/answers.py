"""The bodies and refusals the upstream sends, key by key (pure)."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

from app.dashscope.payloads import TaskStatus, to_wire_time
from app.emulator.listing import Page
from app.emulator.tasks import Task


def make_request_id() -> str:
    """A UUID whose third group starts with 9, as every recorded one does."""
    text = str(uuid4())
    return f"{text[:14]}9{text[15:]}"


def error_body(request_id: str, code: str, message: str) -> dict[str, Any]:
    return {"request_id": request_id, "code": code, "message": message}


def created_body(request_id: str, task_id: str) -> dict[str, Any]:
    output = {"task_id": task_id, "task_status": TaskStatus.PENDING}
    return {"request_id": request_id, "output": output}


def unknown_body(request_id: str, task_id: str) -> dict[str, Any]:
    """Never existed, another account's or forgotten: all look alike."""
    output = {"task_id": task_id, "task_status": TaskStatus.UNKNOWN}
    return {"request_id": request_id, "output": output}


def task_body(request_id: str, task: Task, urls: Sequence[str]) -> dict[str, Any]:
    """The answer to a query; `urls` are the links of the delivered pictures, in order."""
    output: dict[str, Any] = {"task_id": task.task_id, "task_status": task.status}
    output |= _times(task)
    if task.failure is not None:
        output |= {"code": task.failure.code, "message": task.failure.message}
    if task.status is TaskStatus.SUCCEEDED:
        output["results"] = _results(task, urls)
    output["task_metrics"] = _metrics(task)
    body: dict[str, Any] = {"request_id": request_id, "output": output}
    if task.status is TaskStatus.SUCCEEDED and task.find_fault("no_usage") is None:
        body["usage"] = {"image_count": task.delivered_count}
    return body


def list_body(request_id: str, page: Page, region: str) -> dict[str, Any]:
    return {
        "total": page.total,
        "data": [_row(task, region) for task in page.tasks],
        "total_page": -(-page.total // page.page_size),
        "page_no": page.page_no,
        "request_id": request_id,
        "page_size": page.page_size,
    }


def _times(task: Task) -> dict[str, str]:
    moments = {
        "submit_time": task.submitted_at,
        "scheduled_time": task.started_at,
        "end_time": task.ended_at,
    }
    return {name: to_wire_time(at) for name, at in moments.items() if at is not None}


def _results(task: Task, urls: Sequence[str]) -> list[dict[str, str]]:
    links = iter(urls)
    items = [
        {"code": fault.code, "message": fault.message}
        if fault is not None
        else {**_prompts(task), "url": next(links)}
        for fault in task.outcomes
    ]
    hidden = task.find_fault("no_url")
    if hidden is not None:
        for index, item in enumerate(items):
            if index in hidden.indexes or not hidden.indexes:
                item.pop("url", None)
    return items


def _prompts(task: Task) -> dict[str, str]:
    prompt = task.order.prompt
    if not task.order.prompt_extend:
        return {"orig_prompt": prompt}
    return {"orig_prompt": prompt, "actual_prompt": f"[rewritten by the emulator] {prompt}"}


def _metrics(task: Task) -> dict[str, int]:
    total = max(task.order.n, len(task.outcomes))
    failed = sum(fault is not None for fault in task.outcomes)
    if task.status is TaskStatus.FAILED:
        failed = total
    return {"TOTAL": total, "SUCCEEDED": task.delivered_count, "FAILED": failed}


def _row(task: Task, region: str) -> dict[str, Any]:
    row: dict[str, Any] = {
        "api_key_id": task.caller.key_id,
        "caller_parent_id": task.caller.uid,
        "caller_uid": task.caller.uid,
        "gmt_create": _to_millis(task.submitted_at),
        "model_name": task.order.model,
        "region": region,
        "request_id": task.request_id,
        "status": task.status,
        "task_id": task.task_id,
        "user_api_unique_key": task.unique_key,
    }
    if task.started_at is not None:
        row["start_time"] = _to_millis(task.started_at)
    if task.ended_at is not None:
        row["end_time"] = _to_millis(task.ended_at)
    return dict(sorted(row.items()))


def _to_millis(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
