"""A body as JSON, or in words why it is none: packed, in other characters, a form."""

from collections.abc import Mapping

import orjson

from app.kit.errors import InvalidRequest, shorten
from app.kit.json_values import TooManyValues, check_values

HEADER_CHARACTERS_TOLD = 64
ADVICE = "send an object of the documented fields"

_MARK = b"\xef\xbb\xbf"
"""The byte order mark of UTF-8, which some editors and shells put in front."""
_PACKED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_WIDE = {
    b"\xff\xfe\0\0": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
    b"{\0": "UTF-16",
    b"\0{": "UTF-16",
}
_NARROW = frozenset({"", "utf-8", "utf8", "us-ascii", "ascii"})
_CLAIMED = frozenset({"iso-8859-1", "latin1"})
"""What libraries call UTF-8 when nobody has told them: it hardly ever looks like it."""
_UNTYPED = frozenset({"", "application/json", "text/json", "text/plain"})


class MalformedBody(InvalidRequest):
    """A body that was meant to be JSON and is none."""

    code = "malformed_body"

    def __init__(self, fault: str) -> None:
        super().__init__(f"the body is not JSON: {fault}")


class UnsupportedBody(MalformedBody):
    """A body in an encoding, in characters or of a type that are not read here."""

    code = "unsupported_body"


def parse_json(body: bytes, headers: Mapping[str, str]) -> object:
    """What the body says, whatever its headers call it; raises MalformedBody, InvalidRequest.

    But for its charset: some text in another one would be read as what nobody has written.
    """
    if _read_charset(headers) not in _NARROW | _CLAIMED and not body.isascii():
        raise UnsupportedBody(_name_charset(_read_charset(headers)))
    try:
        check_values(body)
        return orjson.loads(body.removeprefix(_MARK))
    except (TooManyValues, orjson.JSONDecodeError) as error:
        raise _explain(body, headers, error) from None


def _explain(
    body: bytes, headers: Mapping[str, str], error: TooManyValues | orjson.JSONDecodeError
) -> InvalidRequest:
    if not body:
        return MalformedBody("it is empty (0 bytes)")
    foreign = _find_foreign(body, headers)
    if foreign:
        return UnsupportedBody(foreign)
    if isinstance(error, TooManyValues):
        return InvalidRequest(f"the body has {error}; {ADVICE}", code="malformed_body")
    fault = _find_foreign_byte(body) or f"{error.msg} at character {error.pos}"
    return MalformedBody(f"{fault}; {ADVICE}, in UTF-8")


def _find_foreign(body: bytes, headers: Mapping[str, str]) -> str | None:
    """What it is instead, as it shows or as its headers say; None of what begins like JSON."""
    if wide := _find_start(body, _WIDE):
        return _name_charset(wide)
    charset = _read_charset(headers)
    if charset not in _NARROW and _find_foreign_byte(body):
        return _name_charset(charset)
    if body.lstrip()[:1] in (b"{", b"["):
        return None
    packed = headers.get("content-encoding", "").lower() or _find_start(body, _PACKED)
    if packed and packed != "identity":
        return f"its Content-Encoding is {_show(packed)}; send it without one"
    kind = headers.get("content-type", "").lower().partition(";")[0].strip()
    if kind not in _UNTYPED and not kind.endswith("+json"):
        return f"its Content-Type is {_show(kind)}; send application/json"
    return None


def _read_charset(headers: Mapping[str, str]) -> str:
    parameters = headers.get("content-type", "").lower().partition(";")[2]
    return parameters.partition("charset=")[2].partition(";")[0].strip("\"' ")


def _name_charset(charset: str) -> str:
    return f"its charset is {_show(charset)}; send UTF-8"


def _find_start(body: bytes, starts: Mapping[bytes, str]) -> str | None:
    return next((name for start, name in starts.items() if body.startswith(start)), None)


def _find_foreign_byte(body: bytes) -> str | None:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        return f"byte {error.start} (0x{body[error.start]:02x}) is not UTF-8"
    return None


def _show(value: str) -> str:
    return ascii(shorten(value, HEADER_CHARACTERS_TOLD))[1:-1]
