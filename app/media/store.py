"""Where pictures are kept: a folder with synced writes, or a bucket of S3 or Alibaba OSS."""

import asyncio
import errno
import os
import re
import shlex
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import LocalStore, ObjectStore

from app.kit.errors import InvalidRequest, NotFound, Unavailable
from app.media.bucket import open_bucket
from app.media.durable import make_incoming, make_root, sweep_incoming, write_durably
from app.media.mark import MARK_KEY, RegisterLost, StoreEntry, StoreRegister, find_id

LEFTOVER_AGE_SECONDS = 3600.0
CHUNK_BYTES = 256 * 1024
MARK_SECONDS = 1.0
"""How long a bucket's mark is believed; a folder's, which costs nothing, is read each time."""

_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_NAME_START = "the picture store "
_DISK_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EACCES: "this process has no right to it; check owner and mode of the folder",
    errno.EPERM: "this process has no right to it; check owner and mode of the folder",
    errno.EIO: "the disk reports an input/output error; check the device",
    errno.EROFS: "the disk is mounted read-only",
}


class PictureMissing(NotFound):
    code = "picture_missing"


class StoreUnavailable(Unavailable):
    """The store's trouble, not the picture's: keep the work and try again later."""

    code = "store_unavailable"


def content_key(kind: Literal["inputs", "pictures"], sha256: str) -> str:
    """`inputs/ab/cd/abcd...`: the key of content by its own SHA-256 in hex."""
    return f"{kind}/{sha256[:2]}/{sha256[2:4]}/{sha256}"


class PictureStore:
    """Bytes by key. Every method raises StoreUnavailable when the store is in trouble.

    With a register, nothing is written, deleted or called missing unless the store's mark can be
    read and is the one that the register knows: an empty mount point is no store.
    """

    def __init__(
        self,
        objects: ObjectStore,
        name: str,
        *,
        folder: Path | None = None,
        register: StoreRegister | None = None,
    ) -> None:
        self._objects = objects
        self._name = name
        self._folder = folder
        self._register = register
        self._entry: StoreEntry | None = None
        self._checked_at = float("-inf")
        self._checking = asyncio.Lock()
        self._settled: set[Path] = set()

    def __repr__(self) -> str:
        return f"PictureStore({self._name})"

    async def put(self, key: str, content: bytes) -> None:
        """Returns when the content would survive a power cut."""
        _check_key(key)
        await self.require_mark()
        await self._write(key, content)

    async def get(self, key: str) -> bytes:
        """The whole content; raises PictureMissing."""
        found = await self._find(key)
        with self._trouble("read"):
            return (await found.bytes_async()).to_bytes()

    async def stream(self, key: str) -> AsyncIterator[bytes]:
        """The content in chunks; raises PictureMissing before the first, not within."""
        return self._chunks(await self._find(key))

    async def delete(self, key: str) -> None:
        """Deleting what is not there is no error."""
        _check_key(key)
        await self.require_mark()
        try:
            with self._trouble("delete", key):
                await obstore.delete_async(self._objects, key)
        except PictureMissing:
            await self.require_mark(max_age_seconds=0)

    async def sweep_leftovers(self, older_than_seconds: float = LEFTOVER_AGE_SECONDS) -> int:
        """Remove what writes cut short by a crash left on disk; returns how many files."""
        if self._folder is None:
            return 0
        await self.require_mark()
        with self._trouble("sweep"):
            return await asyncio.to_thread(sweep_incoming, self._folder, older_than_seconds)

    async def require_mark(self, *, max_age_seconds: float = MARK_SECONDS) -> None:
        """Raises StoreUnavailable unless this is the store that the register knows.

        A store that was never marked is marked now, if nothing that it should hold is missing.
        """
        if self._register is None:
            return
        age_seconds = 0 if self._folder is not None else max_age_seconds
        good_from = time.monotonic() - age_seconds
        if self._checked_at > good_from:
            return
        async with self._checking:
            if self._checked_at > good_from:
                return
            began_at = time.monotonic()
            try:
                await self._check_mark(self._register)
            except RegisterLost as error:
                raise StoreUnavailable(
                    f"cannot tell whether {self._name} is the right one: the database cannot be "
                    f"asked for its id ({error})"
                ) from None
            self._checked_at = began_at

    async def _check_mark(self, register: StoreRegister) -> None:
        entry = self._entry or await register.load()
        found = find_id(await self._read_mark())
        if not entry.is_marked and found != entry.id:
            promised = await register.list_promised()
            if promised and not await self._holds_any(promised):
                raise self._wrong_store(entry)
            if found is None:
                await self._make_mark(entry)
        elif found != entry.id:
            raise self._wrong_store(entry)
        if not entry.is_marked:
            await register.note_marked(found or entry.id)
            entry = await register.load()
            if entry.id != (found or entry.id):
                raise self._wrong_store(entry)
        self._entry = entry
        if self._folder is not None:
            with self._trouble("write"):
                make_incoming(self._folder)

    async def _read_mark(self) -> bytes | None:
        try:
            with self._trouble("read the mark", MARK_KEY):
                found = await obstore.get_async(self._objects, MARK_KEY)
                return (await found.bytes_async()).to_bytes()
        except PictureMissing:
            return None

    async def _make_mark(self, entry: StoreEntry) -> None:
        if self._folder is not None:
            with self._trouble("write"):
                make_incoming(self._folder)
        await self._write(MARK_KEY, f"{entry.id}\n".encode())

    async def _holds_any(self, keys: Sequence[str]) -> bool:
        for key in keys:
            try:
                with self._trouble("read", key):
                    await obstore.head_async(self._objects, key)
            except PictureMissing:
                continue
            return True
        return False

    def _wrong_store(self, entry: StoreEntry) -> StoreUnavailable:
        place = self._name.removeprefix(_NAME_START)
        target = shlex.quote(f"{place}/{MARK_KEY}")
        way = f"> {target}" if self._folder is not None else f"| aws s3 cp - {target}"
        return StoreUnavailable(
            f"{self._name} does not have the mark of this database's store ({MARK_KEY}): it is "
            "not mounted, it is another one, or it was emptied. Mount or restore the right one; "
            "or, to go on with this one and without the pictures that it lacks, mark it: "
            f"echo {entry.id} {way}"
        )

    async def _write(self, key: str, content: bytes) -> None:
        with self._trouble("write"):
            if self._folder is None:
                await obstore.put_async(self._objects, key, content, use_multipart=False)
            else:
                await asyncio.to_thread(write_durably, self._folder, key, content, self._settled)

    async def _find(self, key: str) -> "obstore.GetResult":
        """Missing is believed of a marked store only, and only when it is missing twice.

        In between the store may have been mounted, or unmounted.
        """
        _check_key(key)
        try:
            with self._trouble("read", key):
                return await obstore.get_async(self._objects, key)
        except PictureMissing:
            if self._register is None:
                raise
        await self.require_mark(max_age_seconds=0)
        try:
            with self._trouble("read", key):
                return await obstore.get_async(self._objects, key)
        except PictureMissing:
            await self.require_mark(max_age_seconds=0)
            raise

    async def _chunks(self, found: "obstore.GetResult") -> AsyncIterator[bytes]:
        with self._trouble("read"):
            async for chunk in found.stream(min_chunk_size=CHUNK_BYTES):
                yield bytes(chunk)

    @contextmanager
    def _trouble(self, action: str, key: str | None = None) -> Iterator[None]:
        try:
            yield
        except (BaseError, OSError) as error:
            if key and self._is_missing(error):
                raise PictureMissing(f"{self._name} holds no {key}") from None
            reason = _describe(error)
            raise StoreUnavailable(f"cannot {action} in {self._name}: {reason}") from None

    def _is_missing(self, error: Exception) -> bool:
        # A bucket or disk that is gone looks like a missing object, and would be believed.
        if not isinstance(error, FileNotFoundError) or "NoSuchBucket" in str(error):
            return False
        return self._folder is None or self._folder.is_dir()


