"""What the account owner would be charged, and what the wire saw."""

import hashlib
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from app.emulator.tasks import Lane, Task
from app.kit.clock import Clock

_WINDOW = timedelta(seconds=1)


class Bill:
    """Every task ever created, kept after the task itself is forgotten; nothing is taken off."""

    def __init__(self) -> None:
        self._lines: dict[str, dict[str, Any]] = {}
        self._digests: dict[str, list[str | None]] = {}

    def record(self, task: Task) -> None:
        """Write down a task as it is now; one delivered picture counts one."""
        self._lines[task.task_id] = {
            "task_id": task.task_id,
            "account": task.caller.account,
            "api_key_id": task.caller.key_id,
            "model": task.order.model,
            "status": task.status,
            "prompt_sha256": hashlib.sha256(task.order.prompt.encode()).hexdigest(),
            "prompt": task.order.prompt,
            "n": task.order.n,
            "image_count": task.delivered_count,
            "picture_sha256": self._list_digests(task),
            "created_at": task.submitted_at.isoformat(),
            "ended_at": task.ended_at and task.ended_at.isoformat(),
        }

    def note_picture(self, task: Task, index: int, digest: str) -> None:
        """Write down what a picture is; it is drawn, and so known, when it is first fetched."""
        self._list_digests(task)[index] = digest

    def report(self) -> dict[str, Any]:
        images: Counter[str] = Counter()
        tasks: Counter[str] = Counter()
        for line in self._lines.values():
            images[line["account"]] += line["image_count"]
            tasks[line["account"]] += 1
        return {
            "image_count": images.total(),
            "task_count": tasks.total(),
            "accounts": {
                account: {"task_count": count, "image_count": images[account]}
                for account, count in tasks.items()
            },
            "tasks": list(self._lines.values()),
        }

    def _list_digests(self, task: Task) -> list[str | None]:
        digests = self._digests.setdefault(task.task_id, [])
        digests += [None] * (max(task.order.n, len(task.outcomes)) - len(digests))
        return digests


class Tally:
    """Calls, refusals and peaks since the start."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._calls: Counter[str] = Counter()
        self._refused: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._running: Counter[Lane] = Counter()
        self._running_peak: Counter[Lane] = Counter()
        self._submits: defaultdict[Lane, deque[datetime]] = defaultdict(deque)
        self._submits_peak: Counter[Lane] = Counter()

    def count_call(self, endpoint: str) -> None:
        self._calls[endpoint] += 1

    def count_refusal(self, endpoint: str, code: str) -> None:
        self._refused[endpoint][code] += 1

    def count_submit(self, lane: Lane) -> None:
        """One attempt to create a task, admitted or not."""
        now = self._clock()
        recent = self._submits[lane]
        recent.append(now)
        while recent[0] <= now - _WINDOW:
            recent.popleft()
        self._submits_peak[lane] = max(self._submits_peak[lane], len(recent))

    def count_running(self, lane: Lane, change: int) -> None:
        self._running[lane] += change
        self._running_peak[lane] = max(self._running_peak[lane], self._running[lane])

    def calls(self) -> dict[str, Any]:
        """Calls by endpoint, and refusals by endpoint and code."""
        refused = {name: dict(codes) for name, codes in self._refused.items()}
        return {**self._calls, "refused": refused}

    def report(self) -> dict[str, Any]:
        return {
            "calls": self.calls(),
            "running": _by_lane(self._running),
            "running_peak": _by_lane(self._running_peak),
            "submits_per_second_peak": _by_lane(self._submits_peak),
        }


def _by_lane(counts: Counter[Lane]) -> Sequence[dict[str, Any]]:
    return [
        {"account": account, "model": model, "count": count}
        for (account, model), count in counts.items()
    ]
