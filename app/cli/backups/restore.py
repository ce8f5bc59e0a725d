"""`restore`: a backup into an empty database and store, or in the place of what is there."""

import asyncio
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from app import PROGRAM
from app.audit.record import note_audit
from app.cli.backups.archive import Backup, check_whole, read_note
from app.cli.backups.place import (
    MEGABYTE,
    Room,
    find_store_folder,
    opened_database,
    require_room,
    require_vault,
)
from app.cli.backups.shelf import choose_filling, filled_store, settle_earlier
from app.cli.backups.target import (
    Found,
    check_revision,
    finish,
    load,
    look,
    open_target,
    replaced_schema,
    require_quiet,
)
from app.cli.bootstrap import prepare_database
from app.cli.context import explaining_database_trouble, load_settings, who_acts
from app.cli.local.machine import only_one
from app.cli.output import AsJson, Yes, confirm, count_of, print_json, say
from app.embedded import Program, find_program
from app.jobs.moves.restored import end_leases, hold_jobs
from app.kit.crypto import Vault
from app.kit.errors import Conflict, InvalidRequest
from app.kit.postgres.database import Connection
from app.settings import Settings


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be restored, and what may be done for it."""

    folder: Path
    backup: Backup
    may_replace: bool
    is_agreed: bool
    lets_go: bool


def restore(
    *,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="What `backup` has made.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Delete what the database and its store hold now.")
    ] = False,
    nothing_sent: Annotated[
        bool,
        typer.Option(
            "--nothing-sent",
            help="Nothing was sent after the backup: let its queued jobs go by themselves.",
        ),
    ] = False,
    other_secret: Annotated[
        bool,
        typer.Option(
            "--other-secret", help="Restore under another secret key; no key works any more."
        ),
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Restore a backup; what it had on its way is held until a person lets it go."""
    settings = load_settings()
    backup = read_note(folder)
    _check_secret(backup, require_vault(settings), may_differ=other_secret)
    check_revision(backup.database.revision)
    store_folder = _check_store_kind(settings, backup)
    say("Checking the backup ...")
    check_whole(folder, backup)
    wish = Wish(folder.absolute(), backup, replace, yes, nothing_sent)
    with ExitStack() as stack:
        if settings.database_url is None:
            stack.enter_context(only_one(settings.data_dir.resolve()))
        url = stack.enter_context(opened_database(settings, makes_one=True))
        held = _restore(settings, wish, url, store_folder)
    if as_json:
        print_json({"path": str(folder), "held": held, **backup.model_dump(mode="json")})
    _tell(backup, held, is_other_secret=other_secret)


def _restore(settings: Settings, wish: Wish, url: str, store_folder: Path | None) -> int:
    """Returns how many jobs wait for a person; undone as a whole if anything fails."""
    with asyncio.Runner() as runner, ExitStack() as stack:
        with explaining_database_trouble(url):
            connection = runner.run(open_target(url))
            stack.callback(connection.terminate)
            found = runner.run(look(connection))
        program = _find_program(settings, wish.backup, found)
        _check_content(wish, found)
        if store_folder is not None:
            settle_earlier(store_folder, is_unfinished=found.is_unfinished)
            filling = choose_filling(
                store_folder,
                wish.backup.store.id,
                found.store_id if wish.may_replace else None,
            )
        _check_room(settings, wish.backup, store_folder)
        _ask(wish, found)
        if store_folder is not None:
            objects = count_of(wish.backup.store.object_count, "object")
            say(f"Bringing {objects} into {store_folder} ...")
            stack.enter_context(filled_store(store_folder, wish.folder, wish.backup, filling))
        say("Loading the database ...")
        with explaining_database_trouble(url):
            held = runner.run(_load(connection, program, wish, url, found))
    with explaining_database_trouble(url):
        asyncio.run(prepare_database(url))
    return held


