"""How large a picture is, and whether its end is there, told from its structure alone (pure).

Nothing is decoded or unpacked: decoders have limits of their own, and a packed profile may grow
a thousandfold. A header is walked for some segments only: a million empty ones would hold an
interpreter for seconds, and real pictures have some dozens.
Source: ITU-T T.81, B.1.1 (JPEG); PNG specification (third edition), section 5; Microsoft,
"Bitmap Storage" (BMP); Google, "WebP Container Specification".
"""

import re
import zlib
from struct import Struct

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
SEGMENTS_LIMIT = 1_000
PADDING_BYTES_LIMIT = 4_096
CHUNKS_WALKED = 20_000
"""From a PNG's first pixels to its end; beyond them, the last chunk is only searched for."""

Size = tuple[int, int]

_CHUNK_HEAD = Struct(">I4s")
_CHUNK_OVERHEAD = 12
_PNG_HEADER = Struct(">I4sII5xI")
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"

_LENGTH = Struct(">H")
_JPEG_FRAME = Struct(">3xHH")
_JPEG_END = b"\xff\xd9"
_MARKER = re.compile(
    rb"[^\xff]{0,%d}\xff{1,%d}([^\xff])" % (PADDING_BYTES_LIMIT, PADDING_BYTES_LIMIT), re.S
)
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Start of frame, where the size is, of any kind of coding."""
_LAST = frozenset({0xDA, 0xD9})
"""Where the header ends: start of scan, end of image."""
_ALONE = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})
"""Markers without a length: a stuffed byte, TEM, RST0 to RST7, SOI."""

_BMP_OFFSETS = Struct("<10xII")
_BMP_OLD_FIELDS = Struct("<HH2xH")
_BMP_FIELDS = Struct("<ii2xHII")
_BMP_FIELDS_AT = 18
_BMP_OLD_HEADER = 12
_BMP_HEADERS = frozenset({_BMP_OLD_HEADER, 40, 52, 56, 64, 108, 124})
_BMP_PACKED = frozenset({1, 2, 4, 5})
"""Compressions that tell their number of bytes: run lengths, JPEG, PNG."""


class BrokenStructure(ValueError):
    """What is damaged or missing, in words that go on after "it"."""


class TooManySegments(ValueError):
    """A header that nobody should walk."""


def measure_jpeg(content: bytes) -> Size:
    """Width and height; raises BrokenStructure, also without an end, or TooManySegments."""
    size, scan_at = _walk_jpeg(content)
    if size is None:
        raise BrokenStructure("ends before it tells its width and height")
    # Within a scan, a byte of all ones is followed by a zero or by another marker.
    if content.find(_JPEG_END, scan_at) < 0:
        raise BrokenStructure("ends without its end-of-image marker")
    return _check_sides(*size)


def measure_png(content: bytes) -> Size:
    """Width and height; raises BrokenStructure, also without an end, or TooManySegments."""
    at = len(PNG_SIGNATURE)
    if len(content) < at + _PNG_HEADER.size:
        raise BrokenStructure("ends before it tells its width and height")
    length, kind, width, height, checksum = _PNG_HEADER.unpack_from(content, at)
    if (length, kind) != (13, b"IHDR") or zlib.crc32(content[at + 4 : at + 21]) != checksum:
        raise BrokenStructure("does not begin with a whole IHDR chunk")
    pixels_at = _find_chunk(content, at, b"IDAT", SEGMENTS_LIMIT)
    if pixels_at is None:
        raise TooManySegments
    end_at = _find_chunk(content, pixels_at, b"IEND", CHUNKS_WALKED)
    if end_at is None and content.find(_PNG_END, pixels_at) < 0:
        raise BrokenStructure("ends without its IEND chunk")
    return _check_sides(width, height)


def measure_bmp(content: bytes) -> Size:
    """Width and height; raises BrokenStructure, also where pixels are missing."""
    if len(content) < _BMP_FIELDS_AT + _BMP_FIELDS.size:
        raise BrokenStructure("ends before it tells its width and height")
    pixels_at, header_bytes = _BMP_OFFSETS.unpack_from(content)
    if header_bytes not in _BMP_HEADERS:
        raise BrokenStructure(f"has a header of {header_bytes} bytes, which no BMP has")
    compression, packed_bytes = 0, 0
    if header_bytes == _BMP_OLD_HEADER:
        width, height, bits = _BMP_OLD_FIELDS.unpack_from(content, _BMP_FIELDS_AT)
    else:
        width, height, bits, compression, packed_bytes = _BMP_FIELDS.unpack_from(
            content, _BMP_FIELDS_AT
        )
    size = _check_sides(width, abs(height))
    pixel_bytes = packed_bytes if compression in _BMP_PACKED else _count_pixel_bytes(size, bits)
    if len(content) < pixels_at + pixel_bytes:
        raise BrokenStructure(f"ends after {len(content)} of its {pixels_at + pixel_bytes} bytes")
    return size


def check_webp(content: bytes) -> None:
    """Raises BrokenStructure where less has come than the file says of itself."""
    announced_bytes = 8 + int.from_bytes(content[4:8], "little")
    if len(content) < announced_bytes:
        raise BrokenStructure(f"ends after {len(content)} of its {announced_bytes} bytes")


def _walk_jpeg(content: bytes) -> tuple[Size | None, int]:
    """The size, if it is told before the first scan, and where that begins."""
    at, size = 2, None
    for _ in range(SEGMENTS_LIMIT):
        found = _MARKER.match(content, at)
        if found is None:
            if len(content) - at > 2 * PADDING_BYTES_LIMIT:
                raise TooManySegments
            return size, at
        at, marker = found.end(), found[1][0]
        if marker in _LAST or at + _LENGTH.size > len(content):
            return size, at
        if marker in _FRAMES and at + _JPEG_FRAME.size <= len(content):
            height, width = _JPEG_FRAME.unpack_from(content, at)
            size = width, height
        if marker not in _ALONE:
            at += max(_LENGTH.unpack_from(content, at)[0], _LENGTH.size)
    raise TooManySegments


def _find_chunk(content: bytes, at: int, wanted: bytes, limit: int) -> int | None:
    """Where the chunk of that name begins; None after that many others."""
    for _ in range(limit):
        if at + _CHUNK_OVERHEAD > len(content):
            raise BrokenStructure(f"ends at byte {len(content)} without a chunk {wanted.decode()}")
        length, kind = _CHUNK_HEAD.unpack_from(content, at)
        if kind == wanted:
            return at
        if kind == b"IEND":
            raise BrokenStructure("has no pixels: there is no chunk IDAT")
        at += length + _CHUNK_OVERHEAD
    return None


def _count_pixel_bytes(size: Size, bits: int) -> int:
    """Rows are padded to four bytes; of the last one, the padding may be missing."""
    width, height = size
    return (width * bits + 31) // 32 * 4 * (height - 1) + (width * bits + 7) // 8


def _check_sides(width: int, height: int) -> Size:
    if width <= 0 or height <= 0:
        raise BrokenStructure(f"says that it is {width}x{height} px")
    return width, height
