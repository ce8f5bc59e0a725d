"""Copies the store's objects, each against its checksum, into a backup and out of it."""

import hashlib
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from app.cli.backups.archive import LIST, OBJECTS, READ_BYTES
from app.cli.output import say
from app.kit.errors import InvalidRequest

PROGRESS_SECONDS = 5.0
GIGABYTE = 1000**3

_KEY = re.compile(r"(?:inputs|pictures)(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)+")


class Wanted(NamedTuple):
    """An object that the database promises."""

    sha256: str
    byte_count: int
    key: str


@dataclass(slots=True)
class Copied:
    """What became of a store's objects."""

    object_count: int = 0
    byte_count: int = 0
    absent: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)


class Progress:
    """Says every few seconds how far the copy is."""

    def __init__(self, object_count: int, byte_count: int) -> None:
        self._totals = (object_count, byte_count)
        self._objects = self._bytes = 0
        self._said_at = time.monotonic()

    def add(self, byte_count: int) -> None:
        self._objects += 1
        self._bytes += byte_count
        if time.monotonic() - self._said_at >= PROGRESS_SECONDS:
            self._said_at = time.monotonic()
            objects, whole = self._totals
            say(
                f"  {self._objects:,} of {objects:,} objects, "
                f"{self._bytes / GIGABYTE:.2f} of {whole / GIGABYTE:.2f} GB"
            )


def save_objects(store: Path, draft: Path, wanted: Iterator[Wanted], progress: Progress) -> Copied:
    """Copy what is wanted into the draft, with its list; what is not there, or not whole, is told.

    An object is never changed under its key, so that no copy of one is half old and half new.
    """
    copied, folders = Copied(), set[Path]()
    with open_private(draft / LIST) as objects_list:
        for one in wanted:
            target = draft / OBJECTS / one.key
            try:
                sha256 = copy_hashed(store / one.key, target, folders)
            except FileNotFoundError:
                copied.absent.append(one.key)
                continue
            if sha256 != one.sha256:
                target.unlink()
                copied.damaged.append(one.key)
                continue
            objects_list.write(f"{sha256}  {OBJECTS}/{one.key}\n".encode())
            copied.object_count += 1
            copied.byte_count += one.byte_count
            progress.add(one.byte_count)
    return copied


def bring_objects(backup: Path, store: Path, progress: Progress) -> None:
    """Copy every object of a backup into the store, but those that are there and whole.

    Raises InvalidRequest when one is not as it was written.
    """
    folders = set[Path]()
    for sha256, key in read_list(backup / LIST):
        target = store / key
        if not _is_whole(target, sha256):
            draft = target.with_name(f"{target.name}.restoring")
            try:
                found = copy_hashed(backup / OBJECTS / key, draft, folders)
            except FileNotFoundError:
                found = "none"
            if found != sha256:
                draft.unlink(missing_ok=True)
                raise InvalidRequest(
                    f"the backup is damaged: {backup / OBJECTS / key} is not there, or has "
                    "another checksum than noted"
                )
            draft.rename(target)
        progress.add(target.stat().st_size)
    os.sync()


def read_list(path: Path) -> Iterator[tuple[str, str]]:
    """Checksum and key of each object."""
    with path.open() as lines:
        for line in lines:
            sha256, _, name = line.rstrip("\n").partition("  ")
            key = name.removeprefix(f"{OBJECTS}/")
            if not _KEY.fullmatch(key):
                raise InvalidRequest(f"the backup is damaged: {path} names {key[:80]!r}")
            yield sha256, key


def copy_hashed(source: Path, target: Path, folders: set[Path]) -> str:
    """Copy a file, private, and return the SHA-256 of what was copied.

    `folders` remembers those that were made. Raises FileNotFoundError for a source that is gone.
    """
    digest = hashlib.sha256()
    with source.open("rb") as reader:
        make_private(target.parent, folders)
        with open_private(target) as writer:
            while chunk := reader.read(READ_BYTES):
                digest.update(chunk)
                writer.write(chunk)
    return digest.hexdigest()


def make_private(folder: Path, folders: set[Path]) -> None:
    """Make a folder and those above it that are not there, for nobody but ourselves."""
    if folder in folders or folder.is_dir():
        folders.add(folder)
        return
    make_private(folder.parent, folders)
    folder.mkdir(mode=0o700, exist_ok=True)
    folders.add(folder)


def _is_whole(path: Path, sha256: str) -> bool:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except FileNotFoundError:
        return False


def open_private(path: Path) -> BinaryIO:
    """A file to write that nobody else may read."""
    return open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600))
