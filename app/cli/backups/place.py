"""Where this machine's gateway keeps what is backed up: its database, its store, its secret."""

import os
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from app.cli.context import SECRET_KEY_FILE, open_vault
from app.embedded import EmbeddedPostgres
from app.kit.crypto import Vault
from app.kit.errors import InvalidRequest, Unavailable
from app.media.store import open_store
from app.settings import SettingMissing, Settings

MEGABYTE = 1000**2


class Room(NamedTuple):
    """Bytes that something will take below a folder, which need not be there yet."""

    folder: Path
    byte_count: int


@contextmanager
def opened_database(settings: Settings, *, makes_one: bool = False) -> Iterator[str]:
    """The URL of DATABASE_URL's database, else of the embedded one, which runs for as long.

    Raises SettingMissing when there is none and none is to be made.
    """
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
        return
    folder = settings.data_dir.resolve() / "postgres"
    if not makes_one and not folder.exists():
        settings.require_database_url()
    with EmbeddedPostgres(folder, pg_bin=settings.pg_bin) as postgres:
        yield postgres.ensure()


def find_store_folder(settings: Settings) -> Path | None:
    """The store's folder, which is not made; None for a bucket. Raises InvalidRequest."""
    url = settings.resolved_store_url()
    parts = urlsplit(url)
    if parts.scheme == "file" and not parts.netloc and parts.path.strip("/"):
        return Path(unquote(parts.path))
    if parts.scheme == "file":
        raise InvalidRequest("DASHGATE_STORE_URL must be file:///folder or s3://bucket/prefix")
    open_store(url)
    return None


def require_vault(settings: Settings) -> Vault:
    """Raises SettingMissing, which says whose secret is wanted."""
    try:
        return open_vault(settings)
    except SettingMissing:
        if settings.secret_key is not None:
            raise
        raise SettingMissing(
            "DASHGATE_SECRET_KEY is not set: give the secret that the gateway had; `up` keeps its "
            f"own in {settings.data_dir / SECRET_KEY_FILE}"
        ) from None


def require_room(rooms: Iterable[Room]) -> None:
    """Raises Unavailable when a disk has not enough of it, all that goes there together."""
    wanted: defaultdict[int, int] = defaultdict(int)
    free: dict[int, tuple[int, Path]] = {}
    for room in rooms:
        folder = _find_existing(room.folder)
        device = os.stat(folder).st_dev
        wanted[device] += room.byte_count
        free[device] = (shutil.disk_usage(folder).free, folder)
    for device, byte_count in wanted.items():
        free_bytes, folder = free[device]
        if byte_count > free_bytes:
            raise Unavailable(
                f"the disk of {folder} has {free_bytes / MEGABYTE:,.1f} MB free, and up to "
                f"{byte_count / MEGABYTE:,.1f} MB may be needed: make room, or use another disk"
            )


def _find_existing(folder: Path) -> Path:
    return next(one for one in (folder, *folder.parents) if one.is_dir())
