"""Pictures from the field: whole ones are measured, cut ones and foreign ones are named."""

import time
from hashlib import sha256
from io import BytesIO

import pytest
from PIL import Image

from app.media.inspect import ImageFacts, UnreadableImage, inspect_image
from tests.media.field_pictures import NOISY, list_cut, list_foreign, list_whole
from tests.media.images import make_noise

WHOLE, CUT, FOREIGN = list_whole(), list_cut(), list_foreign()
LIMIT_SECONDS = 0.5
"""Ten times what is wanted of a quiet machine."""


@pytest.mark.parametrize("name", WHOLE)
def test_whole_picture_is_measured(name: str) -> None:
    content_type, content = WHOLE[name]

    facts = inspect_image(content)

    digest = sha256(content).hexdigest()
    assert facts == ImageFacts(content_type, 400, 400, len(content), digest)


@pytest.mark.parametrize("name", CUT)
def test_cut_picture_is_refused_as_cut(name: str) -> None:
    with pytest.raises(UnreadableImage, match="cut off") as refusal:
        inspect_image(CUT[name])

    assert refusal.value.code == "damaged_image"
    assert len(refusal.value.message) < 150


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_file_is_named(name: str) -> None:
    told, content = FOREIGN[name]

    with pytest.raises(UnreadableImage) as refusal:
        inspect_image(content)

    assert told in refusal.value.message


@pytest.mark.parametrize("kind", NOISY)
def test_picture_that_a_decoder_needs_more_of_is_cut(kind: str) -> None:
    """At each hundredth of its length; bytes behind the end are no part of it."""
    content = NOISY[kind]

    for hundredth in range(100):
        with pytest.raises(UnreadableImage):
            inspect_image(content[: len(content) * hundredth // 100])


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize(
    "end", [b"\xff", b"\0", b"\xff\x00", b"\xff\xfe\xd9", b"\0\0\0\0IDAT...."]
)
def test_longest_picture_is_looked_through_in_time(kind: str, end: bytes) -> None:
    content = NOISY[kind][:20_000] + end * (10 * 1024 * 1024 // len(end))

    began = time.perf_counter()
    with pytest.raises(UnreadableImage):
        inspect_image(content)

    assert time.perf_counter() - began < LIMIT_SECONDS


@pytest.mark.parametrize("kind", NOISY)
def test_what_is_taken_is_what_a_decoder_takes(kind: str) -> None:
    content = make_noise(kind, 401, 399)

    with Image.open(BytesIO(content)) as picture:
        picture.load()
        facts = inspect_image(content)
        assert (facts.width, facts.height) == picture.size
