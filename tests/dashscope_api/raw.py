"""Requests as bytes on a socket, as clients of other languages write them."""

import asyncio
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

ANSWER_SECONDS = 10.0


@dataclass(frozen=True)
class RawAnswer:
    """Status and headers of the last answer, and its body."""

    status: int
    head: str
    body: bytes

    def json(self) -> Any:
        return orjson.loads(self.body)


async def exchange(url: str, *pieces: bytes) -> RawAnswer:
    """Write the pieces on one connection, which the server closes or the length ends.

    An answer of 100 between the pieces is read first.
    """
    address = httpx.URL(url)
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            for number, piece in enumerate(pieces):
                if number:
                    interim = await reader.readuntil(b"\r\n\r\n")
                    assert interim.startswith(b"HTTP/1.1 100 "), interim
                writer.write(piece)
                await writer.drain()
            return await _read_answer(reader)
    finally:
        writer.close()


async def _read_answer(reader: asyncio.StreamReader) -> RawAnswer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status = int(head.split(" ", 2)[1])
    headers = httpx.Headers(dict(line.split(": ", 1) for line in head.split("\r\n")[1:-2]))
    assert "transfer-encoding" not in headers, head
    return RawAnswer(status, head, await reader.readexactly(int(headers["content-length"])))
