"""Pictures from the stand-in's own storage, with the troubles that it has on demand."""

from typing import Any

import pytest

from app.media.fetch import PICTURE_BYTES_LIMIT
from app.media.store import PictureStore
from tests.emulator.client import make_body, open_desk
from tests.jobs.keeping.gallery import ended, keeping_hand
from tests.jobs.scene import Scene


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ({"do": "truncate"}, "picture_not_fetched"),
        ({"do": "corrupt"}, "picture_not_whole"),
        ({"do": "html"}, "picture_not_whole"),
        ({"do": "oversize", "size_bytes": PICTURE_BYTES_LIMIT + 1}, "picture_not_fetched"),
        ({"do": "redirect", "location": "http://10.0.0.1/a.png"}, "picture_not_fetched"),
        ({"do": "status", "status": 503}, "picture_not_fetched"),
    ],
    ids=lambda value: value["do"] if isinstance(value, dict) else "",
)
async def test_trouble_on_the_way_costs_a_second_try_and_no_picture(
    scene: Scene, store: PictureStore, fault: dict[str, Any], code: str
) -> None:
    async with open_desk() as desk:
        results = (await desk.run(make_body(n=2)))["output"]["results"]
        host = desk.root.removeprefix("http://")
        async with keeping_hand(scene, store, host) as hand:
            fence = await ended(scene, *(result["url"] for result in results))
            await desk.arm({"on": "picture", "times": 1, **fault})
            await hand.keep_all()
            job = await scene.get(fence.job_id)
            assert job.attention is not None
            assert (job.status, job.attention["code"]) == ("finalizing", code)

            await hand.retry()

    job = await scene.get(fence.job_id)
    assert (job.status, job.image_count) == ("succeeded", 2)
    await scene.expect_books_in_order()
