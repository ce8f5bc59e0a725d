"""Time-ordered ids: UUID version 7 (RFC 9562, section 5.7)."""

import os
from uuid import UUID

from app.kit.clock import utc_now


def make_uuid7() -> UUID:
    """48 bits of Unix milliseconds, then 74 random bits; sorts by time of making."""
    millis = int(utc_now().timestamp() * 1000)
    value = millis << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    return UUID(int=value & ~(0x3 << 62) | 0x2 << 62)