async def _load(
    connection: Connection, program: Program, wish: Wish, url: str, found: Found
) -> int:
    await require_quiet(connection)
    async with replaced_schema(connection, is_unfinished=found.is_unfinished):
        await load(connection, program, wish.folder, wish.backup, url)
        await connection.execute("analyze")
        async with connection.transaction():
            await end_leases(connection)
            held = 0 if wish.lets_go else await hold_jobs(connection)
            await note_audit(
                connection,
                actor=who_acts(),
                action="database.restored",
                subject_kind="backup",
                subject_id=wish.backup.id,
                detail={"made_at": wish.backup.made_at.isoformat(), "held_jobs": held},
            )
            await finish(connection, wish.backup.database.revision)
    return held


def _check_secret(backup: Backup, vault: Vault, *, may_differ: bool) -> None:
    lacking = [one for one in backup.secrets if one not in vault.fingerprints]
    if lacking and not may_differ:
        raise InvalidRequest(
            "the backup was made under another secret key (its fingerprint is "
            f"{', '.join(lacking)}; that of the one given here is "
            f"{', '.join(vault.fingerprints)}): no account key could be opened and no team key "
            "would be known. Give the one that belongs to it as DASHGATE_SECRET_KEY (of `up`, in "
            "the file secret_key of the data folder). If it is lost: --other-secret restores all "
            "the same, and every key must be made anew"
        )


def _check_store_kind(settings: Settings, backup: Backup) -> Path | None:
    """The folder to fill; None for pictures that stay in their bucket."""
    folder = find_store_folder(settings)
    if backup.store.is_copied == (folder is not None):
        return folder
    there = "in this backup" if backup.store.is_copied else f"in {backup.store.url}"
    wanted = "file:///folder" if backup.store.is_copied else "s3://bucket/prefix"
    raise InvalidRequest(
        f"the pictures are {there}, and DASHGATE_STORE_URL is {settings.resolved_store_url()}: "
        f"set it to {wanted}"
    )


def _find_program(settings: Settings, backup: Backup, found: Found) -> Program:
    if found.server_major < backup.database.server_major:
        raise InvalidRequest(
            f"the backup is of Postgres {backup.database.server_major} and this server is "
            f"Postgres {found.server_major}: restore it into {backup.database.server_major} or "
            "later"
        )
    least = max(found.server_major, backup.database.program_major)
    return find_program("pg_restore", least, settings.pg_bin)


def _check_content(wish: Wish, found: Found) -> None:
    if found.content is not None and not wish.may_replace:
        raise Conflict(
            f"the database is not empty: it holds {found.content}. To delete all of it and put "
            "the backup in its place, say --replace"
        )


def _check_room(settings: Settings, backup: Backup, store_folder: Path | None) -> None:
    rooms = [Room(store_folder, backup.store.byte_count)] if store_folder is not None else []
    if settings.database_url is None:
        rooms.append(Room(settings.data_dir.resolve(), backup.database.byte_count))
    require_room(rooms)


def _ask(wish: Wish, found: Found) -> None:
    if found.content is not None:
        confirm(
            f"The database holds {found.content}. Delete them and their pictures, and restore "
            f"the backup of {wish.backup.made_at:%Y-%m-%d %H:%M} UTC?",
            yes=wish.is_agreed,
        )


def _tell(backup: Backup, held: int, *, is_other_secret: bool) -> None:
    rows, store = backup.database.rows, backup.store
    say(
        f"Restored as of {backup.made_at:%Y-%m-%d %H:%M:%S} UTC: "
        f"{count_of(rows['teams'], 'team')}, {count_of(rows['jobs'], 'job')}, "
        f"{count_of(rows['pictures'], 'picture')} ({store.byte_count / MEGABYTE:,.1f} MB of "
        "objects)."
    )
    if store.missing:
        say(f"{count_of(len(store.missing), 'object')} lost already when the backup was made.")
    if not store.is_copied:
        say(
            f"The pictures are looked for in the bucket, which must hold the mark {store.id}: "
            "without it every use of the store is refused, and the log says what to type."
        )
    if is_other_secret:
        say("The secret key is another: set account keys anew, and make new team keys.")
    if held:
        say(
            f"{count_of(held, 'queued job')} held: whether they were sent after the backup is not "
            f"known here. `{PROGRAM} job list --attention` lists them; of each, `{PROGRAM} job "
            "explain` says what to do."
        )
    say("What was accepted after the backup is not in it. The gateway can be started now.")
