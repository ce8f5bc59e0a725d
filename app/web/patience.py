"""Riding out a short outage of the database: a late answer instead of an error."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from app.kit.deadlines import within
from app.kit.postgres.database import CONNECTION_TROUBLE

PATIENCE_SECONDS = 8.0
STEP_SECONDS = 0.25

Answer = TypeVar("Answer")


async def patiently(ask: Callable[[], Awaitable[Answer]]) -> Answer:
    """Ask again while the database is away, and raise its trouble when that takes too long.

    A client that polls gives a running task up at a 500 and hammers at a 503; a late answer
    costs it nothing. A database that neither answers nor refuses is given up as well.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE_SECONDS
    while True:
        try:
            return await within(max(STEP_SECONDS, deadline - loop.time()), ask())
        except CONNECTION_TROUBLE:
            if loop.time() > deadline:
                raise
            await asyncio.sleep(STEP_SECONDS)
