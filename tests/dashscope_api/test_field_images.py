"""Images from the field, at both doors and as uploads: taken whole, or refused by name."""

import base64
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any

import pytest

from tests.dashscope_api.both_doors import (
    DOORS,
    PROMPT,
    URL,
    WIRE,
    Sender,
    open_sender,
    read_refusal,
)
from tests.dashscope_api.client import Client
from tests.dashscope_api.test_uploads import ask_policy, post_form
from tests.gateway import Gateway
from tests.media.field_pictures import JPEG, NOISY, PNG, list_cut, list_foreign, list_whole
from tests.media.images import make_long_uri, make_noise, make_uri

WHOLE, CUT, FOREIGN = list_whole(), list_cut(), list_foreign()


def encode(content: bytes) -> str:
    return base64.b64encode(content).decode()


LINES = "\r\n".join(encode(PNG)[at : at + 76] for at in range(0, len(encode(PNG)), 76))
TEXTS: dict[str, tuple[str, str, bytes]] = {
    "a charset": (f"data:image/png;charset=utf-8;base64,{encode(PNG)}", "image/png", PNG),
    "a name": (f"data:image/jpeg;name=a.jpg;base64,{encode(JPEG)}", "image/jpeg", JPEG),
    "a quoted name": (f'data:image/png;name="a,b;c.png";base64,{encode(PNG)}', "image/png", PNG),
    "a Chinese name": (f"data:image/png;name=图.png;base64,{encode(PNG)}", "image/png", PNG),
    "both": (f"data:image/png;name=a;charset=utf-8;base64,{encode(PNG)}", "image/png", PNG),
    "image/JPG": (f"data:image/JPG;base64,{encode(JPEG)}", "image/jpeg", JPEG),
    "capitals": (f"DATA:IMAGE/JPEG;BASE64,{encode(JPEG)}", "image/jpeg", JPEG),
    "lines of 76": (f"data:image/png;base64,{LINES}", "image/png", PNG),
    "a line feed in front": (f"\ndata:image/png;base64,{encode(PNG)}", "image/png", PNG),
    "a byte order mark": (f"\ufeffdata:image/png;base64,{encode(PNG)}", "image/png", PNG),
    "JPEG said to be PNG": (f"data:image/png;base64,{encode(JPEG)}", "image/jpeg", JPEG),
    "WEBP said to be PNG": (
        f"data:image/png;base64,{encode(NOISY['WEBP'])}",
        "image/webp",
        NOISY["WEBP"],
    ),
}
SIDES = [
    (make_uri(383, 400), "width is 383 px; it must be 384 to 5000"),
    (make_uri(5001, 1300), "width is 5001 px; it must be 384 to 5000"),
    (make_uri(400, 1640), "1:4.1; it must be 1:4 to 4:1"),
    (f"data:image/jpeg;base64,{encode(FOREIGN['hevc under msf1'][1])}", "HEIC is not accepted"),
    (make_long_uri(10_485_761), "it is 10485761 bytes long as a data URI, above 10485760"),
    (encode(make_noise()), "bare base64: put data:image/png;base64, before it"),
]
ADDRESSES = [
    ("HTTPS://CDN.EXAMPLE.COM/A.PNG", "https://cdn.example.com/A.PNG"),
    (" https://img.example/a.png\n", "https://img.example/a.png"),
    ("\u200bhttps://img.example/a.png", "https://img.example/a.png"),
    ("\ufeffhttps://img.example/a.png", "https://img.example/a.png"),
    ("https://img.example/图 片.png".replace(" ", "%20"), "https://img.example/图%20片.png"),
    *((f"{URL}?Signature={'s' * length}",) * 2 for length in (2_100, 4_000, 6_000)),
    (URL.ljust(8_000, "a"),) * 2,
]
NO_ADDRESSES = [
    (URL.ljust(8_001, "a"), "is a URL of 8001 characters, above 8000; send the picture itself"),
    ("https://img.example/a b.png", "U+0020 SPACE at character 21; remove it, or write it as %20"),
    ("https://img.example/a\u200b.png", "U+200B ZERO WIDTH SPACE"),
    ("https://me:secret@img.example/a.png", "has a user name in it"),
    ("https:///a.png", "without a host"),
    ("https://img.example:99999/a.png", "is no URL: Port out of range"),
    ("img.example/a.png", "neither a URL nor a data URI"),
    ("//img.example/a.png", "neither a URL nor a data URI"),
    ("blob:https://img.example/0f", 'its scheme is "blob:https"'),
    ("C:\\pictures\\a.png", "if it is a local path"),
    ("/files/a.png", "if it is a local path"),
]
LISTS: list[tuple[Any, str]] = [
    (None, "has 0 images; give 1 to 3"),
    ([], "has 0 images; give 1 to 3"),
    ([None], "[0]: must be a string, not null"),
    ([""], "[0]: is neither a URL nor a data URI"),
    ([[URL]], "[0]: must be a string, not an array"),
    ([{"url": URL}], "[0]: must be a string, not an object: give the URL"),
    ([{"type": "image_url", "image_url": {"url": URL}}], "must be a string, not an object"),
    ([URL] * 4, "has 4 images; give 1 to 3"),
    (URL, "must be an array of strings"),
]
SHAPES: list[tuple[dict[str, Any], str]] = [
    (
        {"function": "description_edit", "base_image_url": URL},
        '"base_image_url", "function" are not of this model: write "images": ["https://..."]',
    ),
    ({"image": URL}, '"image" is not of this model: write "images": ["https://..."]'),
    ({"image_url": URL}, '"image_url" is not of this model'),
    ({"img_url": URL}, '"img_url" is not of this model'),
    ({"messages": [{"role": "user", "content": [{"image": URL}]}]}, '"messages" is not of'),
]


