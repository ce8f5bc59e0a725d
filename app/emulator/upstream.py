"""One emulated DashScope: its state, and how a create call becomes a task."""

import asyncio
import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from uuid import uuid4

from app.dashscope.payloads import SEED_RANGE, TaskStatus
from app.emulator.accounts import Caller, KeyRing, RateGate
from app.emulator.bill import Bill, Tally
from app.emulator.checks import (
    MODELS,
    JsonObject,
    ModelSpec,
    Order,
    Refused,
    find_field_failure,
    read_order,
)
from app.emulator.disturb.faults import Faults, Target
from app.emulator.disturb.verdicts import find_early_failure
from app.emulator.events import EventPoster
from app.emulator.options import EmulatorOptions, Span
from app.emulator.pictures.draw import Sketch
from app.emulator.pictures.inputs import InputReader
from app.emulator.storage.results import ResultStore
from app.emulator.storage.uploads import UploadShelf
from app.emulator.tasks import OrderRejected, Task, TaskBoard
from app.kit.clock import Clock

_DRAWING_THREADS = 2


@dataclass(frozen=True, slots=True)
class CreateCall:
    """A create call as it came in."""

    request_id: str
    caller: Caller
    path: str
    body: JsonObject
    is_async: bool
    resolves_oss: bool


class Upstream:
    """Keys, limits, tasks, pictures and the bill of one emulator."""

    def __init__(self, options: EmulatorOptions, clock: Clock) -> None:
        self.options = options
        self.clock = clock
        self.rng = random.Random(options.seed)  # noqa: S311
        self.faults = Faults(options.faults, self.rng, clock)
        self.keys = KeyRing(options.keys)
        self.gate = RateGate(clock)
        self.tally = Tally(clock)
        self.bill = Bill()
        self.events = EventPoster(options.region, clock)
        self.events.aim(options.events, options.events_root)
        self._late: set[asyncio.Task[None]] = set()
        self._executor = ThreadPoolExecutor(_DRAWING_THREADS, "emulator-drawing")
        self.shelf = UploadShelf(options, clock)
        self._inputs = InputReader(options, self.shelf, self._executor)
        self.board = TaskBoard(
            options, clock, self.rng, prepare=self._prepare, on_change=self._on_change
        )
        self.results = ResultStore(
            options, clock, self.board, self._executor, on_drawn=self.bill.note_picture
        )

    async def create(self, call: CreateCall) -> Task:
        """Accept a create call; Refused when the upstream would, with nothing created."""
        spec = get_model(call.body)
        order = read_order(call.body)
        lane = (call.caller.account, order.model)
        self.tally.count_submit(lane)
        self.gate.admit(("create", *lane), self.options.submits_per_second)
        _check_manner(call, spec, order)
        await self.pause(self.options.create_latency_seconds)
        if self.board.is_full(lane):
            message = "Too many concurrent tasks, please try again later."
            raise Refused(429, "Throttling.Concurrency", message)
        task = self._make_task(call, spec, order)
        if self.options.strict_create:
            await self._check_at_once(task)
        self.board.add(task)
        return task

    def create_late(self, call: CreateCall, delay_seconds: float) -> None:
        """Create the task some real seconds from now, when nobody waits for the answer."""
        task = asyncio.create_task(self._create_after(call, delay_seconds))
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    def find_root(self, host_url: str) -> str:
        """The root of the links handed out to a caller who came through `host_url`."""
        return (self.options.public_url or host_url).rstrip("/")

    async def pause(self, span: Span) -> None:
        """Wait a time drawn from the span, scaled."""
        await asyncio.sleep(self.rng.uniform(*span) * self.options.time_scale)

    async def close(self) -> None:
        for late in self._late:
            late.cancel()
        await self.board.stop()
        await self.events.close()
        await self._inputs.close()
        self._executor.shutdown()

    async def _create_after(self, call: CreateCall, delay_seconds: float) -> None:
        await asyncio.sleep(delay_seconds)
        with suppress(Refused):
            await self.create(call)

    def _make_task(self, call: CreateCall, spec: ModelSpec, order: Order) -> Task:
        task_id = str(uuid4())
        target = Target(
            key=call.caller.key,
            account=call.caller.account,
            model=order.model,
            prompt=order.prompt,
            images=order.images,
            task_id=task_id,
        )
        return Task(
            task_id=task_id,
            request_id=call.request_id,
            caller=call.caller,
            spec=spec,
            order=order,
            field_failure=find_field_failure(call.body, spec),
            faults=self.faults.list_strikes("task", target),
            submitted_at=self.clock(),
            seed=self.rng.randint(*SEED_RANGE) if order.seed is None else order.seed,
        )

    async def _check_at_once(self, task: Task) -> None:
        try:
            task.sketch = await self._prepare(task)
        except OrderRejected as rejected:
            raise Refused(400, *rejected.failure) from rejected

    async def _prepare(self, task: Task) -> Sketch:
        first_image = next(iter(task.order.images), "")
        failure = find_early_failure(task.faults, first_image) or task.field_failure
        if failure is not None:
            raise OrderRejected(failure)
        return await self._inputs.read(task)

    def _on_change(self, task: Task) -> None:
        self.bill.record(task)
        if task.status is TaskStatus.RUNNING:
            self.tally.count_running(task.lane, 1)
        elif task.status.is_final and task.started_at is not None:
            self.tally.count_running(task.lane, -1)
        self.events.announce(task)


def get_model(body: JsonObject) -> ModelSpec:
    """The model a body names; Refused with 400 when there is none such."""
    spec = MODELS.get(str(body.get("model", "")))
    if spec is None:
        raise Refused(400, "InvalidParameter", "Model not exist.")
    return spec


def _check_manner(call: CreateCall, spec: ModelSpec, order: Order) -> None:
    """Path and headers; what is wrong with them shows at once."""
    if call.path != spec.path:
        raise Refused(400, "InvalidParameter", "url error, please check url!")
    if not call.is_async:
        message = "current user api does not support synchronous calls"
        raise Refused(403, "AccessDenied", message)
    if not call.resolves_oss and any(url.startswith("oss://") for url in order.images):
        message = "The media format is not supported or incorrect for the data inspection."
        raise Refused(400, "InvalidParameter.DataInspection", message)
