"""Pictures as text: `data:{mime};base64,{data}` to bytes and back (pure).

Source: RFC 2397 (its parameters, such as charset and name, may stand before the base64).
"""

import binascii
import re
from dataclasses import dataclass, field

from app.media.inspect import ACCEPTED_FORMATS, UnreadableImage

PREFIX = "data:"
ACCEPTED_TYPES = {
    "image/jpeg": "image/jpeg",
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/png": "image/png",
    "image/x-png": "image/png",
    "image/apng": "image/png",
    "image/bmp": "image/bmp",
    "image/x-bmp": "image/bmp",
    "image/x-ms-bmp": "image/bmp",
    "image/webp": "image/webp",
}
_HEAD_CHARACTERS_LIMIT = 1_024
_TYPE_SHOWN_CHARACTERS = 64
_HEAD = re.compile(r'data:([^;,"]*)((?:;(?:"[^"]*"|[^;,"])*)*),', re.IGNORECASE)
_BASE64 = re.compile(r";\s*base64\s*(?:;|$)", re.IGNORECASE)
_WITHOUT_WHITESPACE = dict.fromkeys(map(ord, " \t\r\n\f"))


class BadDataUri(UnreadableImage):
    """Text that is no data URI of a picture; `limits` is filled when one was passed over."""

    code = "bad_data_uri"

    def __init__(self, message: str, *, code: str, limits: dict[str, int] | None = None) -> None:
        super().__init__(message, code=code)
        self.limits = limits or {}


@dataclass(frozen=True, slots=True)
class DataUri:
    """The declared content type is only a claim: `inspect_image` tells the real one."""

    content_type: str
    content: bytes = field(repr=False)


def parse_data_uri(text: str, *, limit_bytes: int) -> DataUri:
    """Decode one; the limit is on the encoded text, as upstream measures. Raises BadDataUri.

    White space within the base64, as line-wrapping encoders leave it, is let through.
    """
    if len(text) > limit_bytes:
        raise BadDataUri(
            f"it is {len(text)} bytes long as a data URI, above {limit_bytes}, base64 included; "
            "send a smaller picture, a URL or an uploaded file",
            code="data_uri_too_long",
            limits={"max": limit_bytes, "actual": len(text)},
        )
    head = _HEAD.match(text, 0, _HEAD_CHARACTERS_LIMIT)
    if head is None or not _BASE64.search(head[2]):
        raise BadDataUri(
            "it does not begin with data:{mime};base64, like data:image/png;base64,iVBORw0...",
            code="bad_data_uri",
        )
    return DataUri(_parse_type(head[1]), _decode(text[head.end() :]))


def to_data_uri(content: bytes, content_type: str) -> str:
    """The text that the upstream takes in place of a URL."""
    encoded = binascii.b2a_base64(content, newline=False).decode("ascii")
    return f"{PREFIX}{content_type};base64,{encoded}"


def _parse_type(declared: str) -> str:
    known = ACCEPTED_TYPES.get(declared.strip().lower())
    if known is None:
        shown = declared.strip()[:_TYPE_SHOWN_CHARACTERS]
        raise BadDataUri(
            f"its type is {shown!a}; send image/ of {ACCEPTED_FORMATS}", code="unsupported_format"
        )
    return known


def _decode(encoded: str) -> bytes:
    try:
        return _decode_strictly(encoded)
    except binascii.Error as error:
        if not encoded.isascii():  # What takes a second to translate, and is none anyway.
            raise _to_refusal(error) from None
        compact = encoded.translate(_WITHOUT_WHITESPACE)
    try:
        return _decode_strictly(compact)
    except binascii.Error as error:
        raise _to_refusal(error) from None


def _to_refusal(error: binascii.Error) -> BadDataUri:
    return BadDataUri(
        f"the part after base64, is not base64 ({error}); encode the file's bytes with the "
        "standard alphabet (A-Z a-z 0-9 + /) and = padding",
        code="not_base64",
    )


def _decode_strictly(encoded: str) -> bytes:
    try:
        return binascii.a2b_base64(encoded, strict_mode=True)
    except ValueError as error:
        raise binascii.Error(str(error)) from None
