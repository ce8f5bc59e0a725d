"""Knowing that the process is asked to stop, while there is still time to answer."""

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def noticing_stop() -> Iterator[asyncio.Event]:
    """An event that is set at SIGTERM or SIGINT; the server's own handlers go on working.

    The server waits for open requests before it tells the application anything: those that hold
    their answer back must know by themselves.
    """
    stopping = asyncio.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def notice(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(stopping.set)
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    for number in SIGNALS:
        signal.signal(number, notice)
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
