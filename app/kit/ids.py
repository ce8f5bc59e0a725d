"""Time-ordered ids: UUID version 7 (RFC 9562, section 5.7)."""

import os
import time
from uuid import UUID


def make_uuid7() -> UUID:
    """48 bits of Unix milliseconds, then 74 random bits; sorts by time of making."""
    millis = time.time_ns() // 1_000_000
    value = millis << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    return UUID(int=value & ~(0x3 << 62) | 0x2 << 62)
