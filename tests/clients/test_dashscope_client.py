"""`dashscope.Client` of 2.x: it sends edits to the text-to-image path, and retries by itself."""

from pathlib import Path

import pytest

from tests.clients.sdk import NEWEST, Sdk
from tests.emulator.client import SMALL_PICTURE, make_picture
from tests.gateway import Gateway

_HEAD = """
from dashscope import Client
from dashscope.v2.errors import DashScopeError
client = Client(base_url=dashscope.base_http_api_url, api_key=dashscope.api_key)
jobs = client.images.jobs

def create(*images):
    return jobs.create(**order, extra_input={"images": list(images)})

def tell(job):
    print(json.dumps({"id": job.task_id, "status": job.status, "urls": job.image_urls}))
"""


@pytest.fixture
async def client_sdk(gateway: Gateway, tmp_path: Path) -> Sdk:
    seat = await gateway.make_seat()
    return Sdk(NEWEST, gateway.base_url, seat.key, tmp_path)


@pytest.fixture
async def idle_client_sdk(idle_gateway: Gateway, tmp_path: Path) -> Sdk:
    seat = await idle_gateway.make_seat()
    return Sdk(NEWEST, idle_gateway.base_url, seat.key, tmp_path)


async def test_edit_sent_to_the_text_path_is_run_and_listed(
    client_sdk: Sdk, gateway: Gateway
) -> None:
    script = f"""{_HEAD}
job = create(arguments[0])
tell(job)
tell(jobs.wait(job))
tell(jobs.fetch(job.task_id))
page = jobs.list(model_name="wan2.5-i2i-preview")
print(json.dumps([page.total, [[job.task_id, job.status] for job in page.tasks]]))
"""

    created, waited, fetched, listed = await client_sdk.run(script, SMALL_PICTURE)

    assert created == {"id": created["id"], "status": "PENDING", "urls": []}
    assert waited["status"] == "SUCCEEDED"
    assert fetched == waited
    assert (await gateway.http.get(waited["urls"][0])).status_code == 200
    assert listed == [1, [[created["id"], "SUCCEEDED"]]]


async def test_local_files_are_uploaded(client_sdk: Sdk) -> None:
    (client_sdk.folder / "a.png").write_bytes(make_picture())
    script = f"{_HEAD}\ntell(jobs.wait(create(*arguments)))"

    (waited,) = await client_sdk.run(script, f"file://{client_sdk.folder}/a.png")

    assert waited["status"] == "SUCCEEDED"


async def test_queued_job_is_listed_and_canceled_once(idle_client_sdk: Sdk) -> None:
    script = f"""{_HEAD}
job = create(*arguments)
print(json.dumps([job.status for job in jobs.list().tasks]))
jobs.cancel(job.task_id)
tell(jobs.fetch(job.task_id))
try:
    jobs.cancel(job.task_id)
except DashScopeError as error:
    print(json.dumps([error.status_code, error.code]))
"""

    listed, fetched, refused = await idle_client_sdk.run(script, SMALL_PICTURE)

    assert listed == ["PENDING"]
    assert fetched["status"] == "CANCELED"
    assert refused == [400, "UnsupportedOperation"]


async def test_bad_input_is_refused_without_a_retry(client_sdk: Sdk) -> None:
    script = f"""{_HEAD}
try:
    jobs.create(**order | {{"size": "100x100"}}, extra_input={{"images": arguments}})
except DashScopeError as error:
    print(json.dumps([error.status_code, error.code, str(error)]))
"""

    (refusal,) = await client_sdk.run(script, SMALL_PICTURE)

    assert refusal[:2] == [400, "InvalidParameter"]
    assert "100*100 is 10000 pixels" in refusal[2]
