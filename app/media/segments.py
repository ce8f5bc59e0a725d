"""A bound on the pieces that a picture's header is made of (pure).

A library walks all of them, some byte by byte, before it tells the size: a million empty ones
hold an interpreter for seconds. Real pictures have some dozens.
Source: ITU-T T.81, B.1.1 (JPEG); PNG specification (third edition), 5.3.
"""

import re
from struct import Struct

SEGMENTS_LIMIT = 1_000
PADDING_BYTES_LIMIT = 4_096

_LENGTH = Struct(">H")
_CHUNK_HEAD = Struct(">I4s")
_CHUNK_OVERHEAD = 12
_MARKER = re.compile(
    rb"[^\xff]{0,%d}\xff{1,%d}([^\xff])" % (PADDING_BYTES_LIMIT, PADDING_BYTES_LIMIT), re.S
)
_ENDS = frozenset({0xDA, 0xD9})
"""Where the header ends: start of scan, end of image."""
_ALONE = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})
"""Markers without a length: a stuffed byte, TEM, RST0 to RST7, SOI."""


class TooManySegments(ValueError):
    """A header that nobody should walk."""


def check_segments(content: bytes, content_type: str) -> None:
    """Raises TooManySegments. What is wrong in another way is the reader's to say."""
    if content_type == "image/jpeg":
        _walk_jpeg(content)
    elif content_type == "image/png":
        _walk_png(content)


def _walk_jpeg(content: bytes) -> None:
    """To the first scan: what comes behind it is not read for the size."""
    at = 2
    for _ in range(SEGMENTS_LIMIT):
        found = _MARKER.match(content, at)
        if found is None:
            if len(content) - at > 2 * PADDING_BYTES_LIMIT:
                raise TooManySegments
            return
        at = found.end()
        marker = found[1][0]
        if marker in _ENDS or at + _LENGTH.size > len(content):
            return
        if marker not in _ALONE:
            at += max(_LENGTH.unpack_from(content, at)[0], _LENGTH.size)
    raise TooManySegments


def _walk_png(content: bytes) -> None:
    at = 8
    for _ in range(SEGMENTS_LIMIT):
        if at + _CHUNK_HEAD.size > len(content):
            return
        length, kind = _CHUNK_HEAD.unpack_from(content, at)
        if kind in (b"IDAT", b"IEND"):
            return
        at += length + _CHUNK_OVERHEAD
    raise TooManySegments
