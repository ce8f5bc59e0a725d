"""What one request meets and others do not: poison, a slow line; and results that are odd."""

import asyncio
import time
from typing import Any

import httpx
import pytest

from app.emulator.disturb.disrupt import SLOW_LINE_BYTES
from tests.emulator.client import Desk, make_body

POISON = {
    "on": "create",
    "do": "status",
    "status": 403,
    "code": "AccessDenied",
    "message": "url error, please check url!",
}
LONG = "data:image/png;base64," + "A" * 1_500_000


@pytest.mark.parametrize(
    ("match", "bad"),
    [
        ({"prompt": "poison"}, make_body("a cup of poison")),
        ({"image": "HTTPS://"}, make_body(images=["https://a/1.png", "HTTPS://a/2.png"])),
    ],
)
async def test_poison_is_refused_and_all_else_is_taken(
    desk: Desk, match: dict[str, str], bad: dict[str, Any]
) -> None:
    await desk.arm(POISON | {"match": match})

    refused = await desk.post(bad)
    taken = await desk.post(make_body(images=["https://a/1.png"]))

    assert refused.status_code == 403
    assert refused.json()["code"] == "AccessDenied"
    assert refused.json()["message"].startswith("url error")
    assert taken.status_code == 200
    assert await desk.count_tasks() == 1


async def test_a_slow_line_holds_up_long_bodies_only(desk: Desk) -> None:
    slow = {"on": "line", "do": "slow", "bytes_per_second": 1_000_000}
    await desk.arm(slow | {"match": {"over_bytes": 1_000_000}})

    took = []
    for images in ([LONG], None):
        began = time.monotonic()
        assert (await desk.post(make_body(images=images))).status_code == 200
        took.append(time.monotonic() - began)

    assert took[0] >= 1.4
    assert took[1] < 1.0


async def test_a_body_that_was_not_sent_whole_makes_no_task(desk: Desk) -> None:
    await desk.arm({"on": "line", "do": "slow", "bytes_per_second": 400_000})
    sent = asyncio.Event()

    async def send_slowly() -> Any:
        yield b'{"model": "wan2.5-i2i-preview", "input": {"prompt": "'
        sent.set()
        yield b"A" * (8 * 1024 * 1024)

    headers = {"Content-Length": str(9 * 1024 * 1024), "X-DashScope-Async": "enable"}
    with pytest.raises(httpx.WriteTimeout):
        await desk.http.post(
            "/services/aigc/image2image/image-synthesis",
            content=send_slowly(),
            headers=headers,
            timeout=httpx.Timeout(5, write=0.3),
        )

    assert sent.is_set()
    await desk.arm()
    assert await desk.count_tasks() == 0
    assert SLOW_LINE_BYTES < 1_000_000


async def test_a_task_may_make_more_pictures_than_were_asked_for(desk: Desk) -> None:
    await desk.arm({"on": "task", "do": "extra"})

    answer = await desk.run(make_body("one too many", n=2))

    results = answer["output"]["results"]
    assert len({item["url"] for item in results}) == 3
    assert answer["usage"] == {"image_count": 3}
    assert (await desk.get_picture(answer, 2)).size == (768, 768)
    lines = (await desk.control("bill"))["tasks"]
    [line] = [one for one in lines if one["prompt"] == "one too many"]
    assert line["image_count"] == 3
    assert [digest is not None for digest in line["picture_sha256"]] == [False, False, True]


@pytest.mark.parametrize(("indexes", "with_url"), [([1], [True, False]), ([], [False, False])])
async def test_a_billed_picture_may_have_no_address(
    desk: Desk, indexes: list[int], with_url: list[bool]
) -> None:
    await desk.arm({"on": "task", "do": "no_url", "indexes": indexes})

    answer = await desk.run(make_body(n=2))

    assert ["url" in item for item in answer["output"]["results"]] == with_url
    assert answer["usage"] == {"image_count": 2}


async def test_a_success_may_come_without_its_usage(desk: Desk) -> None:
    await desk.arm({"on": "task", "do": "no_usage"})

    answer = await desk.run()

    assert answer["output"]["task_status"] == "SUCCEEDED"
    assert "usage" not in answer
