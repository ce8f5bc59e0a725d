"""What an attack costs the others: the gateway's memory, its silence, another team's jobs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from urllib.parse import urlsplit

import httpx

from tests.gateway import Gateway, Seat

PROBE_SECONDS = 0.02
ANSWER_BYTES = 64 * 1024
MEGABYTE = 1024 * 1024


@dataclass(slots=True)
class Toll:
    """Measured from outside while an attack went on."""

    silences: list[float] = field(default_factory=list)
    """How long `/healthz` took each time, in seconds."""
    creates: list[int] = field(default_factory=list)
    """The statuses of another team's creates."""
    create_seconds: list[float] = field(default_factory=list)
    """How long each of them took."""
    grown_bytes: int = 0
    """The process's most memory during it, above what it had before."""

    @property
    def longest_silence(self) -> float:
        return max(self.silences)

    def tell(self) -> dict[str, float]:
        """Its figures: most of each, in milliseconds and megabytes."""
        return {
            "silence_ms": round(self.longest_silence * 1000, 1),
            "create_p99_ms": round(
                sorted(self.create_seconds)[-1 - len(self.creates) // 100] * 1000, 1
            ),
            "grown_mb": round(self.grown_bytes / MEGABYTE, 1),
        }

    def expect_little(
        self, *, silence_seconds: float = 1.0, bytes_limit: int = 64 * MEGABYTE
    ) -> None:
        """Bounds wide enough for a busy machine, and far below what was once seen."""
        assert self.longest_silence < silence_seconds, self
        assert self.grown_bytes < bytes_limit, self
        assert self.creates
        assert set(self.creates) == {202}, self


@asynccontextmanager
async def siege(gateway: Gateway, other: Seat) -> AsyncIterator[Toll]:
    """Ask and create as others do for as long as the block lasts."""
    toll = Toll()
    before = read_memory(gateway)
    headers = {"Authorization": f"Bearer {other.key}"}
    async with httpx.AsyncClient(
        base_url=gateway.url, headers=headers, timeout=60, trust_env=False, verify=False
    ) as http:
        tasks = [
            asyncio.create_task(_ask(http, toll, gateway, before)),
            asyncio.create_task(_make_jobs(http, toll)),
        ]
        try:
            yield toll
            await asyncio.sleep(PROBE_SECONDS * 5)
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task


async def _ask(http: httpx.AsyncClient, toll: Toll, gateway: Gateway, before: int) -> None:
    while True:
        began = perf_counter()
        await http.get("/healthz")
        toll.silences.append(perf_counter() - began)
        toll.grown_bytes = max(toll.grown_bytes, read_memory(gateway) - before)
        await asyncio.sleep(PROBE_SECONDS)


async def _make_jobs(http: httpx.AsyncClient, toll: Toll) -> None:
    body = {"prompt": "another team's", "images": ["https://example.com/cat.png"]}
    while True:
        began = perf_counter()
        answer = await http.post("/v1/jobs", json=body)
        toll.create_seconds.append(perf_counter() - began)
        toll.creates.append(answer.status_code)
        await asyncio.sleep(PROBE_SECONDS * 5)


def read_memory(gateway: Gateway) -> int:
    """Resident bytes of the API process."""
    process = gateway.members["api"].process
    assert process is not None
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * 4096


@dataclass(slots=True)
class Stranger:
    """One raw connection of somebody without a key."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    sent_bytes: int = 0

    async def send(self, data: bytes) -> bool:
        """Whether it could still be sent."""
        try:
            self.writer.write(data)
            await self.writer.drain()
        except ConnectionError:
            return False
        self.sent_bytes += len(data)
        return True

    async def flood(self, piece: bytes, *, limit_bytes: int) -> None:
        """The same piece again and again, until the gateway closes or that much is sent."""
        while self.sent_bytes < limit_bytes and not self.reader.at_eof():
            if not await self.send(piece):
                return

    async def answer(self, *, seconds: float = 30.0) -> bytes:
        """All that comes until the gateway closes; TimeoutError when it does not."""
        content = bytearray()
        async with asyncio.timeout(seconds):
            with suppress(ConnectionError):
                while piece := await self.reader.read(ANSWER_BYTES):
                    content += piece
        return bytes(content)

    async def head(self, *, seconds: float = 30.0) -> bytes:
        """The head of the next answer."""
        async with asyncio.timeout(seconds):
            return await self.reader.readuntil(b"\r\n\r\n")


@asynccontextmanager
async def stranger(url: str) -> AsyncIterator[Stranger]:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        yield Stranger(reader, writer)
    finally:
        writer.transport.abort()
