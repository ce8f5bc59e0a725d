"""A file server for measuring downloads: every path is a whole picture of its own."""

import asyncio
import io
import os
import struct
import sys
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from PIL import Image

from app.bench.rig.answering import HOST, Reply, serve
from app.bench.rig.children import start_child
from app.kit.ports import find_free_port

SIDE_PIXELS = 832
"""A square of noise with that side is a PNG of about 2 MB, as the upstream's are."""


@asynccontextmanager
async def running_picture_host(folder: Path) -> AsyncIterator[str]:
    """Its address, `host:port`; `/7.png` is picture 7, always the same."""
    port = find_free_port(HOST)
    child = start_child(
        "pictures", "app.bench.rig.picture_host", str(port), folder=folder, environment={}
    )
    try:
        await child.wait_for_port(port)
        yield f"{HOST}:{port}"
    finally:
        await child.stop()


class Plate:
    """One picture in parts; a text chunk makes each copy of it another file."""

    def __init__(self) -> None:
        content = io.BytesIO()
        size = (SIDE_PIXELS, SIDE_PIXELS)
        noise = Image.frombytes("RGB", size, os.urandom(SIDE_PIXELS * SIDE_PIXELS * 3))
        noise.save(content, "PNG", compress_level=0)
        whole = content.getvalue()
        end = whole.rindex(b"IEND") - 4
        self._body, self._end = whole[:end], whole[end:]

    def make_copy(self, number: int) -> bytes:
        chunk = b"tEXt" + f"Comment\0{number}".encode()
        length, crc = len(chunk) - 4, zlib.crc32(chunk)
        return b"".join(
            (self._body, struct.pack(">I", length), chunk, struct.pack(">I", crc), self._end)
        )


if __name__ == "__main__":
    plate = Plate()
    asyncio.run(
        serve(
            int(sys.argv[1]),
            lambda ask: Reply("image/png", plate.make_copy(int(Path(ask.path).stem))),
        )
    )
