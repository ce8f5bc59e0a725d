"""Pictures as cameras, phones and editors write them, and ones that are cut or foreign."""

import os
import struct
import zlib
from io import BytesIO
from typing import Any

from PIL import Image

from tests.media.images import make_animation, make_chunk, make_image, make_noise

SIGNATURE = b"\x89PNG\r\n\x1a\n"
ABOVE_ONE_MEGABYTE = bytes(1_200_000)
TRAILER = b"\0\0MTK trailer of a phone" * 4

PNG = make_image("PNG", 400, 400)
JPEG = make_image("JPEG", 400, 400)
NOISY = {kind: make_noise(kind, 400, 400) for kind in ("PNG", "JPEG", "BMP", "WEBP")}


def list_whole() -> dict[str, tuple[str, bytes]]:
    """The true type and the bytes, by name; all of them are 400*400."""
    jpegs, pngs, bmps, webps = _jpegs(), _pngs(), _bmps(), _webps()
    return {
        **{f"JPEG, {name}": ("image/jpeg", content) for name, content in jpegs.items()},
        **{f"PNG, {name}": ("image/png", content) for name, content in pngs.items()},
        **{f"BMP, {name}": ("image/bmp", content) for name, content in bmps.items()},
        **{f"WEBP, {name}": ("image/webp", content) for name, content in webps.items()},
    }


