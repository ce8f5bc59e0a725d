"""Input pictures: data URIs, links and uploads, opened for real."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.emulator.client import (
    MODEL,
    QUICK,
    Desk,
    HandClock,
    make_body,
    make_picture,
    open_desk,
    open_http,
    to_data_uri,
)

_CORRUPT = "Invalid image format or corrupted file"
_BAD_SIZE = "the size of input image is too small or too large."
_NOWHERE = "http://127.0.0.1:9/picture.png"


@contextmanager
def serving(content: bytes) -> Iterator[str]:
    """A web server that answers every path with the content; yields a link to it."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Silence."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/picture.png"
        server.shutdown()
        thread.join()


def find_left_colour(picture: Image.Image) -> tuple[int, ...]:
    """The colour of the untouched inset at the top left."""
    pixel = picture.convert("RGB").getpixel((60, 60))
    assert isinstance(pixel, tuple)
    return pixel


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
async def test_data_uri_of_each_format_is_opened(desk: Desk, kind: str) -> None:
    uri = to_data_uri(make_picture(kind=kind, colour="red"), f"image/{kind.lower()}")

    picture = await desk.get_picture(await desk.run(make_body(images=[uri])))

    red, green, blue = find_left_colour(picture)
    assert (red > 230, green < 30, blue < 30) == (True, True, True)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("data:image/png;base64,AAAA", _CORRUPT),
        ("data:image/png;base64,@@@", _CORRUPT),
        ("data:image/png,plain", _CORRUPT),
        (to_data_uri(make_picture()[:300]), _CORRUPT),
        (to_data_uri(make_picture(kind="GIF")), _CORRUPT),
        (to_data_uri(make_picture(383, 400)), _BAD_SIZE),
        (to_data_uri(make_picture(5_001, 2_000)), _BAD_SIZE),
        (to_data_uri(make_picture(400, 1_601)), _BAD_SIZE),
    ],
)
async def test_unusable_picture_fails_its_task(desk: Desk, uri: str, message: str) -> None:
    output = (await desk.run(make_body(images=[uri])))["output"]

    assert (output["task_status"], output["code"]) == ("FAILED", "InvalidParameter")
    assert output["message"] == message


async def test_linked_picture_is_fetched(desk: Desk) -> None:
    with serving(make_picture(colour="lime")) as url:
        picture = await desk.get_picture(await desk.run(make_body(images=[url])))

    red, green, blue = find_left_colour(picture)
    assert (red < 30, green > 230, blue < 30) == (True, True, True)


async def test_linked_page_that_is_no_picture_fails_the_task(desk: Desk) -> None:
    with serving(b"<html>not here</html>") as url:
        output = (await desk.run(make_body(images=[url])))["output"]

    assert output["message"] == _CORRUPT


async def test_unreachable_link_becomes_a_placeholder(desk: Desk) -> None:
    answer = await desk.run(make_body(images=[_NOWHERE]))

    assert (await desk.get_picture(answer)).size == (768, 768)


@pytest.mark.parametrize("excess", [0, 11 * 1024 * 1024])
async def test_strict_inputs_fail_unreachable_and_oversized_links(excess: int) -> None:
    async with open_desk(replace(QUICK, strict_inputs=True)) as desk:
        with serving(make_picture() + b"\0" * excess) as url:
            link = url if excess else _NOWHERE
            output = (await desk.run(make_body(images=[link])))["output"]

        assert output["code"] == "InvalidParameter"
        assert output["message"] == f"Failed to download {link}"


async def get_policy(desk: Desk) -> dict[str, Any]:
    answer = await desk.http.get(f"/uploads?action=getPolicy&model={MODEL}")
    assert answer.status_code == 200, answer.text
    policy: dict[str, Any] = answer.json()["data"]
    return policy


