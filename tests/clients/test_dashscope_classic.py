"""`dashscope.ImageSynthesis`, oldest supported and newest: every call, every kind of input."""

import io
from hashlib import sha256
from typing import Any

import httpx
from PIL import Image

from tests.clients.sdk import Sdk
from tests.emulator.client import SMALL_PICTURE, make_picture, to_data_uri
from tests.gateway import Gateway
from tests.media.field_pictures import make_box
from tests.media.images import make_animation

_CALL_EACH = """
from concurrent.futures import ThreadPoolExecutor
def call(images):
    return ImageSynthesis.call(images=images, **order)
with ThreadPoolExecutor() as pool:
    for answer in pool.map(call, arguments[0]):
        show(answer)
"""

_SAVE = """
answer = ImageSynthesis.call(**order | {"n": 2}, images=arguments)
show(answer)
for result in answer.output.results:
    name = PurePosixPath(unquote(urlparse(result.url).path)).name
    with open(name, "wb") as file:
        file.write(requests.get(result.url).content)
"""


async def test_call_takes_links_base64_and_local_files(sdk: Sdk, gateway: Gateway) -> None:
    for name, width, height in (("a.png", 400, 800), ("b 図.png", 1200, 400), ("c.png", 400, 500)):
        (sdk.folder / name).write_bytes(make_picture(width, height))
    inputs = {
        1.0: [f"{gateway.upstream_url}/not-reachable.png"],
        1.5: [to_data_uri(make_picture(600, 400))],
        0.5: [f"file://{sdk.folder}/a.png"],
        0.8: ["./c.png"],
        3.0: [f"file://{sdk.folder}/a.png", "file://./b 図.png"],
    }

    answers = await sdk.run(_CALL_EACH, list(inputs.values()))

    # Without a size, the picture takes after the last input: proof of what came through.
    pictures = [await _fetch(answer["output"]["results"][0]["url"]) for answer in answers]
    for picture, aspect in zip(pictures, inputs, strict=True):
        assert abs(picture.width / picture.height / aspect - 1) < 0.05


async def test_asynchronous_calls_work_to_the_end(sdk: Sdk) -> None:
    script = """
task = ImageSynthesis.async_call(images=arguments, **order)
show(task)
show(ImageSynthesis.wait(task))
show(ImageSynthesis.fetch(task.output.task_id))
show(ImageSynthesis.list(status="SUCCEEDED", page_size=5))
show(ImageSynthesis.cancel(task))
"""

    created, waited, fetched, listed, refused = await sdk.run(script, SMALL_PICTURE)

    task_id = created["output"]["task_id"]
    assert created["output"]["task_status"] == "PENDING"
    assert waited["output"]["task_status"] == "SUCCEEDED"
    assert waited["usage"] == {"image_count": 1}
    assert waited["output"] == fetched["output"]
    assert [row["task_id"] for row in listed["output"]["data"]] == [task_id]
    assert (refused["status"], refused["code"]) == (400, "UnsupportedOperation")


async def test_queued_job_is_canceled_once(idle_sdk: Sdk) -> None:
    script = """
task = ImageSynthesis.async_call(images=arguments, **order)
for ask in (ImageSynthesis.cancel, ImageSynthesis.fetch, ImageSynthesis.cancel):
    show(ask(task))
"""

    canceled, fetched, refused = await idle_sdk.run(script, SMALL_PICTURE)

    assert canceled["status"] == 200
    assert fetched["output"]["task_status"] == "CANCELED"
    assert (refused["status"], refused["code"]) == (400, "UnsupportedOperation")


async def test_asyncio_class_works_to_the_end(sdk: Sdk) -> None:
    script = """
async def main():
    show(await AioImageSynthesis.call(images=arguments, **order))
    task = await AioImageSynthesis.async_call(images=arguments, **order)
    show(await AioImageSynthesis.wait(task))
    show(await AioImageSynthesis.fetch(task))
    show(await AioImageSynthesis.list())
    show(await AioImageSynthesis.cancel(task))
asyncio.run(main())
"""

    called, waited, fetched, listed, refused = await sdk.run(script, SMALL_PICTURE)

    assert called["output"]["task_status"] == "SUCCEEDED"
    assert waited["output"] == fetched["output"]
    assert listed["output"]["total"] == 2
    assert (refused["status"], refused["code"]) == (400, "UnsupportedOperation")


