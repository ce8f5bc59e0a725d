"""The emulator in a process of its own, with task times drawn as a real upstream's are."""

import math
import random
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from itertools import repeat
from pathlib import Path

import httpx
import orjson

from app.bench.rig.answering import HOST
from app.bench.rig.children import start_child
from app.dashscope.payloads import TaskPage
from app.emulator import EmulatorOptions, serve_emulator
from app.kit.ports import find_free_port

ACCOUNT_KEY = "sk-bench-0123456789abcdef"
SUBMITS_PER_SECOND = 5
CALLS_PER_SECOND = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamOptions:
    """Task times are lognormal, in seconds before `scale`; the rates are divided by it."""

    median_seconds: float
    sigma: float
    scale: float
    slots: int = 5
    seed: int = 1

    @property
    def submits_per_second(self) -> int:
        return round(SUBMITS_PER_SECOND / self.scale)

    @property
    def calls_per_second(self) -> int:
        return round(CALLS_PER_SECOND / self.scale)


@dataclass(frozen=True, slots=True)
class TaskTimes:
    """What the upstream itself says of a task that has ended."""

    created_at: datetime
    started_at: datetime
    ended_at: datetime

    @property
    def seconds(self) -> float:
        return (self.ended_at - self.started_at).total_seconds()

    @property
    def pending_seconds(self) -> float:
        return (self.started_at - self.created_at).total_seconds()


@dataclass(frozen=True, slots=True)
class Upstream:
    """A running emulator; `base_url` is what accounts are given."""

    base_url: str

    async def count_calls(self) -> dict[str, int]:
        """Calls by endpoint since its start, refused ones under `refused`."""
        async with _open_http() as http:
            answer = await http.get(f"{self.base_url.removesuffix('/api/v1')}/_emulator/stats")
        calls = answer.raise_for_status().json()["calls"]
        refused = sum(sum(codes.values()) for codes in calls.pop("refused").values())
        return {**calls, "refused": refused}

    async def list_times(self) -> dict[str, TaskTimes]:
        """Every task that has ended, by its id."""
        async with _open_http() as http:
            answer = await http.get(f"{self.base_url}/tasks", params={"page_size": "1000000"})
        page = TaskPage.model_validate_json(answer.raise_for_status().content)
        return {
            task.task_id: TaskTimes(task.gmt_create, task.start_time, task.end_time)
            for task in page.data
            if task.gmt_create is not None
            and task.start_time is not None
            and task.end_time is not None
        }


@asynccontextmanager
async def running_upstream(options: UpstreamOptions, folder: Path) -> AsyncIterator[Upstream]:
    port = find_free_port(HOST)
    child = start_child(
        "upstream",
        "app.bench.rig.upstream",
        str(port),
        orjson.dumps(asdict(options)).decode(),
        folder=folder,
        environment={},
    )
    try:
        await child.wait_for_port(port)
        yield Upstream(f"http://{HOST}:{port}/api/v1")
    finally:
        await child.stop()


class LognormalSpan(tuple[float, float]):
    """A span that is drawn anew each time it is read, both ends alike."""

    _draw: Callable[[], float]

    @classmethod
    def of(cls, median_seconds: float, sigma: float, seed: int) -> "LognormalSpan":
        span = cls((median_seconds, median_seconds))
        rng = random.Random(seed)  # noqa: S311
        span._draw = partial(rng.lognormvariate, math.log(median_seconds), sigma)
        return span

    def __iter__(self) -> Iterator[float]:
        return repeat(self._draw(), 2)


def to_emulator(options: UpstreamOptions) -> EmulatorOptions:
    return EmulatorOptions(
        keys={ACCOUNT_KEY: "bench"},
        running_slots=options.slots,
        submits_per_second=options.submits_per_second,
        calls_per_second=options.calls_per_second,
        running_seconds=LognormalSpan.of(options.median_seconds, options.sigma, options.seed),
        time_scale=options.scale,
        seed=options.seed,
    )


def _open_http() -> httpx.AsyncClient:
    return httpx.AsyncClient(
        headers={"Authorization": f"Bearer {ACCOUNT_KEY}"}, timeout=20, trust_env=False
    )


if __name__ == "__main__":
    serve_emulator(
        to_emulator(UpstreamOptions(**orjson.loads(sys.argv[2]))), HOST, int(sys.argv[1])
    )
