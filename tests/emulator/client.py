"""A small client of the emulator, its quick options and a clock that tests move."""

import asyncio
import base64
import io
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from PIL import Image

from app.emulator import EmulatorOptions, running_emulator
from app.kit.clock import Clock, utc_now
from tests.waiting import wait_until

CREATE = "/services/aigc/image2image/image-synthesis"
MODEL = "wan2.5-i2i-preview"
FINAL = {"SUCCEEDED", "FAILED", "CANCELED", "UNKNOWN"}

QUICK = EmulatorOptions(
    create_latency_seconds=(0, 0),
    call_latency_seconds=(0, 0),
    pending_seconds=(0, 0),
    check_seconds=0,
    running_seconds=(0.02, 0.02),
    submits_per_second=1_000,
    calls_per_second=1_000,
)
SLOW = replace(QUICK, running_seconds=(3_600, 3_600))


class HandClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass(frozen=True)
class Desk:
    """One emulator and one caller of it."""

    base_url: str
    http: httpx.AsyncClient
    timeout_seconds: float = 20

    @property
    def root(self) -> str:
        return self.base_url.removesuffix("/api/v1")

    async def post(self, body: object, *, path: str = CREATE, **headers: str) -> httpx.Response:
        every = {"X-DashScope-Async": "enable"} | headers
        return await self.http.post(path, json=body, headers=every, timeout=self.timeout_seconds)

    async def create(self, body: dict[str, Any] | None = None) -> str:
        answer = await self.post(body or make_body())
        assert answer.status_code == 200, answer.text
        task_id: str = answer.json()["output"]["task_id"]
        return task_id

    async def query(self, task_id: str) -> dict[str, Any]:
        answer = await self.http.get(f"/tasks/{task_id}")
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    async def count_tasks(self) -> int:
        total: int = (await self.http.get("/tasks")).json()["total"]
        return total

    async def wait_for_count(self, count: int) -> None:
        deadline = time.monotonic() + 10
        while await self.count_tasks() != count:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)

    async def wait_for(self, task_id: str, *statuses: str) -> dict[str, Any]:
        """The answer once the task has one of the statuses; any final one by default."""
        deadline = time.monotonic() + 10
        while True:
            body = await self.query(task_id)
            if body["output"]["task_status"] in (statuses or FINAL):
                return body
            assert time.monotonic() < deadline, body
            await asyncio.sleep(0.01)

    async def run(self, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Create a task and wait for its end."""
        return await self.wait_for(await self.create(body))

    async def get_picture(self, answer: dict[str, Any], index: int = 0) -> Image.Image:
        content = (await self.http.get(answer["output"]["results"][index]["url"])).content
        return Image.open(io.BytesIO(content))

    async def arm(self, *rules: dict[str, Any]) -> httpx.Response:
        return await self.http.put(f"{self.root}/_emulator/faults", json=rules)

    async def wait_until_told(self, count: int, outcome: str = "200") -> None:
        """Return when that many events were pushed and answered so, and none otherwise."""

        async def are_told() -> bool:
            pushes: dict[str, int] = (await self.control("events"))["pushes"]
            return pushes == {outcome: count}

        await wait_until(are_told)

    async def control(self, name: str) -> Any:
        return (await self.http.get(f"{self.root}/_emulator/{name}")).json()


@asynccontextmanager
async def open_desk(
    options: EmulatorOptions = QUICK, *, clock: Clock = utc_now
) -> AsyncIterator[Desk]:
    async with running_emulator(options, clock=clock) as base_url, open_http(base_url) as http:
        yield Desk(base_url, http)


def open_http(base_url: str, key: str = "sk-desk") -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.AsyncClient(base_url=base_url, headers=headers, timeout=20, verify=False)


def make_body(
    prompt: str = "make it blue",
    images: list[str] | None = None,
    *,
    model: str = MODEL,
    **parameters: Any,
) -> dict[str, Any]:
    parameters = {"n": 1, "seed": 7, "size": "768*768"} | parameters
    fields = {"prompt": prompt, "images": [SMALL_PICTURE] if images is None else images}
    kept = {name: value for name, value in parameters.items() if value is not None}
    return {"model": model, "parameters": kept, "input": fields}


def make_picture(
    width: int = 400, height: int = 400, kind: str = "PNG", colour: str = "orange"
) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(content, kind)
    return content.getvalue()


def to_data_uri(content: bytes, mime: str = "image/png") -> str:
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"


SMALL_PICTURE = to_data_uri(make_picture())
