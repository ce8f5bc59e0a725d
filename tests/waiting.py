"""Waiting for a condition instead of a clock."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable

PATIENCE_SECONDS = 20.0
STEP_SECONDS = 0.02


async def wait_until(
    holds: Callable[[], bool | Awaitable[bool]], *, seconds: float = PATIENCE_SECONDS
) -> None:
    """Return when the condition holds; AssertionError when it never does."""
    deadline = time.monotonic() + seconds
    while True:
        outcome = holds()
        if await outcome if inspect.isawaitable(outcome) else outcome:
            return
        assert time.monotonic() < deadline, f"it never came true within {seconds:g} s"
        await asyncio.sleep(STEP_SECONDS)
