"""The Retry-After header: how long a server asks to be left alone (RFC 9110, 10.2.3; pure)."""

from email.utils import parsedate_to_datetime


def read_retry_after(value: str | None, *, date: str | None) -> float | None:
    """Seconds; a moment is measured from the answer's own Date, whatever our clock says."""
    said = (value or "").strip()
    if said.isascii() and said.isdecimal():
        return float(said)
    try:
        asked = parsedate_to_datetime(said) - parsedate_to_datetime(date or "")
    except (ValueError, TypeError, OverflowError):
        return None
    return max(asked.total_seconds(), 0.0)
