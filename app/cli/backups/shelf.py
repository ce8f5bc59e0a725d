"""The folder of a store that a backup is restored into: filled, and as it was if that fails."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from uuid import UUID

from app.cli.backups.archive import Backup
from app.cli.backups.objects import Progress, bring_objects, make_private
from app.kit.errors import Conflict
from app.media.mark import MARK_KEY, find_id

NAMES = ("inputs", "pictures", MARK_KEY)
"""All that a store holds; what else is in its folder is left alone."""
_ASIDE = ".before-restore"


class Filling(StrEnum):
    """What becomes of what is there."""

    FRESH = "fresh"
    """Nothing is there."""
    ADDING = "adding"
    """The store that was backed up: what it lacks is added, and nothing goes."""
    REPLACING = "replacing"
    """The store of the database that is replaced: it goes with it."""


def choose_filling(folder: Path, backup_id: UUID | None, replaced_id: UUID | None) -> Filling:
    """Raises Conflict for a store that is neither the backup's nor the replaced database's."""
    if not any((folder / name).exists() for name in NAMES):
        return Filling.FRESH
    try:
        found = find_id((folder / MARK_KEY).read_bytes())
    except FileNotFoundError:
        found = None
    if found is not None and found == backup_id:
        return Filling.ADDING
    if found is not None and found == replaced_id:
        return Filling.REPLACING
    raise Conflict(
        f"the store {folder} is not empty, and is not the one that was backed up: empty it, or "
        "set DASHGATE_STORE_URL to another folder"
    )


@contextmanager
def filled_store(folder: Path, source: Path, backup: Backup, filling: Filling) -> Iterator[None]:
    """Bring the objects, do the rest, and only then let go what was there before."""
    make_private(folder, set())
    aside = folder / _ASIDE
    if filling is Filling.REPLACING:
        aside.mkdir(mode=0o700)
        for name in NAMES:
            if (folder / name).exists():
                (folder / name).rename(aside / name)
    try:
        if backup.store.id is not None:
            _write_mark(folder / MARK_KEY, backup.store.id)
        bring_objects(source, folder, Progress(backup.store.object_count, backup.store.byte_count))
        yield
    except BaseException:
        if filling is not Filling.ADDING:
            _put_back(folder)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def settle_earlier(folder: Path, *, is_unfinished: bool) -> None:
    """What a kill has left of an earlier restore: undone, or done with."""
    aside = folder / _ASIDE
    if aside.exists() and is_unfinished:
        _put_back(folder)
    shutil.rmtree(aside, ignore_errors=True)


def _put_back(folder: Path) -> None:
    for name in NAMES:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        if (folder / _ASIDE / name).exists():
            (folder / _ASIDE / name).rename(path)
    shutil.rmtree(folder / _ASIDE, ignore_errors=True)


def _write_mark(path: Path, store_id: UUID) -> None:
    path.touch(mode=0o600)
    path.write_text(f"{store_id}\n")
