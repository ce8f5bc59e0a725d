"""The beginning of an upload form: who posts is told there, in front of the file.

Source: Alibaba Cloud OSS, "PostObject": the file is the form's last field.
"""

import asyncio
import re
from dataclasses import dataclass

from starlette.requests import Request

from app.web.bodies import SILENCE_LIMIT_SECONDS, BodyCutShort

_BOUNDARY = re.compile(r'boundary="?([^";,]{1,200})"?', re.IGNORECASE)
_NAME = re.compile(rb'[;\s]name="([^"]*)"')


@dataclass(frozen=True, slots=True)
class FormHead:
    """What has come of a form: its text fields as far as they are whole."""

    content: bytes
    fields: dict[str, str]
    is_whole: bool


async def read_form_head(request: Request, *, limit_bytes: int) -> FormHead:
    """Read until the file begins, or the limit is passed; raises BodyCutShort."""
    found = _BOUNDARY.search(request.headers.get("content-type", ""))
    delimiter = f"--{found[1] if found else ''}".encode("latin-1")
    head = bytearray()
    is_whole = False
    try:
        async with asyncio.timeout(SILENCE_LIMIT_SECONDS):
            while not is_whole and len(head) <= limit_bytes and not _has_file(head, delimiter):
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise TimeoutError
                head += message.get("body", b"")
                is_whole = not message.get("more_body", False)
    except TimeoutError:
        raise BodyCutShort(
            f"the form ended after {len(head)} bytes, in front of its file, and within "
            f"{SILENCE_LIMIT_SECONDS:g} seconds: send it again"
        ) from None
    return FormHead(bytes(head), _read_fields(bytes(head), delimiter), is_whole)


def _has_file(head: bytearray, delimiter: bytes) -> bool:
    """Whether the headers of a part with a file name are there."""
    last = head.rpartition(delimiter)[2]
    headers, end, _ = last.partition(b"\r\n\r\n")
    return bool(end) and b"filename" in headers.lower()


def _read_fields(head: bytes, delimiter: bytes) -> dict[str, str]:
    fields: dict[str, str] = {}
    for part in head.split(delimiter)[1:-1]:
        headers, _, value = part.partition(b"\r\n\r\n")
        name = _NAME.search(headers)
        if name is not None and b"filename" not in headers.lower():
            text = value.removesuffix(b"\r\n").decode(errors="replace")
            fields.setdefault(name[1].decode(errors="replace"), text)
    return fields