def open_store(
    url: str,
    environment: Mapping[str, str] = os.environ,
    *,
    register: StoreRegister | None = None,
) -> PictureStore:
    """`file:///folder` or `s3://bucket/prefix`; InvalidRequest says what is wrong with any other.

    S3 reads the usual AWS_* variables. A store without a register is believed whatever it says.
    """
    parts = urlsplit(url)
    if parts.scheme == "file" and not parts.netloc and re.match("/+[^/]", parts.path):
        return _open_folder(Path(unquote(parts.path)), register)
    if parts.scheme == "s3" and parts.netloc and "@" not in parts.netloc:
        bucket, prefix = parts.netloc, unquote(parts.path).strip("/")
        name = f"{_NAME_START}s3://{bucket}/{prefix}".rstrip("/")
        return PictureStore(open_bucket(bucket, prefix, environment), name, register=register)
    raise InvalidRequest(
        "DASHGATE_STORE_URL must be file:///folder or s3://bucket/prefix, without credentials"
    )


def _open_folder(folder: Path, register: StoreRegister | None) -> PictureStore:
    name = f"{_NAME_START}{folder}"
    try:
        make_root(folder)
        if register is None:
            make_incoming(folder)
    except OSError as error:
        raise StoreUnavailable(f"cannot make {name}: {_describe(error)}") from None
    return PictureStore(LocalStore(folder), name, folder=folder, register=register)


def _check_key(key: str) -> None:
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key!r} is no key of the picture store")


def _describe(error: Exception) -> str:
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return (
            "access is denied; check the credentials and their rights: to read, write and delete "
            "objects, and to list the bucket, without which a missing object looks denied"
        )
    if isinstance(error, OSError) and error.errno in _DISK_REASONS:
        return _DISK_REASONS[error.errno]
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    # The first line without the answer's body: that repeats ids and signatures.
    line = str(error).partition("\n")[0].partition("<")[0]
    return line.rpartition(" - ")[2].strip(" :")[:200]
