"""A caller of the DashScope door who writes the wire by hand."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.emulator.client import FINAL, make_body
from tests.gateway import Gateway, Seat

IMAGE_TO_IMAGE = "/services/aigc/image2image/image-synthesis"
TEXT_TO_IMAGE = "/services/aigc/text2image/image-synthesis"
ASYNC = {"X-DashScope-Async": "enable"}
PATIENCE_SECONDS = 20


@dataclass(frozen=True)
class Client:
    """One team's hand on the wire; `http` has the door's base URL and the team's key."""

    gateway: Gateway
    seat: Seat
    http: httpx.AsyncClient = field(repr=False)

    async def post(
        self, body: object, /, *, path: str = IMAGE_TO_IMAGE, **headers: str
    ) -> httpx.Response:
        return await self.http.post(path, json=body, headers=ASYNC | headers)

    async def create(self, body: dict[str, Any] | None = None, /, **headers: str) -> str:
        answer = await self.post(body or make_body(), **headers)
        assert answer.status_code == 200, answer.text
        task_id: str = answer.json()["output"]["task_id"]
        return task_id

    async def query(self, task_id: str) -> dict[str, Any]:
        answer = await self.http.get(f"/tasks/{task_id}")
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    async def wait_for(self, task_id: str, *statuses: str) -> dict[str, Any]:
        """The answer once the task has one of the statuses; any final one by default."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            body = await self.query(task_id)
            if body["output"]["task_status"] in (statuses or FINAL):
                return body
            assert time.monotonic() < deadline, body
            await asyncio.sleep(0.02)

    async def run(self, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Create a task and wait for its end."""
        return await self.wait_for(await self.create(body))


@asynccontextmanager
async def open_client(gateway: Gateway, seat: Seat) -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {seat.key}"}
    async with httpx.AsyncClient(
        base_url=gateway.base_url, headers=headers, timeout=40, trust_env=False, verify=False
    ) as http:
        yield Client(gateway, seat, http)
