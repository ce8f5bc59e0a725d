"""Answers that are not the truth: lists that hide tasks, fields that nobody can read (pure)."""

import random
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from app.dashscope.payloads import UPSTREAM_ZONE
from app.emulator.disturb.faults import FaultRule
from app.emulator.listing import show_as_of
from app.emulator.tasks import Task

TAMPERING = frozenset({"stale", "empty", "omit", "unreadable", "wrong_zone"})
NO_DATA_EVERY = 4
"""Of unreadable lists one in that many has no rows at all, not even an empty array of them."""
_UNREADABLE_OUTPUT = {"submit_time": "", "scheduled_time": "", "end_time": "-"}


def find_lie(rule: FaultRule | None) -> FaultRule | None:
    """The rule, when it changes what an answer says and not whether it comes."""
    return rule if rule is not None and rule.do in TAMPERING else None


def to_misreading(lie: FaultRule | None) -> timedelta:
    """How much later than meant the times of a filter are taken, read in UTC and not UTC+8."""
    if lie is None or lie.do != "wrong_zone":
        return timedelta(0)
    return UPSTREAM_ZONE.utcoffset(None)


def choose_shown(
    tasks: Iterable[Task], lie: FaultRule | None, now: datetime, rng: random.Random
) -> Sequence[Task]:
    """The tasks that a list knows of; without a lie all of them, as they are."""
    if lie is None:
        return tuple(show_as_of(tasks, now))
    match lie.do:
        case "empty":
            return ()
        case "stale":
            return tuple(show_as_of(tasks, now - timedelta(seconds=lie.seconds)))
        case "omit":
            return [task for task in show_as_of(tasks, now) if rng.random() >= lie.share]
        case _:
            return tuple(show_as_of(tasks, now))


def blur_list(body: dict[str, Any], lie: FaultRule | None, rng: random.Random) -> dict[str, Any]:
    """A list whose rows are whole, or partly not: without a time of making, or null."""
    if lie is None or lie.do != "unreadable":
        return body
    if rng.randrange(NO_DATA_EVERY) == 0:
        return body | {"data": None}
    return body | {"data": [_blur_row(row, lie.share, rng) for row in body["data"]]}


def blur_answer(body: dict[str, Any]) -> dict[str, Any]:
    """The answer to a query whose times and figures cannot be read, though its result can."""
    output: dict[str, Any] = body["output"]
    blurred = {name: text for name, text in _UNREADABLE_OUTPUT.items() if name in output}
    return body | {"output": output | blurred | {"task_metrics": ""}}


def _blur_row(row: dict[str, Any], share: float, rng: random.Random) -> dict[str, Any] | None:
    if rng.random() >= share:
        return row
    if rng.random() < 0.5:
        return None
    return {name: value for name, value in row.items() if name != "gmt_create"}