def list_cut() -> dict[str, bytes]:
    """What has lost its end, by name."""
    progressive = _save("JPEG", _noise(), progressive=True)
    return {
        **{f"{kind}, half": content[: len(content) // 2] for kind, content in NOISY.items()},
        **{f"{kind}, 60 bytes": content[:60] for kind, content in NOISY.items()},
        "PNG without IEND": PNG[:-12],
        "PNG, IEND cut": PNG[:-1],
        "PNG without pixels": PNG[:33] + PNG[-12:],
        "PNG with an altered header": PNG[:19] + b"\xff" + PNG[20:],
        "PNG, IEND only as text": make_png(1, 8, before=make_chunk(b"tEXt", PNG[-12:]))[:-12],
        "JPEG without its last marker": NOISY["JPEG"][:-2],
        "JPEG, half, with a whole preview": _add_segment(NOISY["JPEG"][:9_000], 0xE1, JPEG),
        "JPEG, progressive, half": progressive[: len(progressive) // 2],
        "JPEG, its header alone": JPEG[: JPEG.index(b"\xff\xda")],
        "BMP without its last row": NOISY["BMP"][:-1200],
        "WEBP without its last byte": NOISY["WEBP"][:-2],
    }


def list_foreign() -> dict[str, tuple[str, bytes]]:
    """How it is named, and the bytes, by name."""
    brands = {
        "heic": ("HEIC", [b"heic", b"mif1"]),
        "heix": ("HEIC", [b"heix"]),
        "hevc": ("HEIC", [b"hevc"]),
        "hevc under msf1": ("HEIC", [b"msf1", b"hevc"]),
        "heic under mif1": ("HEIC", [b"mif1", b"heic", b"miaf"]),
        "mif1 alone": ("HEIF", [b"mif1"]),
        "msf1 alone": ("HEIF", [b"msf1"]),
        "avif": ("AVIF", [b"avif", b"mif1"]),
        "avis": ("AVIF", [b"avis"]),
        "avif under mif1": ("AVIF", [b"mif1", b"miaf", b"avif"]),
        "avis under msf1": ("AVIF", [b"msf1", b"avis"]),
        "mp42": ("MP4 or MOV", [b"mp42", b"isom"]),
        "qt": ("MP4 or MOV", [b"qt  "]),
    }
    starts = {
        "BigTIFF": b"II+\0\x08\0\0\0",
        "BigTIFF, big end first": b"MM\0+\0\x08\0\0",
        "JPEG XL": b"\0\0\0\x0cJXL \r\n\x87\n",
        "JPEG XL, bare": b"\xff\x0a\xfa\x7f",
        "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n",
        "JPEG 2000, bare": b"\xff\x4f\xff\x51",
        "PSD": b"8BPS",
    }
    return {
        **{name: (told, make_box(*marks)) for name, (told, marks) in brands.items()},
        **{name: (name.partition(",")[0], start + bytes(60)) for name, start in starts.items()},
        "AVIF, as it is written": ("AVIF", make_image("AVIF", 400, 400)),
        "GIF": ("GIF", make_image("GIF")),
        "TIFF": ("TIFF", make_image("TIFF")),
        "ICO": ("ICO", make_image("ICO", 64, 64)),
        "PDF": ("PDF", make_image("PDF")),
        "SVG": ("SVG", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        "an HTML error page": ("HTML", b"\n<!DOCTYPE html><title>404</title>"),
        "no bytes": ("empty (0 bytes)", b""),
        "text": ("does not begin like JPEG", b"hello, world"),
    }


def make_box(*brands: bytes) -> bytes:
    """The first box of a file of the MP4 family: its brand, a version, those it is like."""
    major, *others = brands
    content = b"ftyp" + major + bytes(4) + b"".join(others)
    return struct.pack(">I", len(content) + 4) + content + bytes(100)


def make_png(depth: int, colour: int, *, before: bytes = b"", interlaced: bool = False) -> bytes:
    """Of 400*400, with chunks of its own before the pixels."""
    header = struct.pack(">IIBBBBB", 400, 400, depth, colour, 0, 0, interlaced)
    pixels = zlib.compress(bytes(400 * 3_300))
    chunks = make_chunk(b"IHDR", header) + before + make_chunk(b"IDAT", pixels)
    return SIGNATURE + chunks + make_chunk(b"IEND", b"")


def _jpegs() -> dict[str, bytes]:
    exif = Image.Exif()
    exif[0x0112] = 6
    end_of_app0 = 4 + struct.unpack_from(">H", JPEG, 4)[0]
    frame = JPEG.index(b"\xff\xc0")
    return {
        "orientation 6": make_image("JPEG", 400, 400, exif=exif),
        "MPO": make_animation("MPO", 400, 400),
        "CMYK": _save("JPEG", Image.new("CMYK", (400, 400))),
        "without APP0": JPEG[:2] + JPEG[end_of_app0:],
        "progressive": make_image("JPEG", 400, 400, progressive=True),
        "grey": _save("JPEG", Image.new("L", (400, 400))),
        "with a trailer": JPEG + TRAILER,
        "with fill bytes": JPEG[:2] + b"\xff" * 9 + JPEG[2:],
        "with a preview": _add_segment(JPEG, 0xE1, make_image("JPEG", 40, 40)),
        "of 12 bits": JPEG[: frame + 4] + b"\x0c" + JPEG[frame + 5 :],
        "a profile above 1 MB": make_image("JPEG", 400, 400, icc_profile=ABOVE_ONE_MEGABYTE),
        "restarts": make_image("JPEG", 400, 400, restart_marker_blocks=1),
    }


def _pngs() -> dict[str, bytes]:
    packed = zlib.compress(ABOVE_ONE_MEGABYTE)
    palette = make_chunk(b"PLTE", bytes(6))
    return {
        "RGB of 16 bits": make_png(16, 2),
        "RGBA of 16 bits": make_png(16, 6),
        "grey of 16 bits": make_png(16, 0),
        "grey and alpha": make_png(8, 4),
        "palette": make_png(8, 3, before=palette),
        "1 bit": make_png(1, 0),
        "interlaced": make_png(8, 2, interlaced=True),
        "animated": make_animation("PNG", 400, 400),
        "bytes behind IEND": PNG + TRAILER,
        "a profile above 1 MB": make_png(8, 2, before=make_chunk(b"iCCP", b"p\0\0" + packed)),
        "a text above 1 MB": make_png(8, 2, before=make_chunk(b"zTXt", b"k\0\0" + packed)),
        "XMP above 1 MB": make_png(
            8, 2, before=make_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + packed)
        ),
        "plain text above 1 MB": make_png(
            8, 2, before=make_chunk(b"tEXt", b"k\0" + b"t" * 1_200_000)
        ),
        "pixels in 30,000 chunks": PNG[:-12] + make_chunk(b"IDAT", b"") * 30_000 + PNG[-12:],
    }


def _bmps() -> dict[str, bytes]:
    plain = make_image("BMP", 400, 400)
    old = struct.pack("<2sIHHIIHHHH", b"BM", 0, 0, 0, 26, 12, 400, 400, 1, 24)
    return {
        "plain": plain,
        "top down": plain[:22] + struct.pack("<i", -400) + plain[26:],
        "32 bits": _save("BMP", Image.new("RGBA", (400, 400))),
        "palette": _save("BMP", Image.new("P", (400, 400))),
        "1 bit": _save("BMP", Image.new("1", (400, 400))),
        "OS/2": old + bytes(400 * 400 * 3),
        "run lengths": _pack_bmp(plain, 1, 8, bytes(3_000)),
        "a JPEG within": _pack_bmp(plain, 4, 0, JPEG),
        "bytes behind": plain + TRAILER,
    }


def _webps() -> dict[str, bytes]:
    return {
        "lossless": make_image("WEBP", 400, 400, lossless=True),
        "alpha": _save("WEBP", Image.new("RGBA", (400, 400), (1, 2, 3, 4))),
        "animated": make_animation("WEBP", 400, 400),
        "a profile above 1 MB": make_image("WEBP", 400, 400, icc_profile=ABOVE_ONE_MEGABYTE),
        "bytes behind": make_image("WEBP", 400, 400) + TRAILER,
    }


def _pack_bmp(plain: bytes, compression: int, bits: int, pixels: bytes) -> bytes:
    head = struct.pack("<HII", bits, compression, len(pixels))
    return plain[:28] + head + plain[38:54] + pixels


def _add_segment(jpeg: bytes, marker: int, content: bytes) -> bytes:
    segment = struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content
    return jpeg[:2] + segment + jpeg[2:]


def _noise() -> Image.Image:
    return Image.frombytes("RGB", (400, 400), os.urandom(400 * 400 * 3))


def _save(kind: str, picture: Image.Image, **options: Any) -> bytes:
    out = BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()