async def test_asyncio_class_cancels_a_queued_job(idle_sdk: Sdk) -> None:
    script = """
async def main():
    task = await AioImageSynthesis.async_call(images=arguments, **order)
    show(await AioImageSynthesis.cancel(task))
    show(await AioImageSynthesis.fetch(task))
asyncio.run(main())
"""

    canceled, fetched = await idle_sdk.run(script, SMALL_PICTURE)

    assert canceled["status"] == 200
    assert fetched["output"]["task_status"] == "CANCELED"


async def test_asyncio_class_uploads_local_files(sdk: Sdk) -> None:
    (sdk.folder / "a.png").write_bytes(make_picture(400, 800))
    script = "show(asyncio.run(AioImageSynthesis.call(images=arguments, **order)))"

    (answer,) = await sdk.run(script, f"file://{sdk.folder}/a.png")

    picture = await _fetch(answer["output"]["results"][0]["url"])
    assert abs(picture.width / picture.height - 0.5) < 0.05


async def test_pictures_are_saved_under_the_name_in_their_link(sdk: Sdk, gateway: Gateway) -> None:
    (answer,) = await sdk.run(_SAVE, SMALL_PICTURE)

    saved = {path.name: path.read_bytes() for path in sdk.folder.iterdir()}
    job = await _read_job(gateway, sdk, answer["output"]["task_id"])
    assert set(saved) == {f"{job['id']}-0.png", f"{job['id']}-1.png"}
    for picture in job["pictures"]:
        content = saved[f"{job['id']}-{picture['index']}.png"]
        assert sha256(content).hexdigest() == picture["sha256"]
        assert Image.open(io.BytesIO(content)).format == "PNG"


async def test_files_are_taken_by_content_or_their_caller_hears_why_not(sdk: Sdk) -> None:
    whole = {
        "猫.png": make_picture(),
        "IMG_0001.JPG": make_animation("MPO"),
        "no-extension": make_picture(kind="WEBP"),
    }
    reasons = {
        "small.png": (make_picture(100, 100), "width is 100 px; it must be 384 to 5000"),
        "cut 图.jpg": (make_picture(kind="JPEG")[:400], "it is damaged or was cut off"),
        "IMG_1.HEIC": (make_box(b"msf1", b"hevc"), "HEIC is not accepted; convert it to JPEG"),
        "page": (b"<html>", "it is an HTML, XML or SVG document"),
    }
    cut = {name: content for name, (content, _) in reasons.items()}
    for name, content in (whole | cut).items():
        (sdk.folder / name).write_bytes(content)
    script = """
for name in arguments:
    try:
        show(ImageSynthesis.async_call(images=[f"file://./{name}"], **order))
    except Exception as error:
        print(json.dumps(str(error)))
"""

    told = await sdk.run(script, *whole, *reasons)

    taken, refused = told[: len(whole)], told[len(whole) :]
    assert [answer["status"] for answer in taken] == [200] * len(whole)
    for message, (_, words) in zip(refused, reasons.values(), strict=True):
        assert words in message


async def test_errors_come_with_the_codes_of_the_upstream(sdk: Sdk) -> None:
    script = """
show(ImageSynthesis.async_call(images=arguments, **order | {"n": 5}))
show(ImageSynthesis.async_call(images=arguments, **order | {"model": "wan2.5-i2i-unknown"}))
show(ImageSynthesis.async_call(images=["/no/such/file.png"], **order))
show(ImageSynthesis.sync_call(images=arguments, **order))
show(ImageSynthesis.fetch("no-such-task"))
show(ImageSynthesis.async_call(images=arguments, **order, api_key="sk-wrong"))
show(ImageSynthesis.async_call(
    function="description_edit", base_image_url=arguments[0], **order | {"prompt": "x"}))
"""

    answers = await sdk.run(script, SMALL_PICTURE)

    told = [(answer["status"], answer["code"]) for answer in answers]
    assert told == [
        *[(400, "InvalidParameter")] * 3,
        (403, "AccessDenied"),
        (200, ""),
        (401, "InvalidApiKey"),
        (400, "InvalidParameter"),
    ]
    assert 'write "images": ["https://..."]' in answers[6]["message"]
    assert answers[4]["output"]["task_status"] == "UNKNOWN"


async def _fetch(url: str) -> Image.Image:
    """The picture behind a link, fetched without any key."""
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(url)
    assert answer.status_code == 200, answer.text
    return Image.open(io.BytesIO(answer.content))


async def _read_job(gateway: Gateway, sdk: Sdk, job_id: str) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {sdk.key}"}
    answer = await gateway.http.get(f"{gateway.url}/v1/jobs/{job_id}", headers=headers)
    job: dict[str, Any] = answer.json()
    return job