@pytest.fixture(scope="module")
async def sender(shared_idle_gateway: Gateway) -> AsyncIterator[Sender]:
    async with open_sender(shared_idle_gateway) as sender:
        yield sender


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", WHOLE)
async def test_whole_picture_is_taken_as_what_it_is(sender: Sender, door: str, name: str) -> None:
    content_type, content = WHOLE[name]

    answer = await sender.send(door, {"images": [f"data:image/png;base64,{encode(content)}"]})

    await check_stored(sender, answer, content_type, content)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", TEXTS)
async def test_picture_is_read_from_the_text_that_others_write(
    sender: Sender, door: str, name: str
) -> None:
    text, content_type, content = TEXTS[name]

    answer = await sender.send(door, {"images": [text]})

    await check_stored(sender, answer, content_type, content)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", CUT)
async def test_cut_picture_is_refused_at_once(sender: Sender, door: str, name: str) -> None:
    image = f"data:image/png;base64,{encode(CUT[name])}"

    told = read_refusal(await sender.send(door, {"images": [URL, image]}))

    assert told.status == (400 if door == WIRE else 422)
    assert "images[1]: " in told.words
    assert "damaged or was cut off; send it whole" in told.words


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", FOREIGN)
async def test_foreign_file_is_named(sender: Sender, door: str, name: str) -> None:
    named, content = FOREIGN[name]

    told = read_refusal(
        await sender.send(door, {"images": [f"data:image/jpeg;base64,{encode(content)}"]})
    )

    assert "images[0]: " in told.words
    assert named in told.words


async def test_upload_is_held_to_the_same(idle_client: Client) -> None:
    policy = await ask_policy(idle_client)

    for name in ("PNG, half", "JPEG, half"):
        told = (await post_form(policy, CUT[name])).json()
        assert (told["code"], "cut off" in told["message"]) == ("InvalidImageFormat", True)
    for name in ("hevc under msf1", "avif under mif1"):
        told = (await post_form(policy, FOREIGN[name][1])).json()
        assert (told["code"], FOREIGN[name][0] in told["message"]) == ("InvalidImageFormat", True)
    for name in ("PNG, a profile above 1 MB", "JPEG, with a trailer"):
        assert (await post_form(policy, WHOLE[name][1], name=name)).status_code == 200


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(("sent", "stored"), ADDRESSES, ids=range(len(ADDRESSES)))
async def test_address_goes_on_in_one_way(
    sender: Sender, door: str, sent: str, stored: str
) -> None:
    job = await sender.read_job(await sender.send(door, {"images": [sent]}))

    assert job["images"] == [{"url": stored}]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(("sent", "words"), [*SIDES, *NO_ADDRESSES], ids=lambda text: text[:40])
async def test_image_is_refused_with_what_it_is_and_what_to_do(
    sender: Sender, door: str, sent: str, words: str
) -> None:
    told = read_refusal(await sender.send(door, {"images": [sent]}))

    assert "images[0]: " in told.words
    assert words in told.words
    assert "secret" not in told.words


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(("images", "words"), LISTS, ids=range(len(LISTS)))
async def test_list_of_images_is_refused_with_count_and_limit(
    sender: Sender, door: str, images: Any, words: str
) -> None:
    told = read_refusal(await sender.send(door, {"images": images}))

    assert words.removeprefix("[0]: ") in told.words


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(("fields", "words"), SHAPES, ids=lambda each: str(each)[:30])
async def test_shape_of_another_model_is_told_what_to_write(
    sender: Sender, door: str, fields: dict[str, Any], words: str
) -> None:
    told = read_refusal(await sender.send(door, {"images": None, **fields}))

    if door == WIRE:
        assert "Field required: input.images" in told.words
    assert words in told.words


async def check_stored(sender: Sender, answer: Any, content_type: str, content: bytes) -> None:
    """Byte for byte, under its true type."""
    job = await sender.read_job(answer)
    (image,) = job["images"]
    assert job["prompt"] == PROMPT
    assert (image["content_type"], image["sha256"]) == (content_type, sha256(content).hexdigest())
