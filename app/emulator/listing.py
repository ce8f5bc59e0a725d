"""Which tasks a list call asks for (pure)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple, Self

from app.dashscope.payloads import TaskStatus, parse_list_time
from app.emulator.checks import Refused, make_missing
from app.emulator.tasks import Task

_WINDOW = timedelta(hours=24)


class Page(NamedTuple):
    """One page of a list and what it was cut from."""

    tasks: Sequence[Task]
    total: int
    page_no: int
    page_size: int


@dataclass(frozen=True, slots=True)
class ListQuery:
    """The filters of a list call; empty text means any."""

    start_at: datetime
    end_at: datetime
    task_id: str
    model_name: str
    status: str
    api_key_id: str
    page_no: int
    page_size: int

    @classmethod
    def parse(
        cls, query: Mapping[str, str], now: datetime, *, misread: timedelta = timedelta(0)
    ) -> Self:
        """The filters in a query string; Refused with 400 when one cannot be read.

        `misread`: how much later than meant the times in it are taken to be.
        """
        start_at, end_at = _read_window(query, now, misread)
        return cls(
            start_at=start_at,
            end_at=end_at,
            task_id=query.get("task_id", ""),
            model_name=query.get("model_name", ""),
            status=query.get("status", ""),
            api_key_id=query.get("api_key_id", ""),
            page_no=_read_count(query, "page_no", 1),
            page_size=_read_count(query, "page_size", 10),
        )

    def select(self, tasks: Iterable[Task]) -> Page:
        """The page asked for, in the order of the tasks."""
        found = [task for task in tasks if self._accepts(task)]
        first = (self.page_no - 1) * self.page_size
        return Page(
            found[first : first + self.page_size], len(found), self.page_no, self.page_size
        )

    def _accepts(self, task: Task) -> bool:
        wanted = (self.task_id, self.model_name, self.status, self.api_key_id)
        actual = (task.task_id, task.order.model, task.status, task.caller.key_id)
        is_match = all(not want or want == have for want, have in zip(wanted, actual, strict=True))
        return is_match and self.start_at <= task.submitted_at <= self.end_at


def show_as_of(tasks: Iterable[Task], moment: datetime) -> Iterator[Task]:
    """The tasks as they were at a moment, without those made since."""
    for task in tasks:
        if task.submitted_at > moment:
            continue
        if task.ended_at is not None and task.ended_at <= moment:
            yield task
        elif task.started_at is not None and task.started_at <= moment:
            yield replace(task, status=TaskStatus.RUNNING, ended_at=None)
        else:
            yield replace(task, status=TaskStatus.PENDING, started_at=None, ended_at=None)


def _read_window(
    query: Mapping[str, str], now: datetime, misread: timedelta
) -> tuple[datetime, datetime]:
    start_at = _read_time(query, "start_time", misread)
    end_at = _read_time(query, "end_time", misread)
    if end_at is None:
        end_at = now if start_at is None else start_at + _WINDOW
    if start_at is None:
        start_at = end_at - _WINDOW
    if end_at - start_at > _WINDOW:
        message = "The time range between start_time and end_time cannot exceed 24 hours."
        raise Refused(400, "InvalidParameter", message)
    return start_at, end_at


def _read_time(query: Mapping[str, str], name: str, misread: timedelta) -> datetime | None:
    text = query.get(name)
    try:
        return parse_list_time(text) + misread if text else None
    except ValueError as wrong:
        raise Refused(400, *make_missing(name)) from wrong


def _read_count(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name) or str(default)
    if not text.isdecimal() or len(text) > 9 or int(text) < 1:
        raise Refused(400, *make_missing(name))
    return int(text)
