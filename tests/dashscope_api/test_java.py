"""What the Java SDK writes, byte for byte: its versions 2.22.2 and 2.22.29 on okhttp 4.12."""

from typing import Any

import httpx
import orjson
import pytest

from tests.dashscope_api.client import IMAGE_TO_IMAGE, Client
from tests.dashscope_api.raw import RawAnswer, exchange
from tests.emulator.client import make_picture

AGENT = "user-agent: dashscope/2.22.29; java/17.0.15; platform/Linux; processor/amd64"
JSON = "Content-Type: application/json"
UTF8 = f"{JSON}; charset=utf-8"
BOUNDARY = "5e0e3c5c-7a1c-4a0e-9d55-0d6b2f4f9d11"
CREATE = (
    '{"model":"wan2.5-i2i-preview","input":{"prompt":"将花卉","images":["%s"]},"parameters":'
    '{"watermark":false,"seed":"12345","negative_prompt":"","n":1,"prompt_extend":true}}'
)


async def call(
    client: Client, line: str, *lines: str, key: str | None = None, body: bytes = b""
) -> RawAnswer:
    """The SDK's head in its order, and the body."""
    bearer = client.seat.key if key is None else key
    first = (f"Authorization: Bearer {bearer}", "Accept: application/json; charset=utf-8")
    length = (f"Content-Length: {len(body)}",) if line.startswith("POST") else ()
    host = client.gateway.url.removeprefix("http://")
    last = (f"Host: {host}", "Connection: Keep-Alive", "Accept-Encoding: gzip", "\r\n")
    head = "\r\n".join((f"{line} HTTP/1.1", *first, *lines, *length, *last))
    return await exchange(client.gateway.url, head.encode() + body)


async def create(client: Client, image: str, *lines: str) -> RawAnswer:
    line = f"POST /api/v1{IMAGE_TO_IMAGE}"
    body = (CREATE % image).encode()
    return await call(client, line, "X-DashScope-Async: enable", *lines, AGENT, UTF8, body=body)


async def upload(policy: dict[str, Any], content: bytes, name: str) -> RawAnswer:
    """Each part with a length of its own; the file last; no Authorization."""
    fields = {
        "OSSAccessKeyId": policy["oss_access_key_id"],
        "Signature": policy["signature"],
        "policy": policy["policy"],
        "key": f"{policy['upload_dir']}/{name}",
        "x-oss-object-acl": policy["x_oss_object_acl"],
        "x-oss-forbid-overwrite": policy["x_oss_forbid_overwrite"],
        "success_action_status": "200",
        "x-oss-content-type": "image/png",
    }
    parts = [
        _write_part(f'name="{field}"', f"Content-Length: {len(value.encode())}", value.encode())
        for field, value in fields.items()
    ]
    file = f"Content-Type: image/png\r\nContent-Length: {len(content)}"
    quoted = name.replace('"', "%22")
    parts.append(_write_part(f'name="file"; filename="{quoted}"', file, content))
    body = b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()
    url = httpx.URL(policy["upload_host"])
    head = (
        f"POST {url.path} HTTP/1.1\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
        f"Content-Length: {len(body)}\r\nHost: {url.netloc.decode()}\r\n"
        "Connection: Keep-Alive\r\nAccept-Encoding: gzip\r\nUser-Agent: okhttp/4.12.0\r\n\r\n"
    )
    return await exchange(str(url), head.encode() + body)


async def ask_policy(client: Client) -> dict[str, Any]:
    line = "GET /api/v1/uploads?action=getPolicy&model=wan2.5-i2i-preview"
    answer = await call(client, line, AGENT, JSON)
    assert answer.status == 200, answer
    policy: dict[str, Any] = answer.json()["data"]
    return policy


