"""What every answer of the task API has."""

from datetime import datetime, timedelta
from uuid import UUID

import httpx

from app.kit.clock import utc_now


def check_request_id(answer: httpx.Response) -> None:
    """A lower-case UUID, the same in body and header."""
    request_id = answer.json()["request_id"]
    assert str(UUID(request_id)) == request_id == answer.headers["x-request-id"]


def parse_wire_time(text: str) -> datetime:
    """Milliseconds and no offset: the wall clock of UTC+8, here as the naive moment in UTC."""
    assert len(text) == len("2026-11-23 14:38:50.524"), text
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%S.%f") - timedelta(hours=8)  # noqa: DTZ007


def is_recent(moment: datetime) -> bool:
    """Within the last two minutes."""
    return timedelta(0) <= utc_now().replace(tzinfo=None) - moment <= timedelta(minutes=2)
