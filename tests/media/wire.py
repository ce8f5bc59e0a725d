"""A server of single answers on a real socket: also cut, slow or broken ones."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Answer = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Wire:
    """Answers each connection's one request by `answer`, and remembers the requests."""

    answer: Answer
    requests: list[Request] = field(default_factory=list)
    answering: list[tuple[asyncio.Task[None] | None, asyncio.StreamWriter]] = field(
        default_factory=list
    )
    port: int = 0

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.answering.append((asyncio.current_task(), writer))
        try:
            request = await _read_request(reader)
            self.requests.append(request)
            await self.answer(request, writer)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def hang_up(self) -> None:
        """End what still answers, so that no task is left for a later test to stumble over."""
        for task, writer in self.answering:
            writer.transport.abort()
            if task:
                task.cancel()
        await asyncio.gather(*(task for task, _ in self.answering if task), return_exceptions=True)


@asynccontextmanager
async def serve(answer: Answer) -> AsyncIterator[Wire]:
    wire = Wire(answer)
    server = await asyncio.start_server(wire.take, "127.0.0.1", 0)
    wire.port = server.sockets[0].getsockname()[1]
    try:
        yield wire
    finally:
        server.close()
        await wire.hang_up()
        await server.wait_closed()


def reply(status: str, body: bytes = b"", *headers: str, announced: int | None = None) -> bytes:
    """The bytes of an answer; `announced` lies about the length of its body."""
    length = len(body) if announced is None else announced
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {length}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def always(answer: bytes) -> Answer:
    async def write(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    return write


async def _read_request(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip("\r\n").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    method, target, _ = first.split(" ")
    return Request(method, target, headers, body)
