"""The pictures an order names: data URIs, uploads and URLs, opened and judged."""

import asyncio
import base64
import binascii
import io
from collections.abc import Sequence
from concurrent.futures import Executor
from functools import cache

import httpx
from PIL import Image, UnidentifiedImageError

from app.dashscope.payloads import ASPECT_LIMIT, IMAGE_BYTES_LIMIT, IMAGE_SIDE_RANGE
from app.emulator.checks import Failure
from app.emulator.options import EmulatorOptions
from app.emulator.pictures.draw import Sketch, draw_placeholder, make_sketch
from app.emulator.storage.uploads import UploadShelf
from app.emulator.tasks import OrderRejected, Task

_FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
_CORRUPT = Failure("InvalidParameter", "Invalid image format or corrupted file")
_BAD_SIZE = Failure("InvalidParameter", "the size of input image is too small or too large.")


_trusted = cache(httpx.create_ssl_context)
"""The certificates that are believed, read once."""


class InputReader:
    """Gets the inputs of tasks and makes sketches of them, away from the event loop."""

    def __init__(self, options: EmulatorOptions, shelf: UploadShelf, executor: Executor) -> None:
        self._options = options
        self._shelf = shelf
        self._executor = executor
        self._http = httpx.AsyncClient(
            follow_redirects=True, timeout=options.fetch_timeout_seconds, verify=_trusted()
        )

    async def read(self, task: Task) -> Sketch:
        """The sketch of a task; OrderRejected when an input is missing or no picture."""
        contents = [await self._get(reference, task) for reference in task.order.images]
        sources = list(zip(task.order.images, contents, strict=True))
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._sketch, sources, task)

    async def close(self) -> None:
        await self._http.aclose()

    async def _get(self, reference: str, task: Task) -> bytes | None:
        if reference.startswith("data:"):
            return _decode_data_uri(reference)
        if reference.startswith("oss://"):
            content = self._shelf.find(reference, task.lane)
            if content is None:
                raise _not_fetched(reference)
            return content
        content = await self._fetch(reference)
        if content is None and self._options.strict_inputs:
            raise _not_fetched(reference)
        return content

    async def _fetch(self, url: str) -> bytes | None:
        """The body behind a URL; None when it cannot be had or is too big."""
        content = bytearray()
        try:
            async with (
                asyncio.timeout(self._options.fetch_timeout_seconds),
                self._http.stream("GET", url) as response,
            ):
                response.raise_for_status()
                async for chunk in response.aiter_bytes():
                    content += chunk
                    if len(content) > IMAGE_BYTES_LIMIT:
                        return None
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError):
            return None
        return bytes(content)

    def _sketch(self, sources: Sequence[tuple[str, bytes | None]], task: Task) -> Sketch:
        pictures = [
            draw_placeholder(url, self._options.font) if content is None else open_image(content)
            for url, content in sources
        ]
        return make_sketch(pictures, task.order.size)


def open_image(content: bytes) -> Image.Image:
    """The picture in the bytes, alpha dropped; OrderRejected outside the input limits."""
    low, high = IMAGE_SIDE_RANGE
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as picture:
            short, long = sorted(picture.size)
            if short < low or long > high or long > ASPECT_LIMIT * short:
                raise OrderRejected(_BAD_SIZE)
            return picture.convert("RGB")
    except Image.DecompressionBombError as bomb:
        raise OrderRejected(_BAD_SIZE) from bomb
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as broken:
        raise OrderRejected(_CORRUPT) from broken


def _decode_data_uri(text: str) -> bytes:
    head, _, payload = text.partition(",")
    if not head.endswith(";base64"):
        raise OrderRejected(_CORRUPT)
    try:
        return base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError) as broken:
        raise OrderRejected(_CORRUPT) from broken


def _not_fetched(reference: str) -> OrderRejected:
    return OrderRejected(Failure("InvalidParameter", f"Failed to download {reference}"))
