"""What goes to a bucket, told by a server that writes it down; no real S3 takes part."""

import asyncio

import pytest

from app.media.store import PictureMissing, PictureStore, StoreUnavailable, open_store
from tests.media.wire import Answer, Request, always, reply, serve

KEY = "pictures/ab/cd/abcdef"
SECRET = "very-secret-access-key"


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "LTAI-test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", "cn-test")


def open_bucket(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> PictureStore:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    return open_store("s3://bkt/kept/here")


def with_error(status: str, code: str) -> Answer:
    body = f"<Error><Code>{code}</Code><AWSAccessKeyId>LTAI-test</AWSAccessKeyId></Error>"
    return always(reply(status, body.encode(), "Content-Type: application/xml"))


async def test_picture_is_one_signed_put(monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytes(3_000_000)
    async with serve(always(reply("200 OK", b"", 'ETag: "1"'))) as wire:
        await open_bucket(monkeypatch, f"http://{wire.host}").put(KEY, content)

    (request,) = wire.requests
    assert (request.method, request.target) == ("PUT", f"/bkt/kept/here/{KEY}")
    assert request.body == content
    assert "LTAI-test/" in request.headers["authorization"]
    assert "/cn-test/s3/" in request.headers["authorization"]
    assert "content-encoding" not in request.headers


async def test_picture_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = "Last-Modified: Mon, 23 Nov 2026 01:02:03 GMT"
    async with serve(always(reply("200 OK", b"kept", moment, 'ETag: "1"'))) as wire:
        store = open_bucket(monkeypatch, f"http://{wire.host}")

        assert await store.get(KEY) == b"kept"
        assert b"".join([chunk async for chunk in await store.stream(KEY)]) == b"kept"


async def test_deletion_is_single_as_oss_has_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serve(always(reply("204 No Content"))) as wire:
        await open_bucket(monkeypatch, f"http://{wire.host}").delete(KEY)
        monkeypatch.setenv("HTTP_PROXY", f"http://{wire.host}")
        await open_bucket(monkeypatch, "http://oss-cn-test.aliyuncs.com").delete(KEY)

    assert [request.method for request in wire.requests] == ["DELETE", "DELETE"]


async def test_oss_bucket_is_in_the_host_name(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serve(always(reply("200 OK", b"", 'ETag: "1"'))) as wire:
        monkeypatch.setenv("HTTP_PROXY", f"http://{wire.host}")
        for endpoint in ("oss-cn-test.aliyuncs.com", "bkt.oss-cn-test.aliyuncs.com"):
            await open_bucket(monkeypatch, f"http://{endpoint}").put(KEY, b"x")

    target = f"http://bkt.oss-cn-test.aliyuncs.com/kept/here/{KEY}"
    assert [request.target for request in wire.requests] == [target, target]


async def test_missing_object_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serve(with_error("404 Not Found", "NoSuchKey")) as wire:
        store = open_bucket(monkeypatch, f"http://{wire.host}")

        with pytest.raises(PictureMissing, match="s3://bkt/kept/here holds no"):
            await store.get(KEY)
        await store.delete(KEY)


@pytest.mark.parametrize("action", ["write", "read"])
@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        ("403 Forbidden", "SignatureDoesNotMatch", "access is denied; check the credentials"),
        ("401 Unauthorized", "InvalidAccessKeyId", "access is denied; check the credentials"),
        ("404 Not Found", "NoSuchBucket", "404 Not Found"),
        ("400 Bad Request", "InvalidArgument", "400 Bad Request"),
    ],
)
async def test_refusal_is_the_stores_trouble(
    monkeypatch: pytest.MonkeyPatch, status: str, code: str, words: str, action: str
) -> None:
    async with serve(with_error(status, code)) as wire:
        store = open_bucket(monkeypatch, f"http://{wire.host}")
        with pytest.raises(StoreUnavailable) as trouble:
            await (store.put(KEY, b"x") if action == "write" else store.get(KEY))

    message = trouble.value.message
    assert message.startswith(f"cannot {action} in the picture store s3://bkt/kept/here: ")
    assert words in message
    assert "LTAI" not in message
    assert SECRET not in f"{trouble.value!r}{store!r}"


async def test_overload_is_tried_again_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [reply("503 Slow Down"), reply("200 OK", b"", 'ETag: "1"')]

    async def recover(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(answers.pop(0))

    async with serve(recover) as wire:
        await open_bucket(monkeypatch, f"http://{wire.host}").put(KEY, b"x")

    assert len(wire.requests) == 2


async def test_unreachable_store_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_bucket(monkeypatch, "http://127.0.0.1:1")

    with pytest.raises(StoreUnavailable, match="cannot write in the picture store s3://bkt"):
        await store.put(KEY, b"x")
