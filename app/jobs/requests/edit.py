"""What a client may ask: one edit, checked, whichever door it came through (pure)."""

from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import assert_never
from uuid import UUID

import orjson

from app.media.inspect import ImageFacts

FILE_ID_PREFIX = "file_"


class Priority(StrEnum):
    """Orders the jobs of one team among themselves."""

    INTERACTIVE = "interactive"
    BATCH = "batch"


@dataclass(frozen=True, slots=True)
class UrlImage:
    """An image the upstream fetches itself; its URL may carry a signature."""

    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class FileImage:
    """An image that was uploaded to us before."""

    file_id: UUID


@dataclass(frozen=True, slots=True)
class InlineImage:
    """An image that came within the request."""

    content: bytes = field(repr=False)
    facts: ImageFacts


@dataclass(frozen=True, slots=True)
class OssImage:
    """The key of `oss://{key}`; the door tells whether we or the upstream hold the object."""

    key: str


ImageInput = UrlImage | FileImage | InlineImage | OssImage


@dataclass(frozen=True, slots=True)
class EditRequest:
    """Prompts are private: they never show in a repr, hence in no log."""

    model: str
    prompt: str = field(repr=False)
    images: tuple[ImageInput, ...]
    negative_prompt: str | None = field(default=None, repr=False)
    n: int = 1
    size: str | None = None
    seed: int | None = None
    watermark: bool = False
    prompt_extend: bool = True
    metadata: dict[str, str] = field(default_factory=dict, repr=False)
    priority: Priority = Priority.INTERACTIVE
    expires_in_seconds: int | None = None


def fingerprint(request: EditRequest) -> bytes:
    """SHA-256 of what was asked: equal requests, and only those, have equal fingerprints."""
    asked = {
        "model": request.model,
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "images": [_identity(image) for image in request.images],
        "n": request.n,
        "size": request.size,
        "seed": request.seed,
        "watermark": request.watermark,
        "prompt_extend": request.prompt_extend,
        "metadata": request.metadata,
        "priority": request.priority,
        "expires_in_seconds": request.expires_in_seconds,
    }
    return sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).digest()


def to_file_ref(file_id: UUID) -> str:
    """`file_` and 32 hex digits: how an uploaded file is named in a request."""
    return FILE_ID_PREFIX + file_id.hex


def _identity(image: ImageInput) -> dict[str, str]:
    match image:
        case UrlImage(url):
            return {"url": url}
        case FileImage(file_id):
            return {"file": file_id.hex}
        case InlineImage(facts=facts):
            return {"sha256": facts.sha256}
        case OssImage(key):
            return {"oss": key}
    assert_never(image)
