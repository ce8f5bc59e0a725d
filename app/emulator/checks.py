"""What an order asks for, and what the upstream finds wrong with it (pure)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

from app.dashscope.payloads import (
    ASPECT_LIMIT,
    DATA_URI_BYTES_LIMIT,
    IMAGE_TO_IMAGE_PATH,
    IMAGES_LIMIT,
    N_DEFAULT,
    N_RANGE,
    NEGATIVE_PROMPT_LIMIT,
    OUTPUT_AREA_RANGE,
    PROMPT_LIMIT,
    SEED_RANGE,
    TEXT_TO_IMAGE_PATH,
)

Range = tuple[int, int]
JsonObject = dict[str, Any]  # the body as it came: its fields are what is checked here

_SIZE = re.compile(r"(\d{1,5})\*(\d{1,5})")
_BOOLS = {True: True, False: False, "true": True, "false": False}
_URL_MESSAGE = (
    "The request URL is invalid, please check the request URL is available and the request "
    "image format is one of the following types: JPEG, JPG, PNG, BMP, and WEBP."
)


class Failure(NamedTuple):
    """Why a task, or one picture of it, failed."""

    code: str
    message: str


def make_missing(name: str) -> Failure:
    """The failure of a parameter that is absent or cannot be read."""
    return Failure(
        "InvalidParameter",
        f"Required parameter({name}) missing or invalid, please check the request parameters.",
    )


class Refused(Exception):
    """A call is answered with an error and has no effect."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.failure = Failure(code, message)


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Where a model lives and what it takes."""

    path: str
    images_range: Range
    area_range: Range

    @property
    def function_key(self) -> str:
        """`aigc:image2image:image-synthesis`: the function part of user_api_unique_key."""
        return self.path.removeprefix("/services/").replace("/", ":")


MODELS = {
    "wan2.5-i2i-preview": ModelSpec(IMAGE_TO_IMAGE_PATH, (1, IMAGES_LIMIT), OUTPUT_AREA_RANGE),
    "wan2.5-t2i-preview": ModelSpec(TEXT_TO_IMAGE_PATH, (0, 0), (1280 * 1280, 1440 * 1440)),
}


@dataclass(frozen=True, slots=True)
class Order:
    """One create call, read leniently: what cannot be read has its default."""

    model: str
    prompt: str
    negative_prompt: str
    images: tuple[str, ...]
    size: tuple[int, int] | None
    n: int
    seed: int | None
    watermark: bool
    prompt_extend: bool


def read_order(body: JsonObject) -> Order:
    """The order in a body; long prompts are cut, as the upstream does."""
    fields, parameters = _section(body, "input"), _section(body, "parameters")
    n = as_int(parameters.get("n", N_DEFAULT))
    images = fields.get("images")
    return Order(
        model=_text(body.get("model")),
        prompt=_text(fields.get("prompt"))[:PROMPT_LIMIT],
        negative_prompt=_text(fields.get("negative_prompt"))[:NEGATIVE_PROMPT_LIMIT],
        images=tuple(map(_text, images)) if isinstance(images, list) else (),
        size=as_size(parameters.get("size")),
        n=n if n is not None and _is_within(n, N_RANGE) else N_DEFAULT,
        seed=as_int(parameters.get("seed")),
        watermark=as_bool(parameters.get("watermark", False)) or False,
        prompt_extend=as_bool(parameters.get("prompt_extend", True)) is not False,
    )


def find_field_failure(body: JsonObject, spec: ModelSpec) -> Failure | None:
    """The first thing wrong with the fields of a body, in upstream's words."""
    return next(chain(_input_faults(body, spec), _parameter_faults(body, spec)), None)


def _input_faults(body: JsonObject, spec: ModelSpec) -> Iterator[Failure]:
    fields = _section(body, "input")
    if not _text(fields.get("prompt")).strip():
        yield _invalid("Field required: input.prompt")
    if spec.images_range[1] == 0:
        return
    if "images" not in fields:
        yield _invalid("Field required: input.images")
        return
    images = fields["images"]
    if not isinstance(images, list) or not _is_within(len(images), spec.images_range):
        yield make_missing("input.images")
        return
    yield from (fault for fault in map(find_reference_failure, images) if fault)


def find_reference_failure(reference: object) -> Failure | None:
    """What is wrong with the address of an input picture, before it is opened."""
    text = _text(reference)
    if text.startswith("data:"):
        if len(text) > DATA_URI_BYTES_LIMIT:
            limit = f"Exceeded limit on max bytes per data-uri item : {DATA_URI_BYTES_LIMIT}"
            return _invalid(limit)
        return None
    if text.startswith(("http://", "https://", "oss://")):
        return None
    return Failure("InvalidURL", _URL_MESSAGE)


def _parameter_faults(body: JsonObject, spec: ModelSpec) -> Iterator[Failure]:
    parameters = {
        name: value for name, value in _section(body, "parameters").items() if value is not None
    }
    for name, bounds in (("n", N_RANGE), ("seed", SEED_RANGE)):
        if name in parameters and not _is_within(as_int(parameters[name]), bounds):
            yield _invalid(f"Range of {name} should be [{bounds[0]}, {bounds[1]}]")
    if "size" in parameters and not _is_possible(as_size(parameters["size"]), spec.area_range):
        yield make_missing("parameters.size")
    for name in ("watermark", "prompt_extend"):
        if name in parameters and as_bool(parameters[name]) is None:
            yield make_missing(f"parameters.{name}")


def as_int(value: object) -> int | None:
    """A whole number, also as text, as some SDKs send it; None when it is not one."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,12}", value):
        return int(value)
    return None


def as_bool(value: object) -> bool | None:
    """True or false, also as text; None when it is neither."""
    return _BOOLS.get(value) if isinstance(value, bool | str) else None


def as_size(value: object) -> tuple[int, int] | None:
    """`"1280*1280"` as width and height in pixels; None when it is not a size."""
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    return (int(match[1]), int(match[2])) if match else None


def _is_possible(size: tuple[int, int] | None, area_range: Range) -> bool:
    if size is None:
        return False
    width, height = size
    is_slim = max(width, height) > ASPECT_LIMIT * min(width, height)
    return _is_within(width * height, area_range) and not is_slim


def _is_within(value: int | None, bounds: Range) -> bool:
    return value is not None and bounds[0] <= value <= bounds[1]


def _section(body: JsonObject, name: str) -> JsonObject:
    section = body.get(name)
    return section if isinstance(section, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _invalid(message: str) -> Failure:
    return Failure("InvalidParameter", message)
