"""A cable that tests pull out: forwards TCP connections to one address."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

CHUNK_BYTES = 64 * 1024
PATIENCE_SECONDS = 10.0


class Relay:
    """Listens on a port of its own; `cut` drops everything and refuses, `mend` ends that."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._calls: set[asyncio.Task[None]] = set()
        self.port = 0
        self.connections_count = 0

    async def mend(self) -> None:
        """Listen, on the same port as before."""
        self._server = await asyncio.start_server(self._forward, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Refuse new connections and reset those that are open."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.drop()
        await asyncio.gather(*self._calls, return_exceptions=True)

    def drop(self) -> None:
        """Reset those that are open; new ones are welcome."""
        for writer in self._writers:
            writer.transport.abort()

    async def wait_for_connections(self, count: int) -> None:
        """Return when so many have been made since the start."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.connections_count < count:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        call = asyncio.current_task()
        assert call is not None
        self._calls.add(call)
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
            ends = {writer, far_writer}
            self._writers |= ends
            self.connections_count += 1
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
            self._writers -= ends
        finally:
            self._calls.discard(call)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while chunk := await reader.read(CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def running_relay(host: str, port: int) -> AsyncIterator[Relay]:
    relay = Relay(host, port)
    await relay.mend()
    try:
        yield relay
    finally:
        await relay.cut()
