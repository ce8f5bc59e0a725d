"""The least of an HTTP server, so that its client is what a measure measures."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Ask:
    """A GET; header names are in lower case."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Reply:
    content_type: str
    content: bytes


async def serve(port: int, answer: Callable[[Ask], Reply]) -> None:
    """Answer GETs with 200, one after another on each connection, until the process ends."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await _read_head(reader):
            reply = answer(_parse(head))
            writer.write(
                f"HTTP/1.1 200 OK\r\nContent-Type: {reply.content_type}\r\n"
                f"Content-Length: {len(reply.content)}\r\n\r\n".encode()
            )
            writer.write(reply.content)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(converse, HOST, port)
    await server.serve_forever()


async def _read_head(reader: asyncio.StreamReader) -> str:
    """A request's line and headers; nothing when the client has gone."""
    try:
        return (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except (asyncio.IncompleteReadError, ConnectionError):
        return ""


def _parse(head: str) -> Ask:
    first, *lines = head.rstrip().split("\r\n")
    target = urlsplit(first.split(" ")[1])
    pairs = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    return Ask(target.path, dict(parse_qsl(target.query)), headers)
