"""A way to the database that a test may cut or stop up."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from sqlalchemy import make_url


@dataclass(slots=True)
class Relay:
    """Passes bytes both ways, until it is cut or swallows them."""

    host: str
    port: int
    is_cut: bool = False
    is_swallowing: bool = False
    is_deaf: bool = False
    """What the database answers is swallowed; what it is asked arrives."""
    deafening: bytes | None = None
    """Deaf from the moment that this is asked."""
    writers: set[asyncio.StreamWriter] = field(default_factory=set)
    calls: set[asyncio.Task[None]] = field(default_factory=set)

    def cut(self) -> None:
        """Reset every connection, and each new one."""
        self.is_cut = True
        for writer in self.writers:
            writer.transport.abort()

    def reset(self) -> None:
        """Hear again, and drop every connection; new ones are welcome."""
        self.is_deaf, self.deafening = False, None
        for writer in self.writers:
            writer.transport.abort()

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        call = asyncio.current_task()
        assert call is not None
        self.calls.add(call)
        self.writers.add(writer)
        far_reader, far_writer = await asyncio.open_connection(self.host, self.port)
        self.writers.add(far_writer)
        if self.is_cut:
            self.cut()
        await asyncio.gather(
            self._pump(reader, far_writer), self._pump(far_reader, writer, is_answer=True)
        )

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        is_answer: bool = False,
    ) -> None:
        with suppress(ConnectionError):
            while chunk := await reader.read(65536):
                if not is_answer and self.deafening and self.deafening in chunk:
                    self.is_deaf = True
                if not self.is_swallowing and not (is_answer and self.is_deaf):
                    writer.write(chunk)
                    await writer.drain()
        writer.transport.abort()


@asynccontextmanager
async def relayed(database_url: str) -> AsyncIterator[tuple[Relay, str]]:
    """The relay, and the URL of the database through it."""
    url = make_url(database_url)
    assert url.host is not None
    relay = Relay(url.host, url.port or 5432)
    server = await asyncio.start_server(relay.take, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    through = url.set(host="127.0.0.1", port=port).render_as_string(hide_password=False)
    try:
        yield relay, through
    finally:
        relay.cut()
        server.close()
        await asyncio.gather(*relay.calls, return_exceptions=True)
