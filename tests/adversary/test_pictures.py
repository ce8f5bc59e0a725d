"""Pictures that are made to be walked for seconds."""

import time
from io import BytesIO
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from app.jobs.requests.parse_native import parse_native
from app.kit.errors import InvalidRequest
from app.media.data_uri import BadDataUri, parse_data_uri
from app.media.inspect import (
    CorruptImage,
    UnreadableImage,
    inspect_image,
    verify_picture,
)
from app.media.structure import PADDING_BYTES_LIMIT, PNG_SIGNATURE, SEGMENTS_LIMIT
from tests.media.images import make_chunk, make_image

LONG = 10 * 1024 * 1024
LIMIT_SECONDS = 0.5
"""Ten times what is wanted of a quiet machine."""
QUICK_SECONDS = 0.02
JPEG = make_image("JPEG", 400, 400)
PNG = make_image("PNG", 400, 400)
HEADER = PNG[8:33]
EMPTY_COMMENT = b"\xff\xfe\x00\x02"
RIFF = b"RIFF" + pack("<I", LONG) + b"WEBP"


def inspect_in_time(content: bytes) -> str:
    """The code of the refusal, or the type."""
    began = time.perf_counter()
    try:
        told = inspect_image(content).content_type
    except UnreadableImage as refusal:
        told = refusal.code
    assert time.perf_counter() - began < LIMIT_SECONDS
    return told


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xd8" + b"\xff" * LONG,
        b"\xff\xd8" + EMPTY_COMMENT * (LONG // 4) + JPEG[2:],
        b"\xff\xd8\xff\xe0\x00\x02" + b"\x00" * LONG,
        b"\xff\xd8" + b"\xff\x01" * (LONG // 2),
        b"\xff\xd8" + EMPTY_COMMENT + (b"\x00" * PADDING_BYTES_LIMIT + EMPTY_COMMENT) * 2_000,
        PNG_SIGNATURE + HEADER + make_chunk(b"tEXt", b"") * (LONG // 12),
        PNG_SIGNATURE + HEADER + make_chunk(b"zzZz", b"") * (LONG // 12) + PNG[33:],
    ],
    ids=["fill", "comments", "zeros", "alone", "padding", "texts", "unknown"],
)
def test_a_header_without_an_end_is_refused_at_once(content: bytes) -> None:
    assert inspect_in_time(content) == "damaged_image"


@pytest.mark.parametrize(
    "content",
    [
        RIFF + (b"junk" + pack("<I", 0)) * (LONG // 8),
        b"BM" + b"\xff" * LONG,
        b"BM" + b"\x00" * LONG,
        b"\xff\xd8" + b"\xff\xe1\xff\xff" * (LONG // 4),
        PNG_SIGNATURE + b"\xff" * LONG,
    ],
    ids=["webp", "bmp of ones", "bmp of zeros", "long segments", "a long chunk"],
)
def test_whatever_else_is_sent_takes_no_time(content: bytes) -> None:
    assert inspect_in_time(content) == "damaged_image"


def test_as_many_segments_as_real_pictures_have_are_read() -> None:
    many = SEGMENTS_LIMIT // 2
    large = BytesIO()
    Image.new("RGB", (400, 400)).save(large, "JPEG", icc_profile=b"p" * 900_000)

    assert inspect_image(large.getvalue()).width == 400
    assert inspect_image(b"\xff\xd8" + EMPTY_COMMENT * many + JPEG[2:]).width == 400
    assert inspect_image(JPEG[:2] + b"\xff" * 100 + JPEG[2:]).width == 400
    texts = make_chunk(b"tEXt", b"a\x00b") * many
    assert inspect_image(PNG[:33] + texts + PNG[33:]).width == 400


@pytest.mark.parametrize("junk", [" ", "\u3000", "\u200b"])
def test_an_address_of_nothing_but_space_is_refused_at_once(junk: str) -> None:
    body = {"prompt": "x", "images": [junk * LONG]}
    taken_seconds = []
    for _ in range(3):
        began = time.perf_counter()
        with pytest.raises(InvalidRequest, match=r"images\[0\]: "):
            parse_native(body)
        taken_seconds.append(time.perf_counter() - began)

    assert min(taken_seconds) < QUICK_SECONDS


@given(junk=st.lists(st.sampled_from([b"\xff", b"\x00", b"\xfe", b"\x00\x02", b"\xda", b"ab"])))
def test_no_header_raises_anything_else(junk: list[bytes]) -> None:
    inspect_in_time(b"\xff\xd8\xff" + b"".join(junk))


def test_a_progressive_picture_of_scans_without_end_is_refused_at_once() -> None:
    picture = make_image("JPEG", 800, 800, progressive=True)
    start = picture.rindex(b"\xff\xda")
    endless = picture[:start] + picture[start:-2] * 5_000 + picture[-2:]
    began = time.perf_counter()

    with pytest.raises(CorruptImage, match="scans"):
        verify_picture(endless, len(endless))

    assert time.perf_counter() - began < LIMIT_SECONDS
    verify_picture(picture, len(picture))


def test_text_beyond_ascii_is_no_base64_at_once() -> None:
    began = time.perf_counter()

    with pytest.raises(BadDataUri, match="not base64"):
        parse_data_uri("data:image/png;base64," + "\xe9" * LONG, limit_bytes=3 * LONG)

    assert time.perf_counter() - began < LIMIT_SECONDS
