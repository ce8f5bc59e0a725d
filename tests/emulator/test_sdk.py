"""The official SDK against the emulator, unchanged, in a process of its own."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from tests.emulator.client import SMALL_PICTURE, Desk, make_picture

_HEAD = """
import asyncio, json, sys
from http import HTTPStatus
import dashscope
from dashscope import ImageSynthesis
from dashscope.aigc.image_synthesis import AioImageSynthesis
picture, model = sys.argv[1], "wan2.5-i2i-preview"
order = dict(model=model, prompt="make it blue", images=[picture], n=1, size="768*768")
def show(answer):
    assert answer.status_code == HTTPStatus.OK, answer
    print(json.dumps(dict(answer.output or {})))
"""


async def run_sdk(desk: Desk, script: str, picture: str) -> list[Any]:
    """What the script shows, run by an interpreter that has only address and key."""
    environment = {
        "PATH": os.environ["PATH"],
        "DASHSCOPE_HTTP_BASE_URL": desk.base_url,
        "DASHSCOPE_API_KEY": desk.http.headers["authorization"].removeprefix("Bearer "),
    }
    run = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _HEAD + script, picture),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await asyncio.wait_for(run.communicate(), 30)
    assert run.returncode == 0, errors.decode()
    return [json.loads(line) for line in output.decode().splitlines()]


async def test_call_takes_links_data_uris_and_local_files(desk: Desk, tmp_path: Path) -> None:
    local = tmp_path / "a 図.png"
    local.write_bytes(make_picture())
    pictures = [f"{desk.root}/nothing-here.png", SMALL_PICTURE, f"file://{local}"]

    runs = [run_sdk(desk, "show(ImageSynthesis.call(**order))", each) for each in pictures]
    outputs = [output for run in await asyncio.gather(*runs) for output in run]

    assert [output["task_status"] for output in outputs] == ["SUCCEEDED"] * 3
    for output in outputs:
        assert (await desk.http.get(output["results"][0]["url"])).status_code == 200


async def test_async_call_wait_fetch_list_and_cancel_work(desk: Desk) -> None:
    script = """
task = ImageSynthesis.async_call(**order)
show(task)
show(ImageSynthesis.wait(task))
show(ImageSynthesis.fetch(task.output.task_id))
show(ImageSynthesis.list(status="SUCCEEDED", page_size=5))
refusal = ImageSynthesis.cancel(task)
print(json.dumps([refusal.status_code, refusal.code]))
"""

    created, waited, fetched, listed, refusal = await run_sdk(desk, script, SMALL_PICTURE)

    assert created["task_status"] == "PENDING"
    assert waited == fetched
    assert [row["task_id"] for row in listed["data"]] == [created["task_id"]]
    assert refusal == [400, "UnsupportedOperation"]


async def test_asyncio_class_works(desk: Desk) -> None:
    script = """
async def main():
    task = await AioImageSynthesis.async_call(**order)
    show(await AioImageSynthesis.wait(task))
    show(await AioImageSynthesis.fetch(task))
    show(await AioImageSynthesis.list())
    refusal = await AioImageSynthesis.cancel(task)
    print(json.dumps([refusal.status_code, refusal.code]))
asyncio.run(main())
"""

    waited, fetched, listed, refusal = await run_sdk(desk, script, SMALL_PICTURE)

    assert waited["task_status"] == fetched["task_status"] == "SUCCEEDED"
    assert listed["total"] == 1
    assert refusal == [400, "UnsupportedOperation"]


async def test_sdk_resends_a_create_whose_connection_was_reset_and_pays_twice(
    desk: Desk,
) -> None:
    await desk.arm({"on": "create", "do": "reset", "when": "after", "times": 1})

    await run_sdk(desk, "show(ImageSynthesis.async_call(**order))", SMALL_PICTURE)

    assert await desk.count_tasks() == 2
