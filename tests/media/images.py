"""Sample pictures of every format, made anew and the same each time."""

import struct
from collections.abc import Iterator
from io import BytesIO
from random import Random
from typing import Any
from zlib import crc32

from PIL import Image

from app.media.data_uri import to_data_uri

CONTENT_TYPES = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "BMP": "image/bmp",
    "WEBP": "image/webp",
}


def make_image(
    kind: str = "PNG", width: int = 640, height: int = 480, **save_options: Any
) -> bytes:
    """A plain picture that compresses well, whatever its sides."""
    out = BytesIO()
    Image.new("RGB", (width, height), (200, 120, 40)).save(out, kind, **save_options)
    return out.getvalue()


def make_uri(width: int, height: int, kind: str = "PNG") -> str:
    return to_data_uri(make_image(kind, width, height), CONTENT_TYPES[kind])


def make_long_uri(length: int) -> str:
    """A data URI of exactly this length: a picture, then nothing but zeros."""
    head = "data:image/png;base64,"
    content = make_image("PNG", 400, 400).ljust((length - len(head)) // 4 * 3, b"\0")
    encoded = to_data_uri(content, "image/png").removeprefix(head)
    return head + encoded.rjust(length - len(head))


def make_noise(kind: str = "PNG", width: int = 640, height: int = 480, seed: int = 1) -> bytes:
    """A picture that does not compress: about three bytes a pixel."""
    out = BytesIO()
    pixels = Random(seed).randbytes(width * height * 3)
    Image.frombytes("RGB", (width, height), pixels).save(out, kind)
    return out.getvalue()


def make_animation(kind: str, width: int = 640, height: int = 480) -> bytes:
    out = BytesIO()
    frames = [Image.new("RGB", (width, height), (shade, 0, 0)) for shade in (0, 128, 255)]
    frames[0].save(out, kind, save_all=True, append_images=frames[1:])
    return out.getvalue()


def make_png_header(width: int, height: int) -> bytes:
    """A PNG that claims any size and holds no pixels worth the name."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", b"\0"), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(make_chunk(*chunk) for chunk in chunks)


def make_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc32(kind + body))


def list_chunks(png: bytes) -> Iterator[tuple[str, int, int]]:
    """Name, offset and end of each chunk."""
    offset = 8
    while offset < len(png):
        length, kind = struct.unpack_from(">I4s", png, offset)
        yield kind.decode(), offset, offset + 12 + length
        offset += 12 + length
