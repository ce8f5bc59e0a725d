"""Postgres notifications as events: a wake-up may be lost, so whoever waits also sweeps."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from app.kit.background.loop import wait_for_any
from app.kit.postgres.database import CONNECTION_TROUBLE, connect

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

CHECK_SECONDS = 5.0


class Listener:
    """One LISTEN connection a process; wakes events by channel, or by channel and payload."""

    def __init__(self, url: str, channels: tuple[str, ...]) -> None:
        self._url = url
        self._channels = channels
        self._events: defaultdict[tuple[str, str], set[asyncio.Event]] = defaultdict(set)

    @contextmanager
    def subscribed(self, channel: str, payload: str = "") -> Iterator[asyncio.Event]:
        """An event that is set at each notification of that channel and payload."""
        event = asyncio.Event()
        topic = (channel, payload)
        self._events[topic].add(event)
        try:
            yield event
        finally:
            self._events[topic].discard(event)
            if not self._events[topic]:
                del self._events[topic]

    async def run(self, stop: asyncio.Event) -> None:
        """Listen until `stop`; a lost connection is made anew and wakes everybody once."""
        while not stop.is_set():
            try:
                await self._listen(stop)
            except (*CONNECTION_TROUBLE, TimeoutError) as error:
                log.warning("listener.connection_lost", error=type(error).__name__)
                await wait_for_any(stop, seconds=1.0)

    async def _listen(self, stop: asyncio.Event) -> None:
        connection = await connect(self._url)
        try:
            for channel in self._channels:
                await connection.add_listener(channel, self._wake)
            self._wake_all()
            while not stop.is_set():
                await connection.fetchval("select 1", timeout=CHECK_SECONDS)
                await wait_for_any(stop, seconds=CHECK_SECONDS)
        finally:
            connection.terminate()

    def _wake(self, _: object, __: int, channel: str, payload: object) -> None:
        for event in self._events.get((channel, str(payload)), ()):
            event.set()

    def _wake_all(self) -> None:
        for events in self._events.values():
            for event in events:
                event.set()
