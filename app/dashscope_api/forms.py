"""An upload form as OSS takes it: small fields that tell who posts, and then the file.

Read here by plain searches: a general parser decodes as the sender says, and walks byte by byte.
Source: RFC 7578; RFC 2046, 5.1.1 (boundaries); Alibaba Cloud OSS, "PostObject" (the file is last).
"""

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from starlette.requests import Request

from app.web.bodies import SILENCE_LIMIT_SECONDS, BodyCutShort

PARTS_LIMIT = 20
PART_HEAD_BYTES = 4 * 1024

_MULTIPART = re.compile(
    r"multipart/form-data\s*;(?:.*;)?\s*"
    r"boundary=(?:\"([^\"]{1,70})\"|([^\s\";,]{1,70}))\s*(?:;|$)",
    re.IGNORECASE,
)
_NAME = re.compile(rb'[;\s]name="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Form:
    """Its first text of each name, and its first file; None where none has begun."""

    fields: dict[str, str]
    file: bytes | None = field(default=None, repr=False)
    is_file_whole: bool = False


@dataclass(frozen=True, slots=True)
class FormHead:
    """What has come of a form until its file begins."""

    content: bytes = field(repr=False)
    form: Form
    is_whole: bool


def find_boundary(content_type: str) -> bytes | None:
    """What stands between the parts; None where it is no form with files."""
    found = _MULTIPART.match(content_type[:512])
    return (found[1] or found[2]).encode("latin-1", "replace") if found else None


def parse_form(content: bytes, boundary: bytes) -> Form:
    """The form as far as it is there; parts beyond `PARTS_LIMIT` are not looked at.

    A field counts once its end has come: what was judged must be what is used.
    """
    fields: dict[str, str] = {}
    for head, value, is_last in _split(content, boundary):
        if b"filename" in head.lower():
            return Form(fields, value, is_file_whole=not is_last)
        name = _NAME.search(head)
        if name is not None and not is_last:
            fields.setdefault(name[1].decode(errors="replace"), value.decode(errors="replace"))
    return Form(fields)


async def read_form_head(request: Request, boundary: bytes, *, limit_bytes: int) -> FormHead:
    """Read until the file begins, or the limit is passed; raises BodyCutShort."""
    head = bytearray()
    form = Form({})
    is_whole = False
    try:
        async with asyncio.timeout(SILENCE_LIMIT_SECONDS):
            while not is_whole and len(head) <= limit_bytes and form.file is None:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise TimeoutError
                head += message.get("body", b"")
                is_whole = not message.get("more_body", False)
                form = parse_form(bytes(head[: limit_bytes + PART_HEAD_BYTES]), boundary)
    except TimeoutError:
        raise BodyCutShort(
            f"the form ended after {len(head)} bytes, in front of its file, and within "
            f"{SILENCE_LIMIT_SECONDS:g} seconds: send it again"
        ) from None
    return FormHead(bytes(head), form, is_whole)


def _split(content: bytes, boundary: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Head and value of each part, and whether it is the last that has come: that may go on."""
    delimiter = b"\r\n--" + boundary
    _, *parts = (b"\r\n" + content).split(delimiter, PARTS_LIMIT + 1)
    for number, part in enumerate(parts[:PARTS_LIMIT], 1):
        head_end = part.find(b"\r\n\r\n", 0, PART_HEAD_BYTES)
        if part.startswith(b"--") or head_end < 0:
            return
        yield part[:head_end], part[head_end + 4 :], number == len(parts)
