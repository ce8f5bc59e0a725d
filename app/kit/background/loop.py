"""A background loop: work while there is work, else wait for a nudge or the next sweep."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import structlog

from app.kit.postgres.database import CONNECTION_TROUBLE

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_jitter = random.SystemRandom()
"""Not the shared generator: loops beside a test must not change what it draws."""

TROUBLE_SECONDS = (0.5, 1.0, 2.0, 5.0)


async def run_loop(
    step: Callable[[], Awaitable[bool]],
    *,
    name: str,
    stop: asyncio.Event,
    nudge: asyncio.Event | None = None,
    idle_seconds: float = 1.0,
) -> None:
    """Repeat the step until `stop`; a step says whether it found work.

    A step that fails is logged and tried again after a growing pause: a loop outlives any error.
    """
    failures = 0
    while not stop.is_set():
        if nudge is not None:
            nudge.clear()
        try:
            found_work = await step()
        except CONNECTION_TROUBLE as error:
            log.warning("loop.database_lost", loop=name, error=type(error).__name__)
            failures += 1
        except Exception:
            log.exception("loop.step_failed", loop=name)
            failures += 1
        else:
            failures = 0
            if found_work:
                continue
        pause = TROUBLE_SECONDS[min(failures, len(TROUBLE_SECONDS)) - 1]
        await wait_for_any(
            stop,
            None if failures else nudge,
            seconds=(pause if failures else idle_seconds) * _jitter.uniform(0.9, 1.1),
        )


async def wait_for_any(*events: asyncio.Event | None, seconds: float) -> None:
    """Return when one of the events is set, or after that many seconds."""
    waits = [asyncio.create_task(event.wait()) for event in events if event is not None]
    if not waits:
        await asyncio.sleep(seconds)
        return
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
