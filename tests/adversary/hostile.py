"""An upstream that means harm, and the bait that it points at, with a gateway between them."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import orjson
from sqlalchemy import text

from app.dashscope.payloads import UploadPolicyAnswer
from tests.adversary.addresses import HOSTILE
from tests.api.factories import edit
from tests.api.server import open_client
from tests.dashscope_api.client import ASYNC, IMAGE_TO_IMAGE
from tests.emulator.client import QUICK, make_body
from tests.gateway import Gateway, running_gateway
from tests.media.wire import Request, Wire, reply, serve

PATIENCE_SECONDS = 60.0
IMAGES_LIMIT, RESULTS_LIMIT = 3, 4
MANY = replace(QUICK, running_slots=100)
INPUT, RESULT, MOVED = "input", "result", "moved"
"""What of a job leads astray: its picture, its result, or where its result has moved."""


@dataclass(slots=True)
class Bait:
    """Waits at home for whoever is led there; every connection is a fault."""

    port: int = 0
    caught: list[bytes] = field(default_factory=list)

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(1):
                    self.caught.append(await reader.read(4_096))
        finally:
            writer.close()


@asynccontextmanager
async def laying_bait() -> AsyncIterator[Bait]:
    """On every address of this machine, in both families if it has them."""
    bait = Bait()
    async with AsyncExitStack() as stack:
        server = await asyncio.start_server(bait.take, "0.0.0.0", 0)
        await stack.enter_async_context(server)
        bait.port = server.sockets[0].getsockname()[1]
        with suppress(OSError):
            other = await asyncio.start_server(bait.take, "::1", bait.port)
            await stack.enter_async_context(other)
        yield bait


@dataclass(slots=True)
class Evil:
    """Answers each call as the prompt of the job wants it: `result 7` leads to address 7."""

    addresses: list[str]
    prompts: dict[str, str] = field(default_factory=dict)
    """Of the tasks that were created, by id."""
    created: dict[str, int] = field(default_factory=dict)
    images: dict[str, list[str]] = field(default_factory=dict)
    """What came as their pictures."""
    wire: Wire | None = None

    async def answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        path = request.target.partition("?")[0]
        moved = re.fullmatch(r"/moved/(\d+)", path)
        if moved:
            location = self.addresses[int(moved[1])].encode("utf-8", "replace")
            writer.write(
                b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nConnection: close\r\n"
                b"Location: %s\r\n\r\n" % re.sub(rb"[\r\n]", b"", location)
            )
            return
        if not path.startswith("/api/v1/"):
            writer.write(reply("404 Not Found"))
            return
        writer.write(reply("200 OK", orjson.dumps(self._tell(request, path))))

    def _tell(self, request: Request, path: str) -> dict[str, Any]:
        if request.method == "POST":
            order = orjson.loads(request.body)["input"]
            task_id = f"task-{len(self.prompts)}"
            self.prompts[task_id] = order["prompt"]
            self.created[task_id] = int(time.time() * 1_000)
            self.images[task_id] = order["images"]
            return {"request_id": "r", "output": {"task_id": task_id, "task_status": "PENDING"}}
        if path.endswith("/tasks"):
            return {"request_id": "r", **self._list(request)}
        return {"request_id": "r", "output": self._tell_task(path.rpartition("/")[2])}

    def _list(self, request: Request) -> dict[str, Any]:
        query = httpx.URL(request.target).params
        page, size = int(query["page_no"]), int(query["page_size"])
        rows = [
            {
                "task_id": task_id,
                "status": "FAILED" if prompt.startswith(INPUT) else "SUCCEEDED",
                "model_name": query["model_name"],
                "gmt_create": self.created[task_id],
                "start_time": self.created[task_id],
                "end_time": self.created[task_id],
            }
            for task_id, prompt in reversed(self.prompts.items())
        ]
        shown = rows[(page - 1) * size : page * size]
        pages = -(-len(rows) // size)
        place = {"page_no": page, "page_size": size}
        return {"total": len(rows), "total_page": pages, "data": shown, **place}

    def _tell_task(self, task_id: str) -> dict[str, Any]:
        kind, *numbers = self.prompts[task_id].split()
        if kind == INPUT:
            failure = {"code": "InvalidURL", "message": "it could not be fetched"}
            return {"task_id": task_id, "task_status": "FAILED", **failure}
        results = [{"url": self._lead(kind, int(number))} for number in numbers]
        return {"task_id": task_id, "task_status": "SUCCEEDED", "results": results}

    def _lead(self, kind: str, number: int) -> str:
        assert self.wire is not None
        moved = f"http://{self.wire.host}/moved/{number}"
        return self.addresses[number] if kind == RESULT else moved


@dataclass(slots=True)
class Trap:
    """What became of every address, by its number."""

    gateway: Gateway
    bait: Bait
    evil: Evil
    answers: dict[int, httpx.Response] = field(default_factory=dict)
    """To who would have it edited, on the native door and on the other."""
    wire_answers: dict[int, httpx.Response] = field(default_factory=dict)
    reasons: dict[str, dict[int, str]] = field(default_factory=dict)
    """Why it was not fetched, as a result and where a result had moved."""

    def list_sent(self) -> list[str]:
        """All pictures that were named to the upstream."""
        return [image for images in self.evil.images.values() for image in images]


@asynccontextmanager
async def setting_trap(database_url: str) -> AsyncIterator[Trap]:
    async with (
        laying_bait() as bait,
        running_gateway(
            database_url,
            emulator=MANY,
            settings={"DASHGATE_DOWNLOAD_CONCURRENCY": "64"},
            members=(),
        ) as gateway,
    ):
        evil = Evil([])
        async with serve(evil.answer) as wire:
            evil.wire = wire
            evil.addresses[:] = fill_addresses(bait, wire)
            async with gateway.sessions.begin() as session:
                base_url = {"url": f"http://{wire.host}/api/v1"}
                await session.execute(text("update accounts set base_url = :url"), base_url)
            await asyncio.gather(gateway.start("api"), gateway.start("worker"))
            trap = Trap(gateway, bait, evil)
            await _spring(trap)
            yield trap


def fill_addresses(bait: Bait, wire: Wire) -> list[str]:
    return [
        address.replace("{port}", str(bait.port)).replace("{own}", wire.host)
        for address in HOSTILE.values()
    ]


async def _spring(trap: Trap) -> None:
    """Make jobs of every address in every place, and wait until each was tried."""
    numbers = range(len(trap.evil.addresses))
    jobs: dict[str, list[str]] = {}
    async with open_client(trap.gateway.url, trap.gateway.key) as http:
        for number, address in enumerate(trap.evil.addresses):
            trap.answers[number] = await http.post(
                "/v1/jobs?dry_run=true", json=edit(images=[address])
            )
        taken = [number for number in numbers if trap.answers[number].is_success]
        refused = [[number] for number in numbers if number not in taken]
        for some in (*refused, *batched(taken, IMAGES_LIMIT)):
            images = [trap.evil.addresses[number] for number in some]
            answer = await http.post(
                f"/api/v1{IMAGE_TO_IMAGE}", json=make_body(INPUT, images), headers=ASYNC
            )
            trap.wire_answers |= dict.fromkeys(some, answer)
        for kind in (RESULT, MOVED):
            trap.reasons[kind] = {}
            for some in batched(numbers, RESULTS_LIMIT):
                prompt = " ".join([kind, *map(str, some)])
                answer = await http.post("/v1/jobs", json=edit(prompt=prompt, n=len(some)))
                jobs[answer.json()["id"]] = prompt.split()
    deadline = time.monotonic() + PATIENCE_SECONDS
    wanted_count = len(jobs) + len(batched(taken, IMAGES_LIMIT))
    while len(trap.evil.prompts) < wanted_count or any(
        len(reasons) < len(numbers) for reasons in trap.reasons.values()
    ):
        assert time.monotonic() < deadline, trap.reasons
        await asyncio.sleep(0.1)
        trap.gateway.check_health()
        _read_reasons(trap, jobs)


def batched(numbers: Sequence[int], size: int) -> list[Sequence[int]]:
    """Fewer tasks than a page of the list has: older ones would be looked at now and then."""
    return [numbers[start : start + size] for start in range(0, len(numbers), size)]


def _read_reasons(trap: Trap, jobs: dict[str, list[str]]) -> None:
    for event in _read_log(trap.gateway):
        if event.get("event") == "picture.not_kept_yet" and event["job_id"] in jobs:
            kind, *numbers = jobs[event["job_id"]]
            trap.reasons[kind].setdefault(int(numbers[event["index"]]), event["reason"])


def _read_log(gateway: Gateway) -> list[dict[str, Any]]:
    lines = gateway.members["worker"].log.read_bytes().splitlines()
    return [orjson.loads(line) for line in lines if line.startswith(b"{") and line.endswith(b"}")]


def make_policy(upload_host: str) -> bytes:
    """The answer to who would upload a picture."""
    fields = {
        "policy": "p",
        "signature": "s",
        "upload_dir": "d",
        "upload_host": upload_host,
        "oss_access_key_id": "k",
        "x_oss_object_acl": "private",
        "x_oss_forbid_overwrite": "true",
    }
    answer = {"request_id": "r", "data": fields}
    assert UploadPolicyAnswer.model_validate(answer).data.upload_host == upload_host
    return orjson.dumps(answer)
