"""A bound on work that may not even end when it is cancelled."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

Result = TypeVar("Result")

_abandoned: set[asyncio.Future[object]] = set()
"""The event loop itself holds tasks weakly."""


class DeadlinePassed(TimeoutError):
    """The time for the work was over before its result was there."""


async def within(seconds: float, work: Awaitable[Result]) -> Result:
    """The result of the work; raises DeadlinePassed, and leaves the work behind, cancelled.

    Unlike `asyncio.timeout` this does not wait for the cancelled work to clean up: in a network
    that swallows everything, that takes as long as the work itself.
    """
    task = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=max(0.0, seconds))
    except asyncio.CancelledError:
        _abandon(task)
        raise
    if not done:
        _abandon(task)
        raise DeadlinePassed(f"no result within {seconds:.3g} seconds")
    return task.result()


def _abandon(task: "asyncio.Future[Result]") -> None:
    _abandoned.add(task)  # type: ignore[arg-type]
    task.add_done_callback(_forget)
    task.cancel()


def _forget(task: "asyncio.Future[Result]") -> None:
    _abandoned.discard(task)
    if not task.cancelled():
        task.exception()
