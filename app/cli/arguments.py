"""Types of arguments that the command line parses itself; a bad one is a usage error."""

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from zoneinfo import ZoneInfo

from app.kit.errors import InvalidRequest

FIRST_YEAR, LAST_YEAR = 1970, 9998
"""A day before and after them must be days as well, in every time zone."""


def check_texts(arguments: Sequence[str]) -> None:
    """Raises InvalidRequest for what no database takes as text."""
    for number, text in enumerate(arguments, 1):
        if "\0" in text or (not text.isascii() and text.encode(errors="replace").decode() != text):
            raise InvalidRequest(
                f"argument {number}, {text[:64]!a}, is no text: it holds bytes that are not "
                "UTF-8, or a NUL character"
            )


def parse_number(text: str) -> Decimal:
    """Exact, as written; raises ValueError."""
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text!r} is not a number") from None


def parse_day(text: str) -> date:
    """Raises ValueError."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a day; write it as 2026-11-23") from None
    _check_year(text, day.year)
    return day


def split_list(given: list[str] | None) -> tuple[str, ...]:
    """The parts of an option that may be repeated, hold commas, or both."""
    return tuple(part.strip() for text in given or () for part in text.split(",") if part.strip())


def parse_moment(text: str) -> datetime:
    """A day or a time, with its offset if one is given; raises ValueError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is not a time; write it as 2026-11-23 or 2026-11-23T08:00+08:00"
        ) from None
    _check_year(text, moment.year)
    return moment


def _check_year(text: str, year: int) -> None:
    if not FIRST_YEAR <= year <= LAST_YEAR:
        raise ValueError(
            f"{text!r} is of no use; its year must be from {FIRST_YEAR} to {LAST_YEAR}"
        )


def in_zone(moment: datetime, timezone: str) -> datetime:
    """A time without an offset is read from the clocks of that IANA time zone."""
    return moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(timezone))


def end_of(day: date, timezone: str) -> datetime:
    """The midnight after the day, in that IANA time zone."""
    return datetime.combine(day + timedelta(days=1), time.min, tzinfo=ZoneInfo(timezone))
