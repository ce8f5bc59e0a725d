"""Writing to disk so that a reader sees all or nothing, before and after a power cut."""

import os
from pathlib import Path
from secrets import token_hex

from app.kit.clock import utc_now

INCOMING = ".incoming"


def make_root(root: Path) -> None:
    """A private folder; an existing one keeps its mode."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)


def make_incoming(root: Path) -> None:
    """The place for writes under way; raises OSError when the root is not there."""
    (root / INCOMING).mkdir(mode=0o700, exist_ok=True)


def write_durably(root: Path, key: str, content: bytes, settled: set[Path] | None = None) -> None:
    """Returns when content and name are on the disk; raises OSError and leaves nothing.

    The root must exist: an unmounted disk is an error, not a fresh start. `settled` remembers
    which folders' own names are on the disk, so that each is synced once and not every time.
    """
    settled = set() if settled is None else settled
    incoming = root / INCOMING / token_hex(16)
    folders = _folders_to(root, (root / key).parent)
    try:
        _write_synced(incoming, content)
        for folder in folders[1:]:
            _make_folder(folder, settled)
        incoming.rename(root / key)
    except OSError:
        incoming.unlink(missing_ok=True)
        raise
    _sync_folder(folders[-1])
    # Also those found there: their maker may not have synced them yet.
    for folder in reversed(folders[1:]):
        if folder not in settled:
            _sync_folder(folder.parent)
            settled.add(folder)


def sweep_incoming(root: Path, older_than_seconds: float) -> int:
    """Remove the files of writes that a crash cut short; returns how many.

    What cannot be removed keeps none of the others; its OSError is raised at the end.
    """
    before = utc_now().timestamp() - older_than_seconds
    swept = 0
    trouble: OSError | None = None
    for path in (root / INCOMING).iterdir():
        try:
            if path.stat().st_mtime < before:
                path.unlink()
                swept += 1
        except FileNotFoundError:
            continue
        except OSError as error:
            trouble = error
    if trouble is not None:
        raise trouble
    return swept


def _folders_to(root: Path, folder: Path) -> list[Path]:
    segments = folder.relative_to(root).parts
    return [root.joinpath(*segments[:depth]) for depth in range(len(segments) + 1)]


def _make_folder(folder: Path, settled: set[Path]) -> None:
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        return
    settled.discard(folder)


def _write_synced(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
