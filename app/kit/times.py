"""Times as text: RFC 3339, UTC, milliseconds."""

from datetime import UTC, datetime


def to_rfc3339(moment: datetime) -> str:
    """`2026-11-23T01:02:03.456Z`."""
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
