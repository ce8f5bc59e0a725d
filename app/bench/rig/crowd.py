"""An upstream on which a crowd of tasks runs for ever: what a worker must keep in view."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import orjson

from app.bench.rig.answering import HOST, Ask, Reply, serve
from app.bench.rig.children import start_child
from app.bench.rig.loads import MODEL, to_task_id
from app.dashscope.payloads import TaskStatus
from app.kit.ports import find_free_port

KEY_PREFIX = "sk-crowd-member-"
"""Followed by the account's number: each account sees its own tasks."""
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Crowd:
    """A running upstream of this kind."""

    base_url: str

    async def count_calls(self) -> int:
        parts = urlsplit(self.base_url)
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.get(f"{parts.scheme}://{parts.netloc}/calls")
        calls: int = answer.raise_for_status().json()
        return calls


@asynccontextmanager
async def running_crowd(folder: Path, *, each: int) -> AsyncIterator[Crowd]:
    """`each` tasks on every account, all made now."""
    port = find_free_port(HOST)
    child = start_child(
        "crowd", "app.bench.rig.crowd", str(port), str(each), folder=folder, environment={}
    )
    try:
        await child.wait_for_port(port)
        yield Crowd(f"http://{HOST}:{port}/api/v1")
    finally:
        await child.stop()


class Answers:
    """The list, the query and how often they were asked."""

    def __init__(self, each: int) -> None:
        self._each = each
        self._made_at = int(time.time() * 1000)
        self._calls = 0

    def __call__(self, ask: Ask) -> Reply:
        if ask.path == "/calls":
            return Reply(JSON, orjson.dumps(self._calls))
        self._calls += 1
        account = ask.headers["authorization"].rpartition(KEY_PREFIX)[2]
        _, _, task_id = ask.path.partition("/tasks/")
        document = self._query(task_id) if task_id else self._list(int(account), ask.query)
        return Reply(JSON, orjson.dumps({"request_id": "crowd", **document}))

    def _query(self, task_id: str) -> dict[str, object]:
        return {"output": {"task_id": task_id, "task_status": TaskStatus.RUNNING}}

    def _list(self, account: int, query: dict[str, str]) -> dict[str, object]:
        page, size = int(query.get("page_no", 1)), int(query.get("page_size", 10))
        is_asked_for = query.get("status", "") in ("", TaskStatus.RUNNING)
        total = self._each if is_asked_for else 0
        numbers = range((page - 1) * size, min(page * size, total))
        return {
            "total": total,
            "total_page": -(-total // size),
            "page_no": page,
            "page_size": size,
            "data": [self._row(to_task_id(account, number)) for number in numbers],
        }

    def _row(self, task_id: str) -> dict[str, object]:
        return {
            "task_id": task_id,
            "status": TaskStatus.RUNNING,
            "request_id": f"request-of-{task_id}",
            "api_key_id": "1",
            "model_name": MODEL,
            "gmt_create": self._made_at,
            "start_time": self._made_at,
        }


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Answers(int(sys.argv[2]))))
