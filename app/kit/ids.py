"""Time-ordered ids: UUID version 7 (RFC 9562, section 5.7)."""

import os
from datetime import UTC, datetime, timedelta
from uuid import UUID

from app.kit.clock import utc_now

LOWEST_ID = UUID(int=0)
HIGHEST_ID = UUID(int=(1 << 128) - 1)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_HIGHEST_MILLIS = (1 << 48) - 1


def make_uuid7() -> UUID:
    """48 bits of Unix milliseconds, then 74 random bits; sorts by time of making."""
    millis = int(utc_now().timestamp() * 1000)
    value = millis << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    return UUID(int=value & ~(0x3 << 62) | 0x2 << 62)


def find_lowest_id(moment: datetime, *, later_millis: int = 0) -> UUID:
    """The lowest id of that moment and so many milliseconds; what ids cannot tell is cut off."""
    millis = (moment - _EPOCH) // _MILLISECOND + later_millis
    return UUID(int=min(max(millis, 0), _HIGHEST_MILLIS) << 80)