async def test_create_query_list_and_cancel(idle_client: Client) -> None:
    created = await create(idle_client, "https://img.example/a.png")
    task_id = created.json()["output"]["task_id"]

    queried = await call(idle_client, f"GET /api/v1/tasks/{task_id}", AGENT, JSON)
    listed = await call(idle_client, "GET /api/v1/tasks", AGENT, JSON)
    canceled = await call(idle_client, f"POST /api/v1/tasks/{task_id}/cancel", AGENT, UTF8)

    assert [each.status for each in (created, queried, listed, canceled)] == [200] * 4
    assert queried.json()["output"]["task_status"] == "PENDING"
    assert [row["task_id"] for row in listed.json()["data"]] == [task_id]
    assert set(canceled.json()) == {"request_id"}


async def test_older_version_is_served_whatever_it_calls_itself(idle_client: Client) -> None:
    agent = "user-agent: dashscope/2.17.0; java/17.0.15; platform/Linux; processor/amd64"

    answer = await call(idle_client, "GET /api/v1/tasks", agent, JSON)

    assert answer.status == 200


async def test_file_is_uploaded_and_referred_to(idle_client: Client) -> None:
    policy = await ask_policy(idle_client)
    name = '猫 "a".png'

    uploaded = await upload(policy, make_picture(), name)
    image = orjson.dumps(f"oss://{policy['upload_dir']}/{name}").decode()[1:-1]
    created = await create(idle_client, image, "X-DashScope-OssResourceResolve: enable")

    assert (uploaded.status, created.status) == (200, 200), created


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (b"hello, world", "InvalidImageFormat", "does not begin like JPEG"),
        (make_picture(100, 100), "InvalidImageResolution", "width is 100 px"),
        (make_picture().ljust(10_485_761, b"\0"), "InvalidImageResolution", "has 10485761 bytes"),
        (make_picture()[:60], "InvalidImageFormat", "cut off"),
    ],
    ids=["text", "too small", "too large", "cut"],
)
async def test_reason_of_a_refused_upload_is_json_which_is_all_that_it_reads(
    idle_client: Client, content: bytes, code: str, words: str
) -> None:
    answer = await upload(await ask_policy(idle_client), content, "a.png")

    told = answer.json()
    assert "content-type: application/json\r\n" in answer.head
    assert (answer.status, told["code"], set(told)) == (
        400,
        code,
        {"code", "message", "request_id"},
    )
    assert words in told["message"]


async def test_two_files_of_one_name_are_one_if_they_are_equal(idle_client: Client) -> None:
    policy = await ask_policy(idle_client)

    answers = [
        await upload(policy, make_picture(colour=colour), "a.png")
        for colour in ("red", "red", "blue")
    ]

    assert [answer.status for answer in answers] == [200, 200, 409]
    assert answers[2].json()["code"] == "FileAlreadyExists"


async def test_empty_key_is_no_key(idle_client: Client) -> None:
    answer = await call(idle_client, "GET /api/v1/tasks", AGENT, JSON, key="")

    told = answer.json()
    assert (answer.status, told["code"]) == (401, "InvalidApiKey")
    assert told["message"] == "No API-key provided."


async def test_status_that_no_task_has_lists_nothing(idle_client: Client) -> None:
    await create(idle_client, "https://img.example/a.png")

    answer = await call(idle_client, "GET /api/v1/tasks?status=SUSPENDED", AGENT, JSON)

    told = answer.json()
    assert (answer.status, told["total"], told["data"]) == (200, 0, [])


async def test_encryption_is_refused_in_words(idle_client: Client) -> None:
    answer = await call(idle_client, "GET /api/v1/public-keys/latest", AGENT, JSON)

    assert (answer.status, answer.json()["code"]) == (400, "InvalidParameter")
    assert "without enableEncrypt" in answer.json()["message"]


def _write_part(disposition: str, lines: str, content: bytes) -> bytes:
    head = f"--{BOUNDARY}\r\nContent-Disposition: form-data; {disposition}\r\n{lines}\r\n\r\n"
    return head.encode() + content + b"\r\n"
