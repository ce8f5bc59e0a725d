"""Types of arguments that the command line parses itself; a bad one is a usage error."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from zoneinfo import ZoneInfo


def parse_number(text: str) -> Decimal:
    """Exact, as written; raises ValueError."""
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text!r} is not a number") from None


def parse_day(text: str) -> date:
    """Raises ValueError."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a day; write it as 2026-11-23") from None


def split_list(given: list[str] | None) -> tuple[str, ...]:
    """The parts of an option that may be repeated, hold commas, or both."""
    return tuple(part.strip() for text in given or () for part in text.split(",") if part.strip())


def parse_moment(text: str) -> datetime:
    """A time with its offset, or a day, which begins at midnight UTC; raises ValueError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is not a time; write it as 2026-11-23 or 2026-11-23T08:00+08:00"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def end_of(day: date, timezone: str) -> datetime:
    """The midnight after the day, in that IANA time zone."""
    return datetime.combine(day + timedelta(days=1), time.min, tzinfo=ZoneInfo(timezone))
