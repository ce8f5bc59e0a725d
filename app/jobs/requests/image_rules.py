"""The input images of a request: where they come from and what they must be (pure)."""

import re
from urllib.parse import urlsplit
from uuid import UUID

from app.jobs.requests.edit import (
    FILE_ID_PREFIX,
    FileImage,
    ImageInput,
    InlineImage,
    OssImage,
    UrlImage,
)
from app.jobs.requests.field_rules import Fields, Loc, find_unstorable, name_type, show_aspect
from app.jobs.requests.models import DEFAULT_MODEL, ModelRules
from app.kit.errors import FieldProblem
from app.media.data_uri import BadDataUri, parse_data_uri
from app.media.inspect import ImageFacts, UnreadableImage, inspect_image

URL_CHARACTERS = 2048
OSS_PREFIX = "oss://"

_FILE_REF = re.compile(FILE_ID_PREFIX + "[0-9a-f]{32}")
_UNSAFE_IN_URL = re.compile(r"[\x00-\x20\x7f\\]")
_LONGEST_PATH = 1024


class _Refused(Exception):
    """One image's fault, on its way to the list of problems."""

    def __init__(self, code: str, message: str, **limits: object) -> None:
        super().__init__(message)
        self.code, self.message, self.limits = code, message, limits


def read_images(fields: Fields, rules: ModelRules) -> tuple[ImageInput, ...]:
    """The field `images`; every fault of every image is noted."""
    value = fields.values.get("images")
    smallest, largest = rules.images_count
    if value is not None and not isinstance(value, list | tuple):
        fields.note_type("images", "an array of strings")
        return ()
    count = len(value or ())
    if not smallest <= count <= largest:
        fields.note(
            "images",
            "missing" if count == 0 else "too_many",
            f"has {count} images; give {smallest} to {largest}",
            min=smallest,
            max=largest,
            actual=count,
        )
        return ()
    found = [_read_image(fields, index, item, rules) for index, item in enumerate(value or ())]
    return tuple(image for image in found if image is not None)


def check_input_image(
    facts: ImageFacts, loc: Loc, rules: ModelRules = DEFAULT_MODEL
) -> list[FieldProblem]:
    """What the upstream would refuse of a picture: bytes, sides, aspect ratio."""
    problems = []
    if facts.bytes > rules.image_bytes:
        message = f"has {facts.bytes} bytes, above {rules.image_bytes}; compress or shrink it"
        limits: dict[str, object] = {"max": rules.image_bytes, "actual": facts.bytes}
        problems.append(FieldProblem(loc, "image_too_many_bytes", message, limits))
    smallest, largest = rules.image_side_pixels
    for name, side in (("width", facts.width), ("height", facts.height)):
        if not smallest <= side <= largest:
            code = "image_too_small" if side < smallest else "image_too_large"
            advice = "enlarge" if side < smallest else "shrink"
            message = f"{name} is {side} px; it must be {smallest} to {largest}: {advice} it"
            limits = {"min": smallest, "max": largest, "actual": side}
            problems.append(FieldProblem(loc, code, message, limits))
    aspect = rules.image_aspect
    if max(facts.width, facts.height) > aspect * min(facts.width, facts.height):
        ratio = round(facts.width / facts.height, 3)
        message = (
            f"width to height is {show_aspect(facts.width, facts.height)}; "
            f"it must be 1:{aspect} to {aspect}:1: crop it"
        )
        limits = {"min": 1 / aspect, "max": aspect, "actual": ratio}
        problems.append(FieldProblem(loc, "image_aspect", message, limits))
    return problems


def _read_image(fields: Fields, index: int, item: object, rules: ModelRules) -> ImageInput | None:
    loc = (*fields.loc, "images", index)
    try:
        image = _parse_image(item, rules, is_dashscope=fields.lenient)
    except _Refused as fault:
        fields.problems.append(FieldProblem(loc, fault.code, fault.message, fault.limits))
        return None
    if isinstance(image, InlineImage):
        fields.problems.extend(check_input_image(image.facts, loc, rules))
    return image


def _parse_image(item: object, rules: ModelRules, *, is_dashscope: bool) -> ImageInput:
    if not isinstance(item, str):
        raise _Refused("wrong_type", f"must be a string, not {name_type(item)}")
    scheme = item[:8].partition(":")[0].lower()
    if scheme == "data":
        return _parse_inline(item, rules)
    fault = find_unstorable(item[:_LONGEST_PATH])
    if fault:
        raise _Refused("unstorable", fault)
    if scheme in {"http", "https"}:
        return _parse_url(item)
    if is_dashscope and item.startswith(OSS_PREFIX):
        return _parse_oss(item)
    if not is_dashscope and item.startswith(FILE_ID_PREFIX):
        return _parse_file_ref(item)
    raise _not_an_address(item, is_dashscope=is_dashscope)


def _parse_inline(text: str, rules: ModelRules) -> InlineImage:
    try:
        content = parse_data_uri(text, limit_bytes=rules.encoded_image_bytes).content
        return InlineImage(content, inspect_image(content))
    except BadDataUri as fault:
        raise _Refused(fault.code, fault.message, **fault.limits) from None
    except UnreadableImage as fault:
        raise _Refused(fault.code, fault.message) from None


def _parse_url(text: str) -> UrlImage:
    if len(text) > URL_CHARACTERS:
        raise _Refused(
            "url_too_long",
            f"is a URL of {len(text)} characters, above {URL_CHARACTERS}; shorten it",
            max=URL_CHARACTERS,
            actual=len(text),
        )
    if _UNSAFE_IN_URL.search(text):
        raise _Refused("bad_url", "has white space, control characters or \\ in it; encode them")
    fault = find_unstorable(text)
    if fault:
        raise _Refused("unstorable", fault)
    try:
        parts = urlsplit(text)
        is_whole = bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise _Refused("bad_url", f"is no URL: {error}") from None
    if not is_whole:
        raise _Refused("bad_url", "is a URL without a host")
    if "@" in parts.netloc:
        raise _Refused("bad_url", "has a user name in it; use a signed URL or upload the file")
    return UrlImage(text)


def _parse_oss(text: str) -> OssImage:
    key = text.removeprefix(OSS_PREFIX)
    if not 1 <= len(key) <= _LONGEST_PATH:
        raise _Refused(
            "bad_url",
            f"has an object key of {len(key)} characters; it must be 1 to {_LONGEST_PATH}",
            min=1,
            max=_LONGEST_PATH,
            actual=len(key),
        )
    return OssImage(key)


def _parse_file_ref(text: str) -> FileImage:
    if not _FILE_REF.fullmatch(text):
        raise _Refused(
            "bad_file_id",
            "is no file id: those are file_ and 32 hex digits",
        )
    return FileImage(UUID(text.removeprefix(FILE_ID_PREFIX)))


def _not_an_address(text: str, *, is_dashscope: bool) -> _Refused:
    upload = (
        "the SDK uploads file:// and existing paths by itself"
        if is_dashscope
        else "send the file as a data URI, or give a URL of it"
    )
    if len(text) > _LONGEST_PATH and "://" not in text[:32]:
        return _Refused("bad_url", "looks like bare base64: put data:image/png;base64, before it")
    if text.startswith(OSS_PREFIX):
        return _Refused("bad_url", f"oss:// is of the DashScope door only; {upload}")
    if text.startswith("file:") or "://" not in text:
        return _Refused(
            "local_path",
            "is neither a URL nor a data URI; if it is a local path, the file was not found where "
            f"the request was made, and it cannot be read from here: {upload}",
        )
    return _Refused("bad_url", "its scheme must be http, https or data")
