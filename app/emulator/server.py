"""The emulator on a socket: for the command line, and for tests."""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.emulator.disturb.disrupt import TRANSPORT_EXTENSION
from app.emulator.options import EmulatorOptions
from app.emulator.routes import make_emulator
from app.kit.clock import Clock, utc_now

DEFAULT_PORT = 8090
_START_SECONDS = 10.0


class DroppableProtocol(HttpToolsProtocol):
    """HTTP whose connections the application may drop, through an ASGI extension."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {TRANSPORT_EXTENSION: self.transport}  # type: ignore[dict-item]


def serve_emulator(
    options: EmulatorOptions, host: str = "127.0.0.1", port: int = DEFAULT_PORT
) -> None:
    """Serve until a signal comes; the base address for SDKs is `http://host:port/api/v1`."""
    server = _make_server(options, utc_now)
    server.config.host, server.config.port = host, port
    server.run()


@contextmanager
def emulator_in_thread(options: EmulatorOptions, *, clock: Clock = utc_now) -> Iterator[str]:
    """Serve on a free port from a thread of its own; yields `http://127.0.0.1:PORT/api/v1`."""
    server = _make_server(options, clock)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        thread = threading.Thread(target=server.run, args=([listener],), name="emulator")
        thread.start()
        try:
            _wait_until_started(server, thread)
            yield f"http://127.0.0.1:{port}/api/v1"
        finally:
            server.should_exit = True
            thread.join()


@asynccontextmanager
async def running_emulator(
    options: EmulatorOptions, *, clock: Clock = utc_now
) -> AsyncIterator[str]:
    """`emulator_in_thread` for coroutines: starting and stopping do not block the loop."""
    context = emulator_in_thread(options, clock=clock)
    base_url = await asyncio.to_thread(context.__enter__)
    try:
        yield base_url
    finally:
        await asyncio.to_thread(context.__exit__, None, None, None)


def _make_server(options: EmulatorOptions, clock: Clock) -> uvicorn.Server:
    config = uvicorn.Config(
        make_emulator(options, clock=clock),
        http=DroppableProtocol,
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(config)


def _wait_until_started(server: uvicorn.Server, thread: threading.Thread) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not server.started:
        if time.monotonic() > deadline or not thread.is_alive():
            raise RuntimeError(f"the emulator did not start within {_START_SECONDS:.0f} s")
        time.sleep(0.005)
