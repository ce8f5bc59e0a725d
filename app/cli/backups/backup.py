"""`backup`: the database and the store of one moment, written beside a gateway that runs."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from app import PROGRAM, __version__
from app.cli.backups.archive import (
    DUMP,
    LIST,
    Backup,
    DatabasePart,
    StorePart,
    drafting,
    hash_file,
    write_note,
)
from app.cli.backups.objects import Copied, Progress, save_objects
from app.cli.backups.place import (
    MEGABYTE,
    Room,
    find_store_folder,
    opened_database,
    require_room,
    require_vault,
)
from app.cli.backups.snapshot import Snapshot, find_promised, read_wanted, take_snapshot
from app.cli.context import explaining_database_trouble, load_settings
from app.cli.output import AsJson, count_of, print_json, say
from app.kit.clock import utc_now
from app.kit.errors import Unavailable
from app.kit.ids import make_uuid7
from app.media.mark import MARK_KEY, find_id
from app.settings import Settings

TOLD_COUNT = 5


def backup(
    *,
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="A new folder, which becomes the backup.")
    ],
    as_json: AsJson = False,
) -> None:
    """Back up the database and the store, also while the gateway runs; not the secret key."""
    settings, target = load_settings(), folder.absolute()
    fingerprints = require_vault(settings).fingerprints
    store_folder = find_store_folder(settings)
    with opened_database(settings) as url, drafting(target) as draft:
        made_at = utc_now()
        with explaining_database_trouble(url):
            snapshot = asyncio.run(take_snapshot(url, draft, settings.pg_bin))
        store = _save_store(settings, snapshot, store_folder, draft, url)
        made = Backup(
            id=make_uuid7(),
            made_at=made_at,
            dashgate=__version__,
            secrets=fingerprints,
            database=_describe_database(snapshot, draft),
            store=store,
        )
        write_note(draft, made)
    if as_json:
        print_json({"path": str(target), **made.model_dump(mode="json")})
    _tell(target, made)
    if store.missing:
        lacking = count_of(len(store.missing), "object")
        raise Unavailable(
            f"the backup in {target} can be restored, but it lacks {lacking} that the database "
            f"promises and the store does not have whole: {_shorten(store.missing)}. The store "
            "itself is damaged: see to it"
        )


def _save_store(
    settings: Settings, snapshot: Snapshot, folder: Path | None, draft: Path, url: str
) -> StorePart:
    address = settings.resolved_store_url()
    if folder is None:
        for _ in read_wanted(draft):
            continue
        return StorePart(url=address, is_copied=False, id=snapshot.store_id)
    _check_mark(folder, snapshot.store_id)
    require_room([Room(draft, snapshot.object_bytes)])
    say(
        f"Copying {count_of(snapshot.object_count, 'object')} of the store "
        f"({snapshot.object_bytes / MEGABYTE:,.1f} MB) ..."
    )
    progress = Progress(snapshot.object_count, snapshot.object_bytes)
    copied = save_objects(folder, draft, read_wanted(draft), progress)
    missing = sorted([*_find_missing(copied, url), *copied.damaged])
    return StorePart(
        url=address,
        is_copied=True,
        id=snapshot.store_id,
        object_count=copied.object_count,
        byte_count=copied.byte_count,
        list_sha256=hash_file(draft / LIST),
        gone_count=len(copied.absent) + len(copied.damaged) - len(missing),
        missing=tuple(missing),
    )


def _find_missing(copied: Copied, url: str) -> list[str]:
    """An object that is gone is missing only while a row still promises it."""
    if not copied.absent:
        return []
    with explaining_database_trouble(url):
        return asyncio.run(find_promised(url, copied.absent))


def _check_mark(folder: Path, store_id: UUID | None) -> None:
    """An empty mount point, or another store, would make a backup without pictures."""
    try:
        found = find_id((folder / MARK_KEY).read_bytes())
    except OSError:
        found = None
    if found != store_id:
        raise Unavailable(
            f"the picture store {folder} does not have the mark of this database's store "
            f"({MARK_KEY}): it is not mounted, or it is another one. Check DASHGATE_STORE_URL"
        )


def _describe_database(snapshot: Snapshot, draft: Path) -> DatabasePart:
    return DatabasePart(
        server_major=snapshot.server_major,
        program_major=snapshot.program_major,
        byte_count=snapshot.byte_count,
        dump_bytes=(draft / DUMP).stat().st_size,
        dump_sha256=hash_file(draft / DUMP),
        revision=snapshot.revision,
        rows=snapshot.rows,
    )


def _tell(target: Path, made: Backup) -> None:
    rows, store = made.database.rows, made.store
    say(
        f"The backup is whole: {target} ({count_of(rows['teams'], 'team')}, "
        f"{count_of(rows['jobs'], 'job')}, {count_of(rows['pictures'], 'picture')})."
    )
    if not store.is_copied:
        say(
            f"The pictures are not in it: they stay in {store.url}. Back that bucket up by its "
            "own means (versions, replication), after this command and not before."
        )
    if store.gone_count:
        say(
            f"{count_of(store.gone_count, 'input image')} went while the copy was made: the time "
            "of such images is limited."
        )
    say(
        "THE SECRET KEY IS NOT IN IT (DASHGATE_SECRET_KEY; of `up`, the file secret_key in its "
        "data folder). Keep it somewhere else: without it nobody's key works after a restore."
    )
    say(f"To restore it: {PROGRAM} restore {target}")


def _shorten(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - TOLD_COUNT} more" if len(keys) > TOLD_COUNT else ""
    return ", ".join(keys[:TOLD_COUNT]) + more
