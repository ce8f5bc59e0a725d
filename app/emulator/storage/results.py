"""Finished pictures behind signed links that expire, as OSS serves them."""

import asyncio
import hashlib
import math
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from datetime import datetime, timedelta
from urllib.parse import urlencode

from app.dashscope.payloads import UPSTREAM_ZONE
from app.emulator.options import EmulatorOptions
from app.emulator.pictures.draw import Sketch, Stroke, draw_picture
from app.emulator.storage.signing import SIGNATURE_MISMATCH, StorageRefused, sign
from app.emulator.tasks import Task, TaskBoard
from app.kit.clock import Clock

_ACCESS_KEY_ID = "LTAI5tEmulatorResults"
_CACHED_PICTURES = 24
_UUID_LENGTH = 36


class ResultStore:
    """Draws pictures when they are fetched, and signs and checks the links to them.

    `on_drawn` is told of every picture drawn, its index and its SHA-256 in hex.
    """

    def __init__(
        self,
        options: EmulatorOptions,
        clock: Clock,
        board: TaskBoard,
        executor: Executor,
        *,
        on_drawn: Callable[[Task, int, str], None],
    ) -> None:
        self._options = options
        self._clock = clock
        self._board = board
        self._executor = executor
        self._on_drawn = on_drawn
        self._secret = secrets.token_bytes(32)
        self._drawn: OrderedDict[str, bytes] = OrderedDict()

    def make_urls(self, task: Task, root: str) -> list[str]:
        """The links of the delivered pictures in order; repeated when a fault says so."""
        delivered = [k for k, failure in enumerate(task.outcomes) if failure is None]
        if task.find_fault("duplicate_url"):
            delivered = delivered[:1] * len(delivered)
        return [self._make_url(task, index, root) for index in delivered]

    def find_task(self, path: str) -> Task | None:
        """The task whose picture is at that path, if it is remembered."""
        return self._board.find(path.rpartition("/")[2][:_UUID_LENGTH])

    async def get(self, path: str, query: Mapping[str, str]) -> bytes:
        """The PNG at a link; StorageRefused when it is not signed, expired or purged."""
        self._check_signature(path, query)
        task, index = self.find_task(path), _read_index(path)
        if task is None or index is None or _make_path(task, index) != path:
            raise StorageRefused(404, "NoSuchKey", "The specified key does not exist.")
        return await self._draw(task, index, path)

    async def _draw(self, task: Task, index: int, path: str) -> bytes:
        known = self._drawn.get(path)
        if known is not None:
            return known
        assert task.sketch is not None
        order = task.order
        stroke = Stroke(
            order.prompt, task.seed + index, index, order.watermark, self._options.font
        )
        loop = asyncio.get_running_loop()
        png, digest = await loop.run_in_executor(
            self._executor, _draw_and_digest, task.sketch, stroke
        )
        self._on_drawn(task, index, digest)
        self._drawn[path] = png
        if len(self._drawn) > _CACHED_PICTURES:
            self._drawn.popitem(last=False)
        return png

    def _make_url(self, task: Task, index: int, root: str) -> str:
        assert task.ended_at is not None
        path = _make_path(task, index)
        ttl_seconds = self._options.url_ttl_seconds
        if ttl_seconds is None:
            ttl_seconds = self._options.ttl_seconds
        expires_at = task.ended_at + timedelta(seconds=ttl_seconds)
        expires = str(math.ceil(expires_at.timestamp()))
        query = {
            "Expires": expires,
            "OSSAccessKeyId": _ACCESS_KEY_ID,
            "Signature": self._sign(path, expires),
        }
        return f"{root}{path}?{urlencode(query)}"

    def _check_signature(self, path: str, query: Mapping[str, str]) -> None:
        expires, signature = query.get("Expires", ""), query.get("Signature", "")
        if not expires.isdigit() or not signature:
            message = "You have no right to access this object because of bucket acl."
            raise StorageRefused(403, "AccessDenied", message)
        if datetime.fromtimestamp(int(expires), UPSTREAM_ZONE) <= self._clock():
            raise StorageRefused(403, "AccessDenied", "Request has expired.")
        if not secrets.compare_digest(self._sign(path, expires), signature):
            raise StorageRefused(403, "SignatureDoesNotMatch", SIGNATURE_MISMATCH)

    def _sign(self, path: str, expires: str) -> str:
        return sign(self._secret, f"GET\n\n\n{expires}\n{path}")


def _draw_and_digest(sketch: Sketch, stroke: Stroke) -> tuple[bytes, str]:
    png = draw_picture(sketch, stroke)
    return png, hashlib.sha256(png).hexdigest()


def _make_path(task: Task, index: int) -> str:
    assert task.ended_at is not None
    digest = hashlib.sha256(task.task_id.encode()).hexdigest()
    day = task.ended_at.astimezone(UPSTREAM_ZONE).strftime("%Y%m%d")
    folder = f"/results/{digest[:2]}/{digest[2:4]}/{day}/{digest[4:12]}"
    return f"{folder}/{task.task_id}-{index + 1}.png"


def _read_index(path: str) -> int | None:
    number = path.rpartition("/")[2][_UUID_LENGTH + 1 :].removesuffix(".png")
    return int(number) - 1 if number.isdecimal() else None
