"""Create: what is taken, how it is answered, and what an Idempotency-Key does."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import httpx
import orjson
import pytest

from tests.dashscope_api.client import ASYNC, IMAGE_TO_IMAGE, TEXT_TO_IMAGE, Client, open_client
from tests.dashscope_api.wire import check_request_id
from tests.emulator.client import SMALL_PICTURE, make_body
from tests.gateway import Gateway
from tests.media.images import make_long_uri


async def read_job(client: Client, job_id: str) -> dict[str, Any]:
    """The job as the native door shows it: what was understood of the request."""
    answer = await client.http.get(f"{client.gateway.url}/v1/jobs/{job_id}")
    job: dict[str, Any] = answer.json()
    return job


@pytest.mark.parametrize("path", [IMAGE_TO_IMAGE, TEXT_TO_IMAGE])
async def test_create_answers_200_with_a_pending_task_and_nothing_else(
    idle_client: Client, path: str
) -> None:
    answer = await idle_client.post(make_body(), path=path)

    body = answer.json()
    assert answer.status_code == 200
    assert set(body) == {"output", "request_id"}
    assert body["output"] == {"task_status": "PENDING", "task_id": body["output"]["task_id"]}
    assert str(UUID(body["output"]["task_id"])) == body["output"]["task_id"]
    assert answer.headers["content-type"] == "application/json"
    check_request_id(answer)


@pytest.mark.parametrize(
    ("parameters", "understood"),
    [
        ({"seed": "12345", "n": "2"}, {"seed": 12345, "n": 2}),
        ({"seed": 1.0, "n": 2.0}, {"seed": 1, "n": 2}),
        ({"watermark": "true", "prompt_extend": "False"}, {"watermark": True}),
        ({"size": "1280x1280"}, {"size": "1280*1280"}),
        ({"size": ""}, {"size": None}),
        ({"n": None, "is_async": True, "style": {"any": "thing"}}, {"n": 4}),
        ({"negative_prompt": "grey"}, {"negative_prompt": "grey"}),
    ],
)
async def test_create_is_as_lenient_as_the_upstream(
    idle_client: Client, parameters: dict[str, Any], understood: dict[str, Any]
) -> None:
    body = make_body()
    body["parameters"] |= parameters

    job = await read_job(idle_client, await idle_client.create(body))

    assert {name: job[name] for name in understood} == understood


@pytest.mark.parametrize("parameters", [{}, {"parameters": {}}, {"parameters": None}])
async def test_parameters_may_be_empty_or_missing(
    idle_client: Client, parameters: dict[str, Any]
) -> None:
    body = {"model": "wan2.5-i2i-preview", "input": make_body()["input"], **parameters}

    job = await read_job(idle_client, await idle_client.create(body))

    assert (job["n"], job["size"], job["seed"]) == (4, None, None)
    assert (job["watermark"], job["prompt_extend"]) == (False, True)


async def test_long_prompts_are_cut_as_the_upstream_cuts_them(idle_client: Client) -> None:
    body = make_body("图" * 2_001)
    body["input"]["negative_prompt"] = "n" * 501

    job = await read_job(idle_client, await idle_client.create(body))

    assert (job["prompt"], job["negative_prompt"]) == ("图" * 2_000, "n" * 500)


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8"])
@pytest.mark.parametrize("is_escaped", [True, False])
async def test_both_spellings_of_characters_are_read(
    idle_client: Client, content_type: str, is_escaped: bool
) -> None:
    content = orjson.dumps(make_body("将花卉"))
    if is_escaped:
        content = content.replace("将花卉".encode(), rb"\u5c06\u82b1\u5349")
    headers = ASYNC | {"Content-Type": content_type}

    answer = await idle_client.http.post(IMAGE_TO_IMAGE, content=content, headers=headers)

    job = await read_job(idle_client, answer.json()["output"]["task_id"])
    assert job["prompt"] == "将花卉"


@pytest.mark.parametrize(
    "image",
    [
        "HTTPS://CDN.EXAMPLE.COM/A.PNG",
        "\ufeff Http://Cdn.Example.com/A.PNG\n",
        SMALL_PICTURE.replace(";base64", ";charset=utf-8;name=a.png;base64"),
    ],
)
async def test_upstream_gets_an_image_as_it_can_read_it(client: Client, image: str) -> None:
    body = await client.run(make_body(images=[image]))

    assert body["output"]["task_status"] == "SUCCEEDED", body


async def test_body_above_the_limit_is_refused_before_it_is_read(client: Client) -> None:
    address = httpx.URL(client.gateway.url)
    head = (
        f"POST /api/v1{IMAGE_TO_IMAGE} HTTP/1.1\r\nHost: x\r\nX-DashScope-Async: enable\r\n"
        f"Authorization: {client.http.headers['authorization']}\r\n"
        "Content-Length: 50331649\r\n\r\n"
    )

    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(head.encode())
    answer = (await reader.readuntil(b"}")).decode()
    writer.close()
    await writer.wait_closed()

    assert answer.startswith("HTTP/1.1 413 ")
    assert "BadRequest.TooLarge" in answer
    assert "the request body may have 50331648 bytes; it has 50331649" in answer


async def test_three_pictures_of_ten_megabytes_are_taken(idle_client: Client) -> None:
    longest = make_long_uri(10_485_760)

    answer = await idle_client.post(make_body(images=[longest] * 3))

    assert answer.status_code == 200, answer.text[:1000]


async def test_idempotency_key_makes_one_job_however_often_it_comes(idle_client: Client) -> None:
    headers = {"Idempotency-Key": f'"{uuid4()}"'}

    at_once = await asyncio.gather(*(idle_client.create(**headers) for _ in range(5)))
    later = await idle_client.create(**headers)

    assert {*at_once, later} == {later}
    assert (await idle_client.http.get("/tasks")).json()["total"] == 1


async def test_idempotency_key_for_another_request_is_refused(idle_client: Client) -> None:
    headers = {"Idempotency-Key": str(uuid4())}
    await idle_client.create(**headers)

    answer = await idle_client.post(make_body("something else"), **headers)

    assert (answer.status_code, answer.json()["code"]) == (400, "InvalidParameter")
    assert "Idempotency-Key was used before with another request" in answer.json()["message"]
    assert (await idle_client.http.get("/tasks")).json()["total"] == 1


async def test_idempotency_keys_of_two_teams_have_nothing_to_do_with_each_other(
    idle_client: Client, idle_gateway: Gateway
) -> None:
    headers = {"Idempotency-Key": str(uuid4())}

    async with open_client(idle_gateway, await idle_gateway.make_seat()) as other:
        task_ids = {await idle_client.create(**headers), await other.create(**headers)}

    assert len(task_ids) == 2
