"""The calls that a DashScope SDK makes, for the demo: upload, create, query."""

from pathlib import PurePath
from typing import Any

import httpx

from app.cli.client import Refused
from app.dashscope.payloads import (
    ASYNC_HEADER,
    IMAGE_TO_IMAGE_PATH,
    OSS_RESOLVE_HEADER,
    UploadPolicyAnswer,
    make_create_body,
)
from app.jobs.requests.models import DEFAULT_MODEL

BASE_PATH = "/api/v1"


def upload_picture(client: httpx.Client, name: str, content: bytes) -> str:
    """Post a local file as the SDKs do; returns its `oss://` URL."""
    answer = _read(
        client.get(
            f"{BASE_PATH}/uploads", params={"action": "getPolicy", "model": DEFAULT_MODEL.name}
        )
    )
    policy = UploadPolicyAnswer.model_validate(answer).data
    key = f"{policy.upload_dir}/{PurePath(name).name}"
    form = {
        "OSSAccessKeyId": policy.oss_access_key_id,
        "Signature": policy.signature,
        "policy": policy.policy,
        "key": key,
        "success_action_status": "200",
    }
    posted = client.post(
        policy.upload_host,
        data=form,
        files={"file": (name, content)},
        headers={"Authorization": ""},
    )
    if posted.status_code != 200:
        raise Refused(f"the upload was refused: {posted.text}")
    return f"oss://{key}"


def create_task(client: httpx.Client, *, prompt: str, images: list[str]) -> str:
    body = make_create_body(DEFAULT_MODEL.name, {"prompt": prompt, "images": images}, {"n": 1})
    headers = {ASYNC_HEADER: "enable", OSS_RESOLVE_HEADER: "enable"}
    answer = _read(client.post(BASE_PATH + IMAGE_TO_IMAGE_PATH, json=body, headers=headers))
    task_id: str = answer["output"]["task_id"]
    return task_id


def query_task(client: httpx.Client, task_id: str) -> dict[str, Any]:
    output: dict[str, Any] = _read(client.get(f"{BASE_PATH}/tasks/{task_id}"))["output"]
    return output


def _read(response: httpx.Response) -> dict[str, Any]:
    answer: dict[str, Any] = response.json()
    if response.status_code != 200:
        raise Refused(f"{answer.get('code')}: {answer.get('message')}")
    return answer
