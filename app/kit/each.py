"""Work on several items, each for itself: one that fails does not stop the others."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import structlog

from app.kit.postgres.database import CONNECTION_TROUBLE

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

Item = TypeVar("Item")

AT_ONCE = 50


async def for_each(
    items: Iterable[Item],
    work: Callable[[Item], Awaitable[object]],
    *,
    name: str,
    at_once: int = AT_ONCE,
) -> int:
    """Work on every item, `at_once` at a time; returns how many failed.

    A failure is logged and the others go on. A lost database is no item's failure: it is raised
    once all have been tried, for the caller to wait.
    """
    limit = asyncio.Semaphore(at_once)
    failed = 0
    lost: BaseException | None = None

    async def try_one(item: Item) -> None:
        nonlocal failed, lost
        async with limit:
            try:
                await work(item)
            except CONNECTION_TROUBLE as error:
                lost = error
            except Exception:
                failed += 1
                log.exception("item.failed", work=name)

    await asyncio.gather(*(try_one(item) for item in items))
    if lost is not None:
        raise lost
    return failed
