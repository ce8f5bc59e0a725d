"""Where pictures are kept: a folder with synced writes, or a bucket of S3 or Alibaba OSS."""

import asyncio
import errno
import os
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import LocalStore, ObjectStore, S3Store

from app.kit.errors import NotFound, Unavailable
from app.media.durable import make_root, sweep_incoming, write_durably

if TYPE_CHECKING:
    from obstore.store import S3Config

LEFTOVER_AGE_SECONDS = 3600.0
CONNECT_SECONDS = 5
REQUEST_SECONDS = 60
RETRY_SECONDS = 30
RETRIES_COUNT = 3
CHUNK_BYTES = 256 * 1024

_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_OSS_SUFFIX = ".aliyuncs.com"
_ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_DISK_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EACCES: "this process has no right to it; check owner and mode of the folder",
    errno.EPERM: "this process has no right to it; check owner and mode of the folder",
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
    """Bytes by key. Every method raises StoreUnavailable when the store is in trouble."""

    def __init__(self, objects: ObjectStore, name: str, *, folder: Path | None = None) -> None:
        self._objects = objects
        self._name = name
        self._folder = folder
        self._settled: set[Path] = set()

    def __repr__(self) -> str:
        return f"PictureStore({self._name})"

    async def put(self, key: str, content: bytes) -> None:
        """Returns when the content would survive a power cut."""
        _check_key(key)
        with self._trouble("write"):
            if self._folder is None:
                await obstore.put_async(self._objects, key, content, use_multipart=False)
            else:
                await asyncio.to_thread(write_durably, self._folder, key, content, self._settled)

    async def get(self, key: str) -> bytes:
        """The whole content; raises PictureMissing."""
        _check_key(key)
        with self._trouble("read", key):
            found = await obstore.get_async(self._objects, key)
            return (await found.bytes_async()).to_bytes()

    async def stream(self, key: str) -> AsyncIterator[bytes]:
        """The content in chunks; raises PictureMissing before the first, not within."""
        _check_key(key)
        with self._trouble("read", key):
            found = await obstore.get_async(self._objects, key)
        return self._chunks(found)

    async def delete(self, key: str) -> None:
        """Deleting what is not there is no error."""
        _check_key(key)
        try:
            with self._trouble("delete", key):
                await obstore.delete_async(self._objects, key)
        except PictureMissing:
            return

    async def exists(self, key: str) -> bool:
        _check_key(key)
        try:
            with self._trouble("read", key):
                await obstore.head_async(self._objects, key)
        except PictureMissing:
            return False
        return True

    async def sweep_leftovers(self, older_than_seconds: float = LEFTOVER_AGE_SECONDS) -> int:
        """Remove what writes cut short by a crash left on disk; returns how many files."""
        if self._folder is None:
            return 0
        with self._trouble("sweep"):
            return await asyncio.to_thread(sweep_incoming, self._folder, older_than_seconds)

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


def open_store(url: str, environment: Mapping[str, str] = os.environ) -> PictureStore:
    """`file:///folder` or `s3://bucket/prefix`; ValueError says what is wrong with any other.

    S3 reads the usual AWS_* variables. Behind an Alibaba OSS endpoint the bucket is addressed
    in the host name, the only way OSS takes.
    """
    parts = urlsplit(url)
    if parts.scheme == "file" and not parts.netloc and re.match("/+[^/]", parts.path):
        return _open_folder(Path(unquote(parts.path)))
    if parts.scheme == "s3" and parts.netloc and "@" not in parts.netloc:
        return _open_bucket(parts.netloc, unquote(parts.path).strip("/"), environment)
    raise ValueError(
        "DASHGATE_STORE_URL must be file:///folder or s3://bucket/prefix, without credentials"
    )


def _open_folder(folder: Path) -> PictureStore:
    name = f"the picture store {folder}"
    try:
        make_root(folder)
    except OSError as error:
        raise StoreUnavailable(f"cannot make {name}: {_describe(error)}") from None
    return PictureStore(LocalStore(folder), name, folder=folder)


def _open_bucket(bucket: str, prefix: str, environment: Mapping[str, str]) -> PictureStore:
    endpoint = next(filter(None, map(environment.get, _ENDPOINT_VARIABLES)), "")
    store = S3Store(
        bucket,
        prefix=prefix or None,
        config=_address(bucket, endpoint),
        client_options={
            "timeout": timedelta(seconds=REQUEST_SECONDS),
            "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
            "allow_http": endpoint.startswith("http://"),
        },
        retry_config={
            "max_retries": RETRIES_COUNT,
            "retry_timeout": timedelta(seconds=RETRY_SECONDS),
        },
    )
    return PictureStore(store, f"the picture store s3://{bucket}/{prefix}".rstrip("/"))


def _address(bucket: str, endpoint: str) -> "S3Config":
    """What the environment leaves open; OSS has no bulk deletion and no bucket in the path."""
    scheme, _, host = endpoint.partition("://")
    if not (urlsplit(endpoint).hostname or "").endswith(_OSS_SUFFIX):
        return {"disable_bulk_delete": True}
    with_bucket = host if host.startswith(f"{bucket}.") else f"{bucket}.{host}"
    return {
        "disable_bulk_delete": True,
        "virtual_hosted_style_request": True,
        "aws_endpoint_url_s3": f"{scheme}://{with_bucket}",
    }


def _check_key(key: str) -> None:
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key!r} is no key of the picture store")


def _describe(error: Exception) -> str:
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return "access is denied; check the credentials and their rights"
    if isinstance(error, OSError) and error.errno in _DISK_REASONS:
        return _DISK_REASONS[error.errno]
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    # The first line without the answer's body: that repeats ids and signatures.
    line = str(error).partition("\n")[0].partition("<")[0]
    return line.rpartition(" - ")[2].strip(" :")[:200]
