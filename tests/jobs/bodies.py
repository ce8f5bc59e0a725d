"""Request bodies of both doors, whole but for what a test puts in."""

from collections.abc import Callable
from uuid import UUID

import pytest

from app.jobs.requests.edit import EditRequest
from app.kit.errors import FieldProblem, InvalidRequest
from tests.media.images import make_uri

MODEL = "wan2.5-i2i-preview"
URL = "https://img.example/a.png"
FILE_ID = UUID("0198c0f2-0000-7000-8000-000000000001")
DATA_URI_LIMIT = 10_485_760
SMALL_PNG = make_uri(384, 384)


def native(**fields: object) -> dict[str, object]:
    return {"prompt": "make it blue", "images": [URL], **fields}


def dashscope(
    parameters: object = None, model: object = MODEL, **inputs: object
) -> dict[str, object]:
    return {
        "model": model,
        "parameters": parameters,
        "input": {"prompt": "make it blue", "images": [URL], **inputs},
    }


def refuse(parse: Callable[[object], EditRequest], body: object) -> tuple[FieldProblem, ...]:
    """The problems that the parser finds in the body, which it must refuse."""
    with pytest.raises(InvalidRequest) as refusal:
        parse(body)
    return refusal.value.problems
