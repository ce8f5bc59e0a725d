"""Local files of SDKs: the policy, the form, and who may use what lies behind oss://."""

import base64
from datetime import timedelta
from typing import Any

import httpx
import orjson
import pytest

from app.dashscope_api.policy import make_policy
from app.kit.clock import utc_now
from app.kit.crypto import Vault
from tests.dashscope_api.client import Client, open_client
from tests.emulator.client import make_body, make_picture
from tests.gateway import SECRET, Gateway

GET_POLICY = {"action": "getPolicy", "model": "wan2.5-i2i-preview"}
RESOLVE = {"X-DashScope-OssResourceResolve": "enable"}


async def ask_policy(client: Client) -> dict[str, Any]:
    answer = await client.http.get("/uploads", params=GET_POLICY)
    assert answer.status_code == 200, answer.text
    policy: dict[str, Any] = answer.json()["data"]
    return policy


async def post_form(
    policy: dict[str, Any], content: bytes, /, *, name: str = "a 図.png", **changes: str
) -> httpx.Response:
    """As the SDK does it: no Authorization, the file last."""
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
    async with httpx.AsyncClient(trust_env=False, timeout=20) as http:
        return await http.post(policy["upload_host"], data=fields, files={"file": (name, content)})


def refer_to(policy: dict[str, Any], name: str = "a 図.png") -> dict[str, Any]:
    return make_body(images=[f"oss://{policy['upload_dir']}/{name}"], size=None)


async def test_policy_has_numbers_as_numbers_and_flags_as_strings(client: Client) -> None:
    answer = await client.http.get("/uploads", params=GET_POLICY)

    body = answer.json()
    policy = body["data"]
    assert {name: type(value).__name__ for name, value in policy.items()} == {
        "policy": "str",
        "signature": "str",
        "upload_dir": "str",
        "upload_host": "str",
        "expire_in_seconds": "int",
        "max_file_size_mb": "int",
        "capacity_limit_mb": "int",
        "oss_access_key_id": "str",
        "x_oss_object_acl": "str",
        "x_oss_forbid_overwrite": "str",
    }
    assert policy["upload_dir"].startswith("dashscope-instant/")
    assert policy["upload_dir"].endswith(body["request_id"])
    assert policy["upload_host"].startswith(client.gateway.url)
    assert policy["expire_in_seconds"] == 300


async def test_uploaded_file_is_edited(client: Client) -> None:
    policy = await ask_policy(client)

    uploaded = await post_form(policy, make_picture(400, 800))
    task_id = (await client.post(refer_to(policy), **RESOLVE)).json()["output"]["task_id"]

    assert (uploaded.status_code, uploaded.content) == (200, b"")
    assert (await client.wait_for(task_id))["output"]["task_status"] == "SUCCEEDED"


async def test_same_file_again_is_taken_and_another_of_that_name_is_not(client: Client) -> None:
    policy = await ask_policy(client)

    answers = [
        await post_form(policy, make_picture(colour=colour)) for colour in ("red", "red", "blue")
    ]

    assert [answer.status_code for answer in answers] == [200, 200, 409]
    assert answers[2].json()["code"] == "FileAlreadyExists"


async def test_file_of_another_team_is_not_there(client: Client, gateway: Gateway) -> None:
    policy = await ask_policy(client)
    await post_form(policy, make_picture())

    async with open_client(gateway, await gateway.make_seat()) as stranger:
        answer = await stranger.post(refer_to(policy), **RESOLVE)
        own = await ask_policy(stranger)
        intruding = await post_form(own, make_picture(), key=f"{policy['upload_dir']}/b.png")

    assert answer.status_code == 400
    assert "is not a file of yours" in answer.json()["message"]
    assert intruding.status_code == 403


@pytest.mark.parametrize("tampered", ["policy", "signature", "key", "nested", "nameless"])
async def test_form_beyond_its_policy_is_refused(client: Client, tampered: str) -> None:
    policy = await ask_policy(client)
    terms = orjson.loads(base64.b64decode(policy["policy"])) | {"expiration": "2099-01-01T00:00Z"}
    folder = policy["upload_dir"]
    changes = {
        "policy": {"policy": base64.b64encode(orjson.dumps(terms)).decode()},
        "signature": {"Signature": "0" * len(policy["signature"])},
        "key": {"key": "dashscope-instant/elsewhere/a.png"},
        "nested": {"key": f"{folder}/../{folder}/a.png"},
        "nameless": {"key": f"{folder}/"},
    }[tampered]

    answer = await post_form(policy, make_picture(), **changes)

    assert answer.status_code == 403
    assert answer.json()["code"] == "AccessDenied"


