"""The life of a task: queued, running, ended, forgotten."""

import asyncio
import math
import random
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from app.dashscope.payloads import TaskStatus
from app.emulator.accounts import Caller
from app.emulator.checks import Failure, ModelSpec, Order
from app.emulator.disturb.faults import TIMED_OUT, FaultRule
from app.emulator.disturb.verdicts import decide_outcomes
from app.emulator.options import EmulatorOptions, Span
from app.emulator.pictures.draw import Sketch
from app.kit.clock import Clock

Lane = tuple[str, str]
"""Account and model: what the upstream's limits are counted by."""


class OrderRejected(Exception):
    """The order of a task does not hold at a closer look."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


@dataclass(slots=True)
class Task:
    """One accepted create call and what became of it."""

    task_id: str
    request_id: str
    caller: Caller
    spec: ModelSpec
    order: Order
    field_failure: Failure | None
    faults: tuple[FaultRule, ...]
    submitted_at: datetime
    seed: int
    status: TaskStatus = TaskStatus.PENDING
    started_at: datetime | None = None
    ended_at: datetime | None = None
    failure: Failure | None = None
    sketch: Sketch | None = field(default=None, repr=False)
    outcomes: tuple[Failure | None, ...] = ()

    @property
    def lane(self) -> Lane:
        return (self.caller.account, self.order.model)

    @property
    def unique_key(self) -> str:
        """Which function of which model, as lists and events name it."""
        return f"apikey:v1:{self.spec.function_key}:{self.order.model}"

    @property
    def delivered_count(self) -> int:
        """Pictures that came out; what is billed."""
        if self.status is not TaskStatus.SUCCEEDED:
            return 0
        return self.outcomes.count(None)

    def find_fault(self, deed: str) -> FaultRule | None:
        return next((rule for rule in self.faults if rule.do == deed), None)


class TaskBoard:
    """All tasks that are remembered, and the timers that move them on.

    `prepare` opens the inputs of an order, or raises OrderRejected; `on_change` is told of
    every change of status.
    """

    def __init__(
        self,
        options: EmulatorOptions,
        clock: Clock,
        rng: random.Random,
        *,
        prepare: Callable[[Task], Awaitable[Sketch]],
        on_change: Callable[[Task], None],
    ) -> None:
        self._options = options
        self._clock = clock
        self._rng = rng
        self._prepare = prepare
        self._on_change = on_change
        self._tasks: dict[str, Task] = {}
        self._ended: deque[Task] = deque()
        self._unfinished: Counter[Lane] = Counter()
        self._slots: defaultdict[Lane, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(options.running_slots)
        )
        self._lives: dict[str, asyncio.Task[None]] = {}

    def add(self, task: Task) -> None:
        """Queue a task and start its life."""
        self._forget_old()
        self._tasks[task.task_id] = task
        self._unfinished[task.lane] += 1
        self._on_change(task)
        life = asyncio.create_task(self._live(task))
        self._lives[task.task_id] = life
        life.add_done_callback(lambda _: self._lives.pop(task.task_id))

    def is_full(self, lane: Lane) -> bool:
        """Whether the queue behind the running tasks has reached its cap, if it has one."""
        limit = self._options.queue_limit
        return limit is not None and (
            self._unfinished[lane] >= self._options.running_slots + limit
        )

    def find(self, task_id: str) -> Task | None:
        """A task still remembered, lost ones included."""
        task = self._tasks.get(task_id)
        return None if task is None or self._is_over(task) else task

    def find_visible(self, account: str, task_id: str) -> Task | None:
        """A task the account may see."""
        task = self.find(task_id)
        is_hidden = task is None or task.caller.account != account or self._is_lost(task)
        return None if is_hidden else task

    def list_visible(self, account: str) -> Iterator[Task]:
        """The account's tasks, newest first."""
        for task in reversed(self._tasks.values()):
            if task.caller.account == account and not (self._is_over(task) or self._is_lost(task)):
                yield task

    def cancel(self, task: Task) -> bool:
        """Whether the task could be cancelled: only PENDING ones can."""
        if task.status is not TaskStatus.PENDING:
            return False
        self._lives[task.task_id].cancel()
        self._end(task, TaskStatus.CANCELED)
        return True

    async def stop(self) -> None:
        """End every timer."""
        lives = list(self._lives.values())
        for life in lives:
            life.cancel()
        await asyncio.gather(*lives, return_exceptions=True)

    async def _live(self, task: Task) -> None:
        limit_seconds = self._options.hard_timeout_seconds * self._options.time_scale
        try:
            async with asyncio.timeout(limit_seconds), self._slots[task.lane]:
                await self._pause(self._draw_seconds(self._options.pending_seconds))
                await self._run(task)
        except TimeoutError:
            self._fail(task, TIMED_OUT)
        except OrderRejected as rejected:
            self._fail(task, rejected.failure)

    async def _run(self, task: Task) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        task.status, task.started_at = TaskStatus.RUNNING, self._clock()
        self._on_change(task)
        await self._pause(self._options.check_seconds)
        task.sketch = task.sketch or await self._prepare(task)
        if task.find_fault("stuck"):
            await loop.create_future()
        whole = self._draw_seconds(self._options.running_seconds) * self._options.time_scale
        await asyncio.sleep(max(0.0, began + whole - loop.time()))
        task.outcomes = decide_outcomes(task.faults, task.order.n)
        if None in task.outcomes:
            self._end(task, TaskStatus.SUCCEEDED)
        else:
            self._fail(task, next(failure for failure in task.outcomes if failure))

    def _fail(self, task: Task, failure: Failure) -> None:
        if not task.status.is_final:
            task.failure = failure
            self._end(task, TaskStatus.FAILED)

    def _end(self, task: Task, status: TaskStatus) -> None:
        task.status, task.ended_at = status, self._clock()
        task.order = replace(task.order, images=())  # up to 30 MB that nobody asks for again
        self._unfinished[task.lane] -= 1
        self._ended.append(task)
        self._on_change(task)

    def _forget_old(self) -> None:
        while self._ended and self._is_over(self._ended[0]):
            self._tasks.pop(self._ended.popleft().task_id, None)

    def _is_over(self, task: Task) -> bool:
        ttl = timedelta(seconds=self._options.ttl_seconds)
        return task.ended_at is not None and self._clock() >= task.ended_at + ttl

    def _is_lost(self, task: Task) -> bool:
        rule = task.find_fault("lost")
        if rule is None:
            return False
        age_seconds = (self._clock() - task.submitted_at).total_seconds()
        until_seconds = math.inf if rule.for_seconds is None else rule.seconds + rule.for_seconds
        return rule.seconds <= age_seconds < until_seconds

    def _draw_seconds(self, span: Span) -> float:
        return self._rng.uniform(*span)

    async def _pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds * self._options.time_scale)
