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


class _QuickServer(uvicorn.Server):
    """Stops as soon as it is told to, if it has nothing to do: tests start hundreds."""

    _serving: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def stop(self) -> None:
        """May be called from any thread."""
        self.should_exit = True
        if self._serving is not None:
            loop, told = self._serving
            loop.call_soon_threadsafe(told.set)

    async def main_loop(self) -> None:
        told = asyncio.Event()
        self._serving = (asyncio.get_running_loop(), told)
        if not self.should_exit:
            await told.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self.server_state.tasks:
            await super().shutdown(sockets)
            return
        for server in (*self.servers, *(sockets or ())):
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await self.lifespan.shutdown()


def serve_emulator(
    options: EmulatorOptions, host: str = "127.0.0.1", port: int = DEFAULT_PORT
) -> None:
    """Serve until a signal comes; the base address for SDKs is `http://host:port/api/v1`."""
    server = uvicorn.Server(_make_config(options, utc_now))
    server.config.host, server.config.port = host, port
    server.run()


@contextmanager
def emulator_in_thread(options: EmulatorOptions, *, clock: Clock = utc_now) -> Iterator[str]:
    """Serve on a free port from a thread of its own; yields `http://127.0.0.1:PORT/api/v1`."""
    server = _QuickServer(_make_config(options, clock))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        thread = threading.Thread(target=server.run, args=([listener],), name="emulator")
        thread.start()
        try:
            _wait_until_started(server, thread)
            yield f"http://127.0.0.1:{port}/api/v1"
        finally:
            server.stop()
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


def _make_config(options: EmulatorOptions, clock: Clock) -> uvicorn.Config:
    return uvicorn.Config(
        make_emulator(options, clock=clock),
        http=DroppableProtocol,
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
    )


def _wait_until_started(server: uvicorn.Server, thread: threading.Thread) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not server.started:
        if time.monotonic() > deadline or not thread.is_alive():
            raise RuntimeError(f"the emulator did not start within {_START_SECONDS:.0f} s")
        time.sleep(0.005)
