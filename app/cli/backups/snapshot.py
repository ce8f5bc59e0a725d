"""One moment of the database: its dump, and the objects that its rows of then promise."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from app.cli.backups.archive import DUMP
from app.cli.backups.objects import Wanted, open_private
from app.cli.backups.programs import complain, run_program
from app.cli.output import say
from app.embedded import find_program
from app.kit.postgres.database import Connection, connect

SCHEMA = "public"
WANTED = ".wanted"
PAGE = 5_000
MEGABYTE = 1000**2


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was in the database when it was dumped."""

    server_major: int
    program_major: int
    byte_count: int
    revision: str
    store_id: UUID | None
    rows: dict[str, int]
    object_count: int
    object_bytes: int


async def take_snapshot(url: str, draft: Path, pg_bin: Path | None) -> Snapshot:
    """Dump the database into the draft, and list what it promises of the store, of one moment.

    The list is what makes the copy of the store agree with the dump, whatever is written and
    deleted meanwhile: objects are written before their rows say so, and deleted after them.
    """
    connection = await connect(url, is_patient=True)
    try:
        major = connection.get_server_version().major
        program = find_program("pg_dump", major, pg_bin)
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            name = await connection.fetchval("select pg_export_snapshot()")
            byte_count = await connection.fetchval("select pg_database_size(current_database())")
            object_count, object_bytes = await _list_wanted(connection, draft / WANTED)
            rows = await count_rows(connection)
            say(f"Dumping the database ({byte_count / MEGABYTE:,.1f} MB on its server) ...")
            open_private(draft / DUMP).close()
            said = await run_program(
                program,
                "--format=custom",
                f"--schema={SCHEMA}",
                "--no-owner",
                "--no-privileges",
                f"--snapshot={name}",
                f"--file={draft / DUMP}",
                url=url,
            )
            if not said.is_fine:
                raise complain(program, said)
            store = await connection.fetchrow("select id, is_marked from picture_store")
            assert store is not None, "picture_store lost its row"
            return Snapshot(
                server_major=major,
                program_major=program.major,
                byte_count=byte_count,
                revision=await connection.fetchval("select version_num from alembic_version"),
                store_id=store["id"] if store["is_marked"] else None,
                rows=rows,
                object_count=object_count,
                object_bytes=object_bytes,
            )
    finally:
        await connection.close()


async def count_rows(connection: Connection) -> dict[str, int]:
    """How many rows some tables have, by which a restore is measured."""
    row = await connection.fetchrow(_COUNT)
    assert row is not None
    return dict(row)


async def find_promised(url: str, keys: Sequence[str]) -> list[str]:
    """Those of the keys that the database still promises, now."""
    connection = await connect(url, is_patient=True)
    try:
        rows = await connection.fetch(_STILL_PROMISED, list(keys))
    finally:
        await connection.close()
    return [row["store_key"] for row in rows]


def read_wanted(draft: Path) -> Iterator[Wanted]:
    """The objects of the snapshot; the list goes with the last one."""
    path = draft / WANTED
    with path.open() as lines:
        for line in lines:
            sha256, byte_count, key = line.rstrip("\n").split(" ", 2)
            yield Wanted(sha256, int(byte_count), key)
    path.unlink()


async def _list_wanted(connection: Connection, path: Path) -> tuple[int, int]:
    """Returns how many they are, and their bytes."""
    object_count = total_bytes = 0
    with open_private(path) as lines:
        found = connection.cursor(_WANTED, prefetch=PAGE)
        async for row in found:
            line = f"{row['sha256']} {row['byte_count']} {row['store_key']}\n"
            lines.write(line.encode())
            object_count += 1
            total_bytes += row["byte_count"]
    return object_count, total_bytes


# Bytes that are still on their way here, or already on their way out, nobody uses yet or any more.
_PROMISED = """
select store_key, sha256, byte_count from pictures where status = 'kept'
union all
select store_key, sha256, byte_count from files where state = 'kept'
"""

_WANTED = f"""
select store_key, min(encode(sha256, 'hex')) as sha256, min(byte_count) as byte_count
from ({_PROMISED}) as promised group by store_key order by store_key
"""

_STILL_PROMISED = f"""
select distinct store_key from ({_PROMISED}) as promised where store_key = any($1)
"""

_COUNT = """
select (select count(*) from teams) as teams, (select count(*) from jobs) as jobs,
    (select count(*) from job_runs) as active_jobs,
    (select count(*) from pictures) as pictures,
    (select count(*) from ledger_entries) as ledger_entries,
    (select count(*) from audit_entries) as audit_entries
"""
