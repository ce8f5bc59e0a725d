"""The folder of a backup: a draft until it is whole, then its own name, never another's."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, ValidationError

from app.kit.errors import Conflict, InvalidRequest, NotFound, Unavailable

NOTE = "backup.json"
DUMP = "database.dump"
OBJECTS = "store"
LIST = "objects.sha256"
"""Of every object, as `sha256sum --check` reads it in the folder."""

READ_BYTES = 1024 * 1024
_LOCK = ".lock"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class DatabasePart(_Part):
    """What the dump holds, and what it takes to read it."""

    server_major: int
    program_major: int
    byte_count: int
    """What the database takes on its server."""
    dump_bytes: int
    dump_sha256: str
    revision: str
    rows: dict[str, int]


class StorePart(_Part):
    """What is here of the store; of a bucket nothing but its address and its mark."""

    url: str
    is_copied: bool
    id: UUID | None
    """In the store's mark; None of a store that was never used."""
    object_count: int = 0
    byte_count: int = 0
    list_sha256: str | None = None
    gone_count: int = 0
    """Input images whose time was over while the copy was made."""
    missing: tuple[str, ...] = ()
    """What the database promises, and the store did not have, or not whole."""


class Backup(_Part):
    """The note that makes a folder a backup."""

    format: Literal[1] = 1
    id: UUID
    made_at: datetime
    dashgate: str
    secrets: tuple[str, ...]
    """Fingerprints of the secrets that its keys were sealed and digested with."""
    database: DatabasePart
    store: StorePart


@contextmanager
def drafting(target: Path) -> Iterator[Path]:
    """A private folder that takes the target's name when all has gone well, and is gone if not.

    What a kill has left of an earlier draft goes. Raises Conflict and Unavailable.
    """
    if os.path.lexists(target):
        raise Conflict(f"{target} exists already and is left as it is: name another folder")
    if not target.parent.is_dir():
        raise NotFound(f"there is no folder {target.parent}: is a disk not mounted?")
    draft = target.with_name(f".{target.name}.draft")
    lock = _begin(draft, target)
    try:
        yield draft
        (draft / _LOCK).unlink()
        os.sync()
        draft.rename(target)
        _sync_folder(target.parent)
    except FileExistsError:
        raise Conflict(f"{target} has come up meanwhile and is left as it is") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        os.close(lock)


def _begin(draft: Path, target: Path) -> int:
    """Make the draft, ours alone for as long as the file that is returned stays open."""
    try:
        draft.mkdir(mode=0o700, exist_ok=True)
        lock = os.open(draft / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise Unavailable(f"{target} cannot be written: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise Conflict(f"another backup to {target} is under way") from None
    for entry in draft.iterdir():
        if entry.name == _LOCK:
            continue
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    return lock


def write_note(draft: Path, backup: Backup) -> None:
    path = draft / NOTE
    path.touch(mode=0o600)
    path.write_text(backup.model_dump_json(indent=2) + "\n")


def read_note(folder: Path) -> Backup:
    """Raises NotFound for what is no backup, InvalidRequest for one that cannot be read."""
    try:
        text = (folder / NOTE).read_text()
    except OSError as error:
        raise NotFound(f"{folder} is no backup: {NOTE} in it: {error.strerror}") from None
    try:
        return Backup.model_validate_json(text)
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, fault["loc"]))
        raise InvalidRequest(
            f"{folder / NOTE} cannot be read: {where}: {fault['msg']}. It was altered, or a "
            "newer Dashgate has written it"
        ) from None


def check_whole(folder: Path, backup: Backup) -> None:
    """Raises InvalidRequest unless dump and list are as they were written."""
    _check_file(folder / DUMP, backup.database.dump_sha256)
    if backup.store.list_sha256 is not None:
        _check_file(folder / LIST, backup.store.list_sha256)


def hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_file(path: Path, sha256: str) -> None:
    try:
        found = hash_file(path)
    except OSError as error:
        raise InvalidRequest(
            f"the backup is damaged: {path} cannot be read: {error.strerror}"
        ) from None
    if found != sha256:
        raise InvalidRequest(f"the backup is damaged: {path} has another checksum than noted")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