async def post_file(
    policy: dict[str, Any], name: str = "a 図.png", **changes: str
) -> httpx.Response:
    fields = {
        "OSSAccessKeyId": policy["oss_access_key_id"],
        "Signature": policy["signature"],
        "policy": policy["policy"],
        "key": f"{policy['upload_dir']}/{name}",
        "x-oss-object-acl": policy["x_oss_object_acl"],
        "x-oss-forbid-overwrite": policy["x_oss_forbid_overwrite"],
        "success_action_status": "200",
        "x-oss-content-type": "image/png",
    } | changes
    async with httpx.AsyncClient() as http:
        file = {"file": (name, io.BytesIO(make_picture(colour="blue")))}
        return await http.post(policy["upload_host"], data=fields, files=file)


async def test_policy_answer_has_the_recorded_shape(desk: Desk) -> None:
    answer = (await desk.http.get(f"/uploads?action=getPolicy&model={MODEL}")).json()

    assert list(answer) == ["data", "request_id"]
    assert answer["data"]["upload_dir"].rpartition("/")[2] == answer["request_id"]
    assert answer["data"]["expire_in_seconds"] == 300
    assert answer["data"]["x_oss_forbid_overwrite"] == "true"


async def test_uploaded_picture_is_used(desk: Desk) -> None:
    policy = await get_policy(desk)
    posted = await post_file(policy)
    body = make_body(images=[f"oss://{policy['upload_dir']}/a 図.png"])

    created = await desk.post(body, **{"X-DashScope-OssResourceResolve": "enable"})

    answer = await desk.wait_for(created.json()["output"]["task_id"])
    red, _, blue = find_left_colour(await desk.get_picture(answer))
    assert (posted.status_code, red < 30, blue > 230) == (200, True, True)


async def test_oss_address_without_the_resolve_header_is_400(desk: Desk) -> None:
    answer = await desk.post(make_body(images=["oss://folder/a.png"]))

    assert answer.status_code == 400
    assert answer.json()["code"] == "InvalidParameter.DataInspection"


async def test_uploaded_picture_is_closed_to_other_accounts_and_after_48_hours() -> None:
    clock = HandClock()
    resolve = {"X-DashScope-OssResourceResolve": "enable"}
    async with open_desk(clock=clock) as desk, open_http(desk.base_url, "sk-else") as other:
        policy = await get_policy(desk)
        await post_file(policy)
        body = make_body(images=[f"oss://{policy['upload_dir']}/a 図.png"])

        stranger = Desk(desk.base_url, other)
        created = await stranger.post(body, **resolve)
        foreign = await stranger.wait_for(created.json()["output"]["task_id"])
        clock.advance(48 * 3600)
        created = await desk.post(body, **resolve)
        late = await desk.wait_for(created.json()["output"]["task_id"])

        for answer in (foreign, late):
            assert answer["output"]["message"].startswith("Failed to download oss://")


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"Signature": "AAAA"}, 403, "SignatureDoesNotMatch"),
        ({"key": "elsewhere/a.png"}, 403, "AccessDenied"),
        ({"success_action_status": "204"}, 204, ""),
    ],
)
async def test_form_post_is_judged_by_its_policy(
    desk: Desk, changes: dict[str, str], status: int, code: str
) -> None:
    answer = await post_file(await get_policy(desk), **changes)

    assert answer.status_code == status
    assert f"<Code>{code}</Code>" in answer.text or not code


async def test_second_file_of_the_same_name_is_409(desk: Desk) -> None:
    policy = await get_policy(desk)
    await post_file(policy)

    answer = await post_file(policy)

    assert answer.status_code == 409
    assert "<Code>FileAlreadyExists</Code>" in answer.text


async def test_expired_policy_is_403() -> None:
    clock = HandClock()
    async with open_desk(clock=clock) as desk:
        policy = await get_policy(desk)
        clock.advance(300)

        answer = await post_file(policy)

        assert answer.status_code == 403
        assert "Invalid according to Policy: Policy expired." in answer.text