async def test_expired_policy_is_refused(client: Client) -> None:
    long_ago = utc_now() - timedelta(seconds=301)
    team_id = client.seat.team_id
    expired = make_policy(Vault((SECRET,)), team_id=team_id, request_id="r", now=long_ago)

    answer = await post_form(await ask_policy(client) | expired, make_picture())

    assert answer.status_code == 403
    assert "Policy expired" in answer.text


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (b"GIF89a" + bytes(64), "InvalidImageFormat", "GIF is not accepted"),
        (b"hello", "InvalidImageFormat", "does not begin like"),
        (b"", "InvalidImageFormat", "empty"),
        (make_picture(383, 400), "InvalidImageResolution", "width is 383 px"),
        (make_picture(400, 1_700), "InvalidImageResolution", "1:4 to 4:1"),
        (make_picture().ljust(10 * 1024 * 1024 + 1, b"\0"), "InvalidImageResolution", "10485761"),
        (bytes(11 * 1024 * 1024), "EntityTooLarge", "10485760"),
    ],
    ids=["gif", "text", "empty", "narrow", "slim", "heavy", "heavier"],
)
async def test_file_that_no_model_takes_is_refused(
    client: Client, content: bytes, code: str, words: str
) -> None:
    answer = await post_form(await ask_policy(client), content)

    told = answer.json()
    assert (answer.status_code, told["code"]) == (400, code)
    assert set(told) == {"code", "message", "request_id"}
    assert answer.headers["content-type"] == "application/json"
    assert words in told["message"]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"model": "wan2.5-i2i-preview"}, "action is None; the only one is 'getPolicy'"),
        ({"action": "getPolicy"}, "Model not exist. model is None"),
        ({"action": "getPolicy", "model": "wan9"}, "model is 'wan9'"),
    ],
)
async def test_policy_says_what_is_wrong_with_its_query(
    client: Client, query: dict[str, str], words: str
) -> None:
    answer = await client.http.get("/uploads", params=query)

    assert (answer.status_code, answer.json()["code"]) == (400, "InvalidParameter")
    assert words in answer.json()["message"]


async def test_policy_needs_a_key(client: Client) -> None:
    answer = await client.http.get(
        "/uploads", params=GET_POLICY, headers={"Authorization": "Bearer sk-wrong"}
    )

    assert (answer.status_code, answer.json()["code"]) == (401, "InvalidApiKey")


STRANGE_NAMES = (
    "".join(map(str, range(1_500))),
    "a\x00b.png",
    "\x01.png",
    "\x7f",
    " ",
    ".",
    "..",
    "k" * 5_000,
    "\u202e.png",
    "\ufffd",
)


@pytest.mark.parametrize("name", STRANGE_NAMES)
async def test_no_name_of_a_file_is_answered_5xx(client: Client, name: str) -> None:
    policy = await ask_policy(client)

    answer = await post_form(
        policy, make_picture(), name="a.png", key=f"{policy['upload_dir']}/{name}"
    )

    assert answer.status_code < 500, answer.text


@pytest.mark.parametrize("field", ["policy", "Signature", "key"])
@pytest.mark.parametrize("value", ["", "\x00", "caf\u00e9", "k" * 70_000, "bnVsbA==", "W10="])
async def test_no_field_of_the_form_is_answered_5xx(
    client: Client, field: str, value: str
) -> None:
    policy = await ask_policy(client)

    answer = await post_form(policy, make_picture(), name="a.png", **{field: value})

    assert 400 <= answer.status_code < 500, answer.text


async def test_a_file_in_front_of_its_policy_is_refused_unread(client: Client) -> None:
    policy = await ask_policy(client)
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    async with httpx.AsyncClient(trust_env=False, timeout=20) as http:
        answer = await http.post(
            policy["upload_host"],
            content=head + b"x" * 5_000_000,
            headers={"Content-Type": "multipart/form-data; boundary=b"},
        )

    assert answer.status_code == 403
    assert "AccessDenied" in answer.text
