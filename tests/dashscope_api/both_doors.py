"""One team at both doors of one gateway: the same edit, sent each way, and what became of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from app.kit.postgres.database import Connection, connect
from tests.dashscope_api.client import ASYNC, IMAGE_TO_IMAGE, Client, open_client
from tests.gateway import Gateway

MODEL = "wan2.5-i2i-preview"
PROMPT = "make it blue"
URL = "https://img.example/a.png"
WIRE, NATIVE = "wire", "native"
DOORS = (WIRE, NATIVE)
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Told:
    """What a door said: its status, its code, and the words of the whole refusal."""

    status: int
    code: str
    words: str


@dataclass(frozen=True)
class Sender:
    """Sends by either door, and looks up what became of it."""

    client: Client
    connection: Connection

    async def send(
        self, door: str, inputs: dict[str, Any], parameters: dict[str, Any] | None = None
    ) -> httpx.Response:
        """A whole edit but for these fields."""
        fields = {"prompt": PROMPT, "images": [URL], **inputs}
        body = (
            {"model": MODEL, "input": fields, "parameters": parameters}
            if door == WIRE
            else {**fields, **(parameters or {})}
        )
        return await self.send_bytes(door, orjson.dumps(body), JSON)

    async def send_bytes(
        self, door: str, content: bytes, headers: dict[str, str]
    ) -> httpx.Response:
        """A body as it is, with no other type than the headers say."""
        http, gateway = self.client.http, self.client.gateway
        url = f"{gateway.base_url}{IMAGE_TO_IMAGE}" if door == WIRE else f"{gateway.url}/v1/jobs"
        return await http.post(url, content=content, headers=ASYNC | headers)

    async def read_job(self, answer: httpx.Response) -> dict[str, Any]:
        """The row of the job that was accepted."""
        assert answer.status_code in (200, 202), answer.text
        body = answer.json()
        job_id = body["output"]["task_id"] if "output" in body else body["id"]
        row = await self.connection.fetchrow("select * from jobs where id = $1", job_id)
        assert row is not None
        images = row["images"]
        return {**row, "images": orjson.loads(images) if isinstance(images, str) else images}


@asynccontextmanager
async def open_sender(gateway: Gateway) -> AsyncIterator[Sender]:
    """Of a team of its own."""
    connection = await connect(gateway.database_url)
    try:
        async with open_client(gateway, await gateway.make_seat()) as client:
            yield Sender(client, connection)
    finally:
        await connection.close()


def read_refusal(answer: httpx.Response) -> Told:
    """Short, in the door's own shape, and with a request id."""
    body = answer.json()
    assert answer.status_code >= 400, body
    assert len(answer.content) < 2_000
    assert body["request_id"] == answer.headers["x-request-id"]
    is_problem = answer.headers["content-type"] == "application/problem+json"
    return Told(
        answer.status_code, body["code"], body["detail"] if is_problem else body["message"]
    )
