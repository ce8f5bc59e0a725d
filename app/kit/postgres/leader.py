"""One leader at a time, by a Postgres advisory lock that dies with its connection.

The lock's connection is beaten every few seconds; a leader that has stopped (a paused or hung
process) is disconnected by Postgres itself, so that another process can take over.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from app.kit.background.loop import run_loop, wait_for_any
from app.kit.postgres.database import CONNECTION_TROUBLE, Connection, connect

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

BEAT_SECONDS = 2.0
SILENCE_LIMIT_SECONDS = 15
RETRY_SECONDS = 0.5


async def lead(
    url: str,
    *,
    lock: int,
    duty: Callable[[asyncio.Event], Coroutine[Any, Any, None]],
    stop: asyncio.Event,
    level: int = logging.INFO,
) -> None:
    """Do the duty whenever this process holds the lock, until `stop`; told at that level.

    The duty gets an event that is set when it must end: at `stop`, or when the lock is lost. One
    that fails is logged, and taken up again by whoever gets the lock next.
    """

    async def lead_once() -> bool:
        await _lead_on_one_connection(url, lock, duty, stop, level)
        return True

    await run_loop(lead_once, name="lead", stop=stop)


async def _lead_on_one_connection(
    url: str,
    lock: int,
    duty: Callable[[asyncio.Event], Coroutine[Any, Any, None]],
    stop: asyncio.Event,
    level: int,
) -> None:
    try:
        connection = await connect(url)
    except CONNECTION_TROUBLE:
        await wait_for_any(stop, seconds=RETRY_SECONDS)
        return
    try:
        await connection.execute(f"set idle_session_timeout = '{SILENCE_LIMIT_SECONDS}s'")
        await _lead_while_connected(connection, lock, duty, stop, level)
    except (*CONNECTION_TROUBLE, TimeoutError) as error:
        log.warning("leader.connection_lost", error=type(error).__name__)
    finally:
        connection.terminate()


async def _lead_while_connected(
    connection: Connection,
    lock: int,
    duty: Callable[[asyncio.Event], Coroutine[Any, Any, None]],
    stop: asyncio.Event,
    level: int,
) -> None:
    while not stop.is_set():
        if await connection.fetchval("select pg_try_advisory_lock($1)", lock):
            break
        await wait_for_any(stop, seconds=RETRY_SECONDS)
    if stop.is_set():
        return
    log.log(level, "leader.elected", lock=hex(lock))
    ending = asyncio.Event()
    on_duty = asyncio.create_task(duty(ending))
    try:
        await _beat(connection, on_duty, stop)
    finally:
        ending.set()
        await on_duty
    log.log(level, "leader.resigned", lock=hex(lock))


async def _beat(connection: Connection, on_duty: asyncio.Task[None], stop: asyncio.Event) -> None:
    while not stop.is_set() and not on_duty.done():
        await connection.fetchval("select 1", timeout=BEAT_SECONDS * 2)
        await wait_for_any(stop, seconds=BEAT_SECONDS)
