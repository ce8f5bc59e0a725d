"""What the OpenAPI document says of the DashScope door, whose shapes are the upstream's own.

Source: Alibaba Cloud Model Studio, "Wan2.5 general image editing" and "Manage asynchronous tasks".
"""

from typing import Any

from app.dashscope.payloads import (
    ASYNC_HEADER,
    IMAGE_TO_IMAGE_PATH,
    TEXT_TO_IMAGE_PATH,
    TaskStatus,
)
from app.jobs.requests.models import DEFAULT_MODEL

TAG = "DashScope door"
_TASK_ID = "0198c0f2-7d3a-7c11-b2a5-7c6e5d4f3a21"
_RULES = DEFAULT_MODEL

_TEXT = {"type": "string"}
_ERROR = {
    "type": "object",
    "properties": {
        "code": {**_TEXT, "description": "The upstream's own code, such as `InvalidParameter`"},
        "message": {**_TEXT, "description": "What is wrong, with the limit and the value"},
        "request_id": {**_TEXT, "description": "Finds the request in the gateway's log"},
    },
    "required": ["code", "message", "request_id"],
}
_PICTURE = {
    "type": "object",
    "properties": {
        "url": {**_TEXT, "description": "A signed link to the kept picture; needs no key"},
        "orig_prompt": {**_TEXT, "description": "The prompt as it was sent"},
        "actual_prompt": {**_TEXT, "description": "The prompt as the model rewrote it"},
        "code": {**_TEXT, "description": "Instead of a URL: why this picture was not made"},
        "message": {**_TEXT, "description": "The same in words"},
    },
}
_OUTPUT = {
    "type": "object",
    "properties": {
        "task_id": {**_TEXT, "description": "The job's id, on every door"},
        "task_status": {"enum": list(TaskStatus), "description": "`UNKNOWN`: not one of yours"},
        "submit_time": {**_TEXT, "description": "When it was accepted, in UTC+8"},
        "scheduled_time": {**_TEXT, "description": "When it was sent upstream"},
        "end_time": {**_TEXT, "description": "When it ended, its pictures kept"},
        "results": {"type": "array", "items": _PICTURE, "description": "Of a succeeded task"},
        "task_metrics": {
            "type": "object",
            "additionalProperties": {"type": "integer"},
            "description": "`TOTAL`, `SUCCEEDED` and `FAILED` pictures",
        },
        "code": {**_TEXT, "description": "Of a failed task: the upstream's code"},
        "message": {**_TEXT, "description": "The same in words"},
    },
    "required": ["task_id", "task_status"],
}
_CREATE = {
    "type": "object",
    "required": ["model", "input"],
    "properties": {
        "model": {"enum": [_RULES.name]},
        "input": {
            "type": "object",
            "required": ["prompt", "images"],
            "properties": {
                "prompt": {**_TEXT, "minLength": 1, "maxLength": _RULES.prompt_characters},
                "images": {
                    "type": "array",
                    "items": _TEXT,
                    "minItems": _RULES.images_count[0],
                    "maxItems": _RULES.images_count[1],
                    "description": "URLs, data URIs or `oss://` uploads of this gateway",
                },
                "negative_prompt": {**_TEXT, "maxLength": _RULES.negative_prompt_characters},
            },
        },
        "parameters": {
            "type": "object",
            "properties": {
                "n": {"type": "integer", "minimum": _RULES.n[0], "maximum": _RULES.n[1]},
                "size": {**_TEXT, "description": "width*height"},
                "seed": {"type": "integer"},
                "watermark": {"type": "boolean"},
                "prompt_extend": {"type": "boolean"},
            },
        },
    },
}
_CREATE_EXAMPLE = {
    "model": _RULES.name,
    "input": {
        "prompt": "Turn the dress into vintage lace",
        "images": ["https://example.com/dress.jpg"],
    },
    "parameters": {"n": 1},
}
_TASK_EXAMPLE = {
    "request_id": "35137489-2862-96cd-b6ad-2ff4e8b7b4f1",
    "output": {
        "task_id": _TASK_ID,
        "task_status": "SUCCEEDED",
        "submit_time": "2026-11-28 12:00:00.123",
        "scheduled_time": "2026-11-28 12:00:00.456",
        "end_time": "2026-11-28 12:00:45.789",
        "results": [
            {
                "url": f"https://gateway.example/v1/jobs/{_TASK_ID}/pictures/{_TASK_ID}-0.png",
                "orig_prompt": "Turn the dress into vintage lace",
            }
        ],
        "task_metrics": {"TOTAL": 1, "SUCCEEDED": 1, "FAILED": 0},
    },
    "usage": {"image_count": 1},
}


def describe_door(prefix: str) -> dict[str, Any]:
    """Paths of the door, as OpenAPI has them."""
    create = {"post": _describe_create()}
    task = f"{prefix}/tasks/{{task_id}}"
    return {
        prefix + IMAGE_TO_IMAGE_PATH: create,
        prefix + TEXT_TO_IMAGE_PATH: create,
        task: {"get": _describe_query()},
        f"{prefix}/tasks": {"get": _describe_list()},
        f"{task}/cancel": {"post": _describe_cancel()},
        f"{prefix}/uploads": {"get": _describe_policy()},
    }


