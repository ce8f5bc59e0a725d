"""What a picture is and whether it is whole, told from its bytes (pure)."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from struct import Struct
from threading import Lock

from PIL import BmpImagePlugin, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin
from PIL.Image import DecompressionBombError

from app.kit.errors import GatewayError, InvalidRequest
from app.media.structure import (
    PNG_SIGNATURE,
    SEGMENTS_LIMIT,
    BrokenStructure,
    Size,
    TooManySegments,
    check_webp,
    measure_bmp,
    measure_jpeg,
    measure_png,
)

ACCEPTED_FORMATS = "JPEG, PNG, BMP or WEBP"
DECODED_PIXELS_LIMIT = 25_000_000
"""A gigabyte would be taken for some 60 million; the upstream draws 2 million."""
SCANS_LIMIT = 200
"""A progressive JPEG has some ten, and each costs as much as the whole picture."""

_READERS: tuple[tuple[bytes, int, str, type[ImageFile.ImageFile]], ...] = (
    (PNG_SIGNATURE, 0, "image/png", PngImagePlugin.PngImageFile),
    (b"\xff\xd8\xff", 0, "image/jpeg", JpegImagePlugin.JpegImageFile),
    (b"WEBP", 8, "image/webp", WebPImagePlugin.WebPImageFile),
    (b"BM", 0, "image/bmp", BmpImagePlugin.BmpImageFile),
)
_MEASURES: dict[str, Callable[[bytes], Size]] = {
    "image/png": measure_png,
    "image/jpeg": measure_jpeg,
    "image/bmp": measure_bmp,
}
"""The size of a WEBP is told by its decoder, which has no limit that a real picture passes."""

_OTHER_FORMATS: tuple[tuple[bytes, int, str], ...] = (
    (b"GIF8", 0, "GIF"),
    (b"II*\x00", 0, "TIFF"),
    (b"MM\x00*", 0, "TIFF"),
    (b"II+\x00", 0, "BigTIFF"),
    (b"MM\x00+", 0, "BigTIFF"),
    (b"8BPS", 0, "PSD"),
    (b"%PDF", 0, "PDF"),
    (b"\x00\x00\x01\x00", 0, "ICO"),
    (b"\xff\x0a", 0, "JPEG XL"),
    (b"JXL \r\n\x87\n", 4, "JPEG XL"),
    (b"\xff\x4f\xff\x51", 0, "JPEG 2000"),
    (b"jP  \r\n\x87\n", 4, "JPEG 2000"),
)
_BRANDS: tuple[tuple[frozenset[bytes], str], ...] = (
    (frozenset({b"avif", b"avis", b"avio"}), "AVIF"),
    (frozenset(b"heic heix heim heis hevc hevx hevm hevs".split()), "HEIC"),
    (frozenset({b"mif1", b"mif2", b"msf1", b"miaf"}), "HEIF"),
)
"""The most telling first: what a file is coded with may stand behind what it is like."""
_BRANDS_LOOKED_AT = 32
_CHUNK_HEAD = Struct(">I4s")
_CHUNK_CRC = Struct(">I")
_CHUNK_OVERHEAD = 12
_START_OF_SCAN = b"\xff\xda"
_decoding = Lock()
"""One at a time: what pictures take in memory is not multiplied by how many come at once."""


class UnreadableImage(InvalidRequest):
    """Bytes that are no picture the upstream takes; the message says what they are."""

    code = "unreadable_image"


class CorruptImage(GatewayError):
    """A result that did not arrive whole; the message names the place."""

    code = "corrupt_image"


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """Width and height are the stored ones: EXIF orientation is not applied."""

    content_type: str
    width: int
    height: int
    bytes: int
    sha256: str


def inspect_image(content: bytes) -> ImageFacts:
    """Tell size and wholeness, decoding nothing; UnreadableImage if it is none that is taken.

    An animation counts as its canvas; what stands behind the end of a picture does no harm.
    """
    content_type, reader = _find_reader(content)
    width, height = _measure(content, content_type, reader)
    digest = sha256(content).hexdigest()
    return ImageFacts(content_type, width, height, len(content), digest)


def verify_picture(content: bytes, expected_length: int | None) -> ImageFacts:
    """Facts of a downloaded result that is proven whole, else CorruptImage.

    PNG, the upstream's only documented output, is proven by its checksums; any other format
    is decoded, 40 times slower, as nothing else shows that its end is missing.
    """
    if not content:
        raise CorruptImage("the body is empty")
    if expected_length is not None and len(content) != expected_length:
        raise CorruptImage(f"{len(content)} bytes came, {expected_length} were announced")
    is_png = content.startswith(PNG_SIGNATURE)
    if is_png:
        check_png(content)
    try:
        facts = inspect_image(content)
    except UnreadableImage as unreadable:
        raise CorruptImage(unreadable.message) from unreadable
    if not is_png:
        _decode(content, facts)
    return facts


def check_png(content: bytes) -> None:
    """Walk the chunks to IEND: every length, every CRC, nothing missing, nothing after.

    Source: PNG specification (third edition), section 5. Raises CorruptImage.
    """
    if not content.startswith(PNG_SIGNATURE):
        raise CorruptImage("the PNG signature is missing at offset 0")
    view = memoryview(content)
    offset, seen = len(PNG_SIGNATURE), set[bytes]()
    while b"IEND" not in seen:
        kind, end = _check_chunk(view, offset)
        if not seen and kind != b"IHDR":
            raise CorruptImage(f"the first chunk is {_name(kind)}, not IHDR")
        seen.add(kind)
        offset = end
    if b"IDAT" not in seen:
        raise CorruptImage("there is no IDAT chunk: the picture has no pixels")
    if offset != len(content):
        raise CorruptImage(f"{len(content) - offset} bytes follow IEND at offset {offset}")


def _check_chunk(view: memoryview, offset: int) -> tuple[bytes, int]:
    if len(view) - offset < _CHUNK_OVERHEAD:
        raise CorruptImage(f"the file ends at {len(view)}, within the chunk at offset {offset}")
    length, kind = _CHUNK_HEAD.unpack_from(view, offset)
    crc_offset = offset + 8 + length
    if crc_offset + 4 > len(view):
        raise CorruptImage(f"the file ends at {len(view)}, within {_name(kind)} at {offset}")
    (crc,) = _CHUNK_CRC.unpack_from(view, crc_offset)
    if zlib.crc32(view[offset + 4 : crc_offset]) != crc:
        raise CorruptImage(f"the checksum of chunk {_name(kind)} at offset {offset} is wrong")
    return kind, crc_offset + 4


def _name(kind: bytes) -> str:
    return kind.decode("ascii", "backslashreplace")


def _find_reader(content: bytes) -> tuple[str, type[ImageFile.ImageFile]]:
    for magic, at, content_type, reader in _READERS:
        if content.startswith(magic, at):
            return content_type, reader
    for magic, at, name in _OTHER_FORMATS:
        if content.startswith(magic, at):
            raise _not_accepted(name)
    if content.startswith(b"ftyp", 4):
        raise _not_accepted(_name_brands(content))
    raise UnreadableImage(_describe_other(content), code="not_an_image")


def _name_brands(content: bytes) -> str:
    """Of the family of MP4: the brand it is made for, and those that it is compatible with."""
    box_bytes = min(int.from_bytes(content[:4]), 16 + 4 * _BRANDS_LOOKED_AT)
    brands = {content[at : at + 4] for at in (8, *range(16, box_bytes, 4))}
    for known, name in _BRANDS:
        if brands & known:
            return name
    return "MP4 or MOV (a video)"


def _not_accepted(name: str) -> UnreadableImage:
    return UnreadableImage(
        f"{name} is not accepted; convert it to {ACCEPTED_FORMATS}", code="unsupported_format"
    )


def _describe_other(content: bytes) -> str:
    if not content:
        return "it is empty (0 bytes)"
    if content[:512].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return f"it is an HTML, XML or SVG document, not {ACCEPTED_FORMATS}"
    return f"it does not begin like {ACCEPTED_FORMATS}"


def _measure(content: bytes, content_type: str, reader: type[ImageFile.ImageFile]) -> Size:
    measure = _MEASURES.get(content_type)
    try:
        if measure is not None:
            return measure(content)
        check_webp(content)
    except TooManySegments:
        raise UnreadableImage(
            f"its header has more than {SEGMENTS_LIMIT} segments or far too much padding; export "
            "the image anew",
            code="damaged_image",
        ) from None
    except BrokenStructure as broken:
        raise UnreadableImage(
            f"it {broken}: it is damaged or was cut off; send it whole, or export it anew",
            code="damaged_image",
        ) from None
    with _open(reader, content) as picture:
        return picture.size


def _open(reader: type[ImageFile.ImageFile], content: bytes) -> ImageFile.ImageFile:
    # The format's own class, not Image.open: that one warns of or refuses big pictures before
    # their size can be told to the sender, and calls a JPEG with a preview an MPO.
    try:
        return reader(BytesIO(content))
    except DecompressionBombError:
        raise UnreadableImage(
            "it has far more pixels than any limit allows; shrink it", code="image_too_large"
        ) from None
    except (SyntaxError, OSError, ValueError, EOFError, MemoryError) as error:
        raise UnreadableImage(
            f"its header is damaged or cut off ({error}); export the image anew",
            code="damaged_image",
        ) from error


def _decode(content: bytes, facts: ImageFacts) -> None:
    if facts.width * facts.height > DECODED_PIXELS_LIMIT:
        raise CorruptImage(f"{facts.width}x{facts.height} px is too large to be a result")
    if facts.content_type == "image/jpeg" and content.count(_START_OF_SCAN) > SCANS_LIMIT:
        raise CorruptImage(f"it has more than {SCANS_LIMIT} scans, which no result has")
    _, reader = _find_reader(content)
    try:
        with _decoding, _open(reader, content) as picture:
            picture.load()
    except (SyntaxError, OSError, ValueError, EOFError) as error:
        raise CorruptImage(f"the {facts.content_type} cannot be decoded: {error}") from error
