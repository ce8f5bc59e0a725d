"""The input images of a request: where they come from and what they must be (pure)."""

import re
from uuid import UUID

from app.jobs.requests.addresses import BadImage, find_before_scheme, parse_url, trim_address
from app.jobs.requests.edit import FILE_ID_PREFIX, FileImage, ImageInput, InlineImage, OssImage
from app.jobs.requests.field_rules import (
    Fields,
    Loc,
    find_unstorable,
    name_type,
    show_aspect,
    show_value,
)
from app.jobs.requests.models import DEFAULT_MODEL, ModelRules
from app.kit.errors import FieldProblem
from app.media.data_uri import BadDataUri, parse_data_uri
from app.media.inspect import ImageFacts, UnreadableImage, inspect_image

OSS_PREFIX = "oss://"
OTHER_NAMES = (
    *("base_image_url", "mask_image_url", "function", "messages"),
    *("image", "image_url", "image_urls", "img", "img_url", "ref_image", "ref_images_url"),
)
"""Where other models, and other APIs, have their images."""

_FILE_REF = re.compile(FILE_ID_PREFIX + "[0-9a-f]{32}")
_LONGEST_PATH = 1024


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
            f"has {count} images; give {smallest} to {largest}{_advise(fields, count)}",
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
    except BadImage as fault:
        fields.problems.append(FieldProblem(loc, fault.code, fault.message, fault.limits))
        return None
    if isinstance(image, InlineImage):
        fields.problems.extend(check_input_image(image.facts, loc, rules))
    return image


def _advise(fields: Fields, count: int) -> str:
    """What to write in place of the fields of another model, if that is why there are none."""
    others = [f'"{name}"' for name in OTHER_NAMES if count == 0 and name in fields.values]
    if not others:
        return ""
    told = f"{', '.join(others)} {'is' if len(others) == 1 else 'are'} not of this model"
    return f'; {told}: write "images": ["https://..."] and say in the prompt what to change'


def _parse_image(item: object, rules: ModelRules, *, is_dashscope: bool) -> ImageInput:
    if not isinstance(item, str):
        raise BadImage(
            "wrong_type",
            f"must be a string, not {name_type(item)}: give the URL or the data URI by itself",
        )
    text = trim_address(item)
    scheme = text[:8].partition(":")[0].lower()
    if scheme == "data":
        return _parse_inline(text, rules)
    fault = find_unstorable(text[:_LONGEST_PATH])
    if fault:
        raise BadImage("unstorable", fault)
    if scheme in {"http", "https"}:
        return parse_url(text)
    if is_dashscope and text[: len(OSS_PREFIX)].lower() == OSS_PREFIX:
        return _parse_oss(text)
    if not is_dashscope and text.startswith(FILE_ID_PREFIX):
        return _parse_file_ref(text)
    raise _not_an_address(text, is_dashscope=is_dashscope)


def _parse_inline(text: str, rules: ModelRules) -> InlineImage:
    try:
        content = parse_data_uri(text, limit_bytes=rules.encoded_image_bytes).content
        return InlineImage(content, inspect_image(content))
    except BadDataUri as fault:
        raise BadImage(fault.code, fault.message, **fault.limits) from None
    except UnreadableImage as fault:
        raise BadImage(fault.code, fault.message) from None


def _parse_oss(text: str) -> OssImage:
    key = text[len(OSS_PREFIX) :]
    if not 1 <= len(key) <= _LONGEST_PATH:
        raise BadImage(
            "bad_url",
            f"has an object key of {len(key)} characters; it must be 1 to {_LONGEST_PATH}",
            min=1,
            max=_LONGEST_PATH,
            actual=len(key),
        )
    return OssImage(key)


def _parse_file_ref(text: str) -> FileImage:
    if not _FILE_REF.fullmatch(text):
        raise BadImage(
            "bad_file_id",
            "is no file id: those are file_ and 32 hex digits",
        )
    return FileImage(UUID(text.removeprefix(FILE_ID_PREFIX)))


def _not_an_address(text: str, *, is_dashscope: bool) -> BadImage:
    upload = (
        "the SDK uploads file:// and existing paths by itself"
        if is_dashscope
        else "send the file as a data URI, or give a URL of it"
    )
    before = find_before_scheme(text)
    if before is not None:
        return BadImage("bad_url", before)
    if len(text) > _LONGEST_PATH and "://" not in text[:32]:
        return BadImage("bad_url", "looks like bare base64: put data:image/png;base64, before it")
    scheme, separator, _ = text.partition("://")
    if scheme.lower() == "oss" and separator:
        return BadImage("bad_url", f"oss:// is of the DashScope door only; {upload}")
    if not separator or scheme.lower() == "file":
        return BadImage(
            "local_path",
            "is neither a URL nor a data URI; if it is a local path, the file was not found where "
            f"the request was made, and it cannot be read from here: {upload}",
        )
    return BadImage(
        "bad_url", f"its scheme is {show_value(scheme)}; it must be http, https or data"
    )
