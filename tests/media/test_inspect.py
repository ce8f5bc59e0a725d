"""What a picture is, and whether it is whole."""

import struct
from contextlib import suppress
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from app.media.inspect import (
    CorruptImage,
    ImageFacts,
    UnreadableImage,
    check_png,
    inspect_image,
    verify_picture,
)
from tests.media.images import (
    CONTENT_TYPES,
    list_chunks,
    make_animation,
    make_chunk,
    make_image,
    make_noise,
    make_png_header,
)

WHOLE_PNG = make_noise("PNG", 40, 30)
SAMPLES = {kind: make_noise(kind, 64, 48) for kind in CONTENT_TYPES}
JPEG = make_image("JPEG", 64, 48)
BOMB = JPEG.replace(struct.pack(">HH", 48, 64), struct.pack(">HH", 9000, 9000))
BIG_WEBP = b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xfe\x3f\x00" * 2 + b"\0" * 8


@pytest.mark.parametrize("kind", CONTENT_TYPES)
def test_each_accepted_format_is_known_by_its_bytes(kind: str) -> None:
    content = make_image(kind, 640, 480)

    facts = inspect_image(content)

    digest = sha256(content).hexdigest()
    assert facts == ImageFacts(CONTENT_TYPES[kind], 640, 480, len(content), digest)


def test_orientation_does_not_turn_the_sides() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6

    facts = inspect_image(make_image("JPEG", 640, 480, exif=exif))

    assert (facts.width, facts.height) == (640, 480)


def test_jpeg_with_a_second_picture_is_still_a_jpeg() -> None:
    assert inspect_image(make_animation("MPO")).content_type == "image/jpeg"


@pytest.mark.parametrize(("kind", "content_type"), [("WEBP", "image/webp"), ("PNG", "image/png")])
def test_animation_counts_as_its_canvas(kind: str, content_type: str) -> None:
    facts = inspect_image(make_animation(kind, 500, 400))

    assert (facts.content_type, facts.width, facts.height) == (content_type, 500, 400)


def test_sides_of_a_giant_are_told_without_decoding_it() -> None:
    facts = inspect_image(make_png_header(60_000, 60_000))

    assert (facts.width, facts.height) == (60_000, 60_000)


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (b"", "not_an_image", "empty"),
        (b"hello", "not_an_image", "does not begin like JPEG, PNG, BMP or WEBP"),
        (b"\n<!DOCTYPE html><html>", "not_an_image", "HTML"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not_an_image", "SVG"),
        (make_image("GIF"), "unsupported_format", "GIF is not accepted"),
        (make_image("TIFF"), "unsupported_format", "TIFF is not accepted"),
        (make_image("AVIF"), "unsupported_format", "AVIF is not accepted"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "unsupported_format", "HEIC is not accepted"),
        (make_image("ICO", 64, 64), "unsupported_format", "ICO is not accepted"),
        (make_image("PDF"), "unsupported_format", "PDF is not accepted"),
        (make_image("PNG")[:20], "damaged_image", "cut off"),
        (make_image("JPEG")[:20], "damaged_image", "cut off"),
        (make_image("BMP")[:20], "damaged_image", "cut off"),
        (make_image("WEBP")[:20], "damaged_image", "cut off"),
        (make_png_header(0, 400), "damaged_image", "cut off"),
        (BIG_WEBP, "image_too_large", "pixels"),
    ],
)
def test_refusal_names_what_the_bytes_are(content: bytes, code: str, words: str) -> None:
    with pytest.raises(UnreadableImage) as refusal:
        inspect_image(content)

    assert refusal.value.code == code
    assert words in refusal.value.message


@given(
    kind=st.sampled_from(sorted(SAMPLES)),
    cut=st.integers(0, 200),
    at=st.integers(0, 199),
    junk=st.binary(max_size=8),
)
def test_no_damage_raises_anything_else(kind: str, cut: int, at: int, junk: bytes) -> None:
    content = bytearray(SAMPLES[kind])
    content[at : at + len(junk)] = junk
    content = content[: max(cut, 12)] if cut < 100 else content

    with suppress(UnreadableImage):
        facts = inspect_image(bytes(content))
        assert min(facts.width, facts.height) > 0


def test_whole_png_passes() -> None:
    check_png(WHOLE_PNG)


@pytest.mark.parametrize(("name", "start", "end"), list(list_chunks(WHOLE_PNG)))
def test_one_wrong_byte_of_a_chunk_is_found_and_placed(name: str, start: int, end: int) -> None:
    for offset in range(start + 8, end):
        damaged = bytearray(WHOLE_PNG)
        damaged[offset] ^= 0xFF

        with pytest.raises(CorruptImage, match=f"{name} at offset {start}"):
            check_png(bytes(damaged))


@given(offset=st.integers(0, len(WHOLE_PNG) - 1), bit=st.integers(0, 7))
def test_any_flipped_bit_is_found(offset: int, bit: int) -> None:
    damaged = bytearray(WHOLE_PNG)
    damaged[offset] ^= 1 << bit

    with pytest.raises(CorruptImage):
        check_png(bytes(damaged))


@given(length=st.integers(0, len(WHOLE_PNG) - 1))
def test_any_cut_is_found(length: int) -> None:
    with pytest.raises(CorruptImage):
        check_png(WHOLE_PNG[:length])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (WHOLE_PNG + b"\0", "1 bytes follow IEND"),
        (WHOLE_PNG[:8] + make_chunk(b"IEND", b""), "the first chunk is IEND"),
        (WHOLE_PNG[:33] + make_chunk(b"IEND", b""), "no IDAT"),
        (b"GIF89a", "signature"),
    ],
)
def test_png_with_the_wrong_chunks_is_refused(content: bytes, words: str) -> None:
    with pytest.raises(CorruptImage, match=words):
        check_png(content)


@pytest.mark.parametrize("kind", CONTENT_TYPES)
def test_whole_result_is_verified(kind: str) -> None:
    facts = verify_picture(SAMPLES[kind], len(SAMPLES[kind]))

    assert facts.content_type == CONTENT_TYPES[kind]
    assert verify_picture(SAMPLES[kind], None) == facts


@pytest.mark.parametrize("kind", CONTENT_TYPES)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_result_without_its_end_is_corrupt(kind: str, share: float) -> None:
    content = SAMPLES[kind]

    with pytest.raises(CorruptImage):
        verify_picture(content[: int(len(content) * share)], None)


@pytest.mark.parametrize(
    ("content", "announced", "words"),
    [
        (b"", 0, "empty"),
        (b"", None, "empty"),
        (WHOLE_PNG, len(WHOLE_PNG) + 1, f"{len(WHOLE_PNG) + 1} were announced"),
        (b"<html>expired</html>", 20, "HTML"),
        (make_image("GIF"), None, "GIF"),
        (BOMB, None, "9000x9000 px is too large"),
    ],
)
def test_what_is_no_picture_is_corrupt(content: bytes, announced: int | None, words: str) -> None:
    with pytest.raises(CorruptImage, match=words):
        verify_picture(content, announced)
