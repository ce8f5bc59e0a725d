"""What the OpenAPI document says of bodies that are read by our own rules."""

from typing import Any, Literal

from pydantic import Field

from app.api.dry_run import DryRunView
from app.jobs.requests.models import DEFAULT_MODEL
from app.jobs.view import JobView, View


class Problem(View):
    """RFC 9457 problem details."""

    type: str
    """`urn:dashgate:problem:` and the code."""
    title: str
    """The kind of problem."""
    status: int
    """The HTTP status."""
    detail: str
    """What is wrong, with the limit and the value, and what to do."""
    instance: str
    """The path that was asked."""
    code: str
    """Stable: what programs decide by."""
    request_id: str
    """Finds the request in the gateway's log."""
    errors: list[dict[str, Any]] = Field(default_factory=list)
    """Field by field: `loc`, `code`, `msg`, and the limits."""


class JobList(View):
    """A page of jobs, newest first."""

    object: Literal["list"]
    """Always `list`."""
    data: list[JobView]
    """The jobs."""
    has_more: bool
    """Whether there are older ones."""
    next_cursor: str | None
    """For `cursor` of the next page."""
    limit: int
    """How many were asked for."""


def _problem(description: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        "description": description,
        "content": {"application/problem+json": {"schema": schema}},
    }


_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: _problem("The request cannot be read; `code` says why"),
    401: _problem("No key, or none of ours"),
    403: _problem("The key may not do that"),
    422: _problem("Fields are wrong; `errors` names each"),
    503: _problem("The gateway is in trouble; send it again"),
}

JOB_ANSWERS: dict[int | str, dict[str, Any]] = {
    **_REFUSALS,
    200: {"description": "The job as it stands"},
    304: {"description": "It is still as `If-None-Match` says"},
    404: _problem("No such job among yours"),
}

LIST_ANSWERS: dict[int | str, dict[str, Any]] = {**_REFUSALS, 200: {"description": "A page"}}

CREATE_ANSWERS: dict[int | str, dict[str, Any]] = {
    **_REFUSALS,
    200: {"model": JobView | DryRunView, "description": "The job has ended; or a dry run"},
    202: {"description": "The job is accepted"},
    408: _problem("The body was not sent to its end"),
    413: _problem("The body is too large"),
    429: _problem("A limit of the team; `Retry-After` says when to come again"),
    415: _problem("The body is packed, not UTF-8, or a form: send plain JSON"),
}

CANCEL_ANSWERS: dict[int | str, dict[str, Any]] = {
    **_REFUSALS,
    200: {"description": "The job is canceled and free, now or before"},
    202: {"model": JobView, "description": "Asked: it is on its way or upstream, and may finish"},
    404: _problem("No such job among yours"),
    409: _problem("Too late: `job_finished`, or `job_finalizing` while its pictures are kept"),
}

PICTURE_ANSWERS: dict[int | str, dict[str, Any]] = {
    **_REFUSALS,
    200: {"content": {"image/png": {}}, "description": "The picture, byte for byte"},
    304: {"description": "You have it already"},
    403: _problem("The key may not do that, or the link has expired or was altered"),
    404: _problem("No such picture among yours"),
}

_RULES = DEFAULT_MODEL

_EDIT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["prompt", "images"],
    "additionalProperties": False,
    "properties": {
        "model": {"type": "string", "enum": [_RULES.name], "default": _RULES.name},
        "prompt": {"type": "string", "minLength": 1, "maxLength": _RULES.prompt_characters},
        "images": {
            "type": "array",
            "minItems": _RULES.images_count[0],
            "maxItems": _RULES.images_count[1],
            "items": {"type": "string"},
            "description": "http(s) URLs, data URIs or `file_...` ids; JPEG, PNG, BMP or WEBP",
        },
        "negative_prompt": {
            "type": ["string", "null"],
            "maxLength": _RULES.negative_prompt_characters,
        },
        "size": {
            "type": ["string", "null"],
            "pattern": r"^[1-9]\d{2,3}[*x][1-9]\d{2,3}$",
            "description": "width*height; without it the aspect ratio of the last image",
        },
        "n": {"type": "integer", "minimum": _RULES.n[0], "maximum": _RULES.n[1], "default": 1},
        "seed": {
            "type": ["integer", "null"],
            "minimum": _RULES.seed[0],
            "maximum": _RULES.seed[1],
        },
        "watermark": {"type": "boolean", "default": False},
        "prompt_extend": {"type": "boolean", "default": True},
        "metadata": {
            "type": "object",
            "maxProperties": 16,
            "additionalProperties": {"type": "string", "maxLength": 500},
        },
        "priority": {"enum": ["interactive", "batch"], "default": "interactive"},
        "expires_in_seconds": {"type": ["integer", "null"], "minimum": 60, "maximum": 604_800},
    },
}

CREATE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": _EDIT_SCHEMA,
                "example": {
                    "prompt": "Turn the dress into vintage lace",
                    "images": ["https://example.com/dress.jpg"],
                    "n": 1,
                },
            }
        },
    },
    "parameters": [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "schema": {"type": "string", "maxLength": 255},
            "description": "The same key brings the same job, for three days",
        }
    ],
}
