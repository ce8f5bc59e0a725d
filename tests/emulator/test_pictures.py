"""The pictures that come out: sizes, sameness, links."""

import io
from dataclasses import replace
from urllib.parse import urlencode

import httpx
import pytest
from PIL import Image, ImageChops, ImageFont, ImageStat

from app.emulator.pictures.captions import legible, wrap
from app.emulator.pictures.draw import Stroke, choose_size, draw_picture, make_sketch
from tests.emulator.client import (
    QUICK,
    Desk,
    HandClock,
    make_body,
    make_picture,
    open_desk,
    to_data_uri,
)

_FONT = ImageFont.load_default(20)


@pytest.mark.parametrize("size", ["768*768", "1344*576", "720*1280"])
async def test_picture_is_a_png_of_the_asked_size(desk: Desk, size: str) -> None:
    picture = await desk.get_picture(await desk.run(make_body(size=size, watermark=True)))

    assert picture.format == "PNG"
    assert f"{picture.width}*{picture.height}" == size


async def test_size_left_out_follows_the_last_input(desk: Desk) -> None:
    images = [to_data_uri(make_picture(400, 900)), to_data_uri(make_picture(800, 600))]

    picture = await desk.get_picture(await desk.run(make_body(images=images, size=None)))

    assert picture.width % 16 == picture.height % 16 == 0
    assert abs(picture.width / picture.height - 4 / 3) < 0.02
    assert abs(picture.width * picture.height / (1280 * 1280) - 1) < 0.03


@pytest.mark.parametrize("aspect", [0.2, 0.25, 1.0, 1.7, 4.0])
def test_chosen_sizes_keep_about_the_same_area(aspect: float) -> None:
    width, height = choose_size(aspect)

    assert abs(width * height / (1280 * 1280) - 1) < 0.03


async def test_same_seed_prompt_and_inputs_give_the_same_bytes(desk: Desk) -> None:
    first = await desk.run(make_body(seed=7, n=2))
    again = await desk.run(make_body(seed=7, n=2))
    other = await desk.run(make_body("make it red", seed=7))

    urls = [
        result["url"] for answer in (first, again, other) for result in answer["output"]["results"]
    ]
    pictures = [(await desk.http.get(url)).content for url in urls]

    assert pictures[:2] == pictures[2:4]
    assert len(set(pictures)) == 3


async def test_missing_seed_is_random(desk: Desk) -> None:
    answers = [await desk.run(make_body(seed=None)) for _ in range(2)]

    pictures = [await desk.get_picture(answer) for answer in answers]

    assert pictures[0].tobytes() != pictures[1].tobytes()


def test_picture_is_visibly_edited_and_captioned() -> None:
    source = Image.linear_gradient("L").resize((768, 768)).convert("RGB")
    drawn = draw_picture(make_sketch([source], (768, 768)), Stroke("a prompt", 3))

    with Image.open(io.BytesIO(drawn)) as result:
        change = ImageStat.Stat(ImageChops.difference(source, result.convert("RGB")))
        caption = result.crop((0, 768 - 40, 768, 768)).convert("L")

    assert sum(change.mean) / 3 > 20
    histogram = caption.histogram()
    assert sum(histogram[180:]) > 200
    assert sum(histogram[:90]) > sum(histogram) / 2


def test_glyphs_the_font_lacks_are_counted_not_drawn() -> None:
    assert legible("lace 蕾丝 gown", _FONT) == "lace [2 characters] gown"


def test_long_captions_end_in_an_ellipsis_within_three_lines() -> None:
    lines = wrap("a very long word-by-word story " * 30, _FONT, 300)

    assert len(lines) == 3
    assert lines[-1].endswith("...")
    assert all(_FONT.getlength(line) <= 300 for line in lines)


async def test_link_expires() -> None:
    clock = HandClock()
    async with open_desk(replace(QUICK, url_ttl_seconds=60), clock=clock) as desk:
        url = (await desk.run())["output"]["results"][0]["url"]

        clock.advance(59)
        before = await desk.http.get(url)
        clock.advance(1)
        after = await desk.http.get(url)

        assert before.status_code == 200
        assert after.status_code == 403
        assert after.headers["content-type"].startswith("application/xml")
        assert "<Code>AccessDenied</Code>" in after.text
        assert "<Message>Request has expired.</Message>" in after.text


async def test_purged_picture_is_404_while_its_link_is_good() -> None:
    clock = HandClock()
    options = replace(QUICK, ttl_seconds=60, url_ttl_seconds=600)
    async with open_desk(options, clock=clock) as desk:
        url = (await desk.run())["output"]["results"][0]["url"]

        clock.advance(60)
        answer = await desk.http.get(url)

        assert answer.status_code == 404
        assert "<Code>NoSuchKey</Code>" in answer.text


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"Signature": "AAAA"}, "SignatureDoesNotMatch"),
        ({"Expires": "4000000000"}, "SignatureDoesNotMatch"),
        ({"Signature": ""}, "AccessDenied"),
        ({"Expires": ""}, "AccessDenied"),
    ],
)
async def test_tampered_link_is_403(desk: Desk, change: dict[str, str], code: str) -> None:
    url = httpx.URL((await desk.run())["output"]["results"][0]["url"])
    query = urlencode(dict(url.params) | change)

    answer = await desk.http.get(url.copy_with(query=query.encode()))

    assert (answer.status_code, f"<Code>{code}</Code>" in answer.text) == (403, True)


async def test_links_lead_to_the_public_address_when_there_is_one() -> None:
    async with open_desk(replace(QUICK, public_url="https://emulator.example")) as desk:
        url = (await desk.run())["output"]["results"][0]["url"]

        assert url.startswith("https://emulator.example/results/")
