"""Time-ordered ids: UUID version 7 (RFC 9562, section 5.7)."""

import os
from datetime import UTC, datetime, timedelta
from uuid import UUID

from app.kit.clock import utc_now

LOWEST_ID = UUID(int=0)
HIGHEST_ID = UUID(int=(1 << 128) - 1)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MILLISECOND = timedelta(milliseconds=1)
_HIGHEST_MILLIS = (1 << 48) - 1


def make_uuid7() -> UUID:
    """Sorts by time of making, to the microsecond.

    48 bits of Unix milliseconds, 12 of the fraction (RFC 9562, 6.2, method 3), 62 random bits.
    """
    millis, micros = divmod((utc_now() - _EPOCH) // _MICROSECOND, 1000)
    fraction = micros * 4096 // 1000
    tail = int.from_bytes(os.urandom(8), "big") & ~(0x3 << 62) | 0x2 << 62
    return UUID(int=millis << 80 | 0x7 << 76 | fraction << 64 | tail)


def find_lowest_id(moment: datetime, *, later_millis: int = 0) -> UUID:
    """The lowest id of that moment and so many milliseconds; what ids cannot tell is cut off."""
    millis = (moment - _EPOCH) // _MILLISECOND + later_millis
    return UUID(int=min(max(millis, 0), _HIGHEST_MILLIS) << 80)