def _describe_create() -> dict[str, Any]:
    output = {"output": _OUTPUT, "request_id": _TEXT}
    return {
        "tags": [TAG],
        "summary": "Create a task",
        "description": (
            "The upstream's own call. The answer is the task's id; ask for the task until it has "
            "ended. A create that an SDK sends again after a lost connection makes no second task."
        ),
        "parameters": [
            _header(ASYNC_HEADER, "Must be `enable`", enum=["enable"], required=True),
            _header("Idempotency-Key", "The same key brings the same task, for three days"),
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _CREATE, "example": _CREATE_EXAMPLE}},
        },
        "responses": {
            **_refusals(400, 401, 403, 413, 415, 429, 503),
            "200": _answer("The task is accepted", output),
        },
    }


def _describe_query() -> dict[str, Any]:
    usage = {"type": "object", "properties": {"image_count": {"type": "integer"}}}
    shape = {"request_id": _TEXT, "output": _OUTPUT, "usage": usage}
    return {
        "tags": [TAG],
        "summary": "Ask for a task",
        "description": "Answers for as long as the job is kept, not 24 hours; never 429 or 404.",
        "parameters": [_in_path()],
        "responses": {
            **_refusals(401, 403, 503),
            "200": _answer("The task as it stands", shape, _TASK_EXAMPLE),
        },
    }


def _describe_list() -> dict[str, Any]:
    rows = {"type": "array", "items": {"type": "object"}}
    shape = {"total": {"type": "integer"}, "data": rows, "request_id": _TEXT}
    return {
        "tags": [TAG],
        "summary": "List tasks",
        "description": "The team's own, newest first, of at most 24 hours.",
        "parameters": [
            _query("page_no", "From 1", {"type": "integer", "minimum": 1}),
            _query("page_size", "100 at most", {"type": "integer", "minimum": 1, "maximum": 100}),
            _query("start_time", "As 20261128120000, in UTC+8"),
            _query("end_time", "The same; the newest 24 hours without both"),
            _query("status", "One of the statuses", {"enum": list(TaskStatus)}),
            _query("model_name", "Only that model's"),
            _query("api_key_id", "Only those of the key of that name"),
        ],
        "responses": {**_refusals(400, 401, 403, 503), "200": _answer("A page", shape)},
    }


def _describe_cancel() -> dict[str, Any]:
    return {
        "tags": [TAG],
        "summary": "Cancel a task",
        "description": "Only while it is `PENDING`; a canceled task costs nothing.",
        "parameters": [_in_path()],
        "responses": {
            **_refusals(400, 401, 403, 503),
            "200": _answer("It is canceled", {"request_id": _TEXT}),
        },
    }


def _describe_policy() -> dict[str, Any]:
    shape = {"request_id": _TEXT, "data": {"type": "object"}}
    return {
        "tags": [TAG],
        "summary": "Ask where a local file may be posted",
        "description": "What SDKs do before a `file://` input; the answer names the form.",
        "parameters": [
            _query("action", "Must be `getPolicy`", {"enum": ["getPolicy"]}, required=True),
            _query("model", "For which model", {"enum": [_RULES.name]}, required=True),
        ],
        "responses": {**_refusals(400, 401, 403, 503), "200": _answer("The policy", shape)},
    }


def _answer(
    description: str, properties: dict[str, Any], example: dict[str, Any] | None = None
) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": {"type": "object", "properties": properties}}
    if example is not None:
        content["example"] = example
    return {"description": description, "content": {"application/json": content}}


_REFUSED = {
    400: "The request is wrong; the message names the field, the limit and the value",
    401: "No key, or none of ours (`InvalidApiKey`)",
    403: "The key may not do that, or the create is not asynchronous (`AccessDenied`)",
    413: "The body is too large",
    415: "The body is packed, not UTF-8, or a form",
    429: "A limit of the team (`Throttling.AllocationQuota`)",
    503: "The gateway is in trouble (`ModelUnavailable`); send it again",
}


def _refusals(*statuses: int) -> dict[str, Any]:
    content = {"application/json": {"schema": _ERROR}}
    return {
        str(status): {"description": _REFUSED[status], "content": content} for status in statuses
    }


def _header(
    name: str, description: str, *, required: bool = False, **schema: Any
) -> dict[str, Any]:
    shape = {"type": "string", **schema}
    return {
        "name": name,
        "in": "header",
        "required": required,
        "description": description,
        "schema": shape,
    }


def _query(
    name: str, description: str, schema: dict[str, Any] | None = None, *, required: bool = False
) -> dict[str, Any]:
    return {
        "name": name,
        "in": "query",
        "required": required,
        "description": description,
        "schema": schema or _TEXT,
    }


def _in_path() -> dict[str, Any]:
    return {
        "name": "task_id",
        "in": "path",
        "required": True,
        "description": "As the create has answered",
        "schema": _TEXT,
    }
