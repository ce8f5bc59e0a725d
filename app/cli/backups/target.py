"""The database that a backup is restored into: looked at, filled, and as it was if that fails."""

import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import asyncpg
from alembic.script import ScriptDirectory

from app.cli.backups.archive import DUMP, Backup
from app.cli.backups.programs import complain, run_program
from app.cli.backups.snapshot import SCHEMA, count_rows
from app.cli.output import count_of
from app.embedded import Program
from app.kit.errors import Conflict, InvalidRequest, Unavailable
from app.kit.postgres.database import Connection, connect
from app.kit.postgres.schema import MIGRATION_LOCK, make_config

ASIDE = "dashgate_before_restore"
"""The schema that what is replaced waits in, until the restore is done or undone."""

_LEFT_OUT = re.compile(
    rf" SCHEMA (?:- )?{SCHEMA} | - SCHEMA {SCHEMA} |TABLE DATA {SCHEMA} alembic_version "
)
"""Of the dump's contents: the schema itself, which is there, and what revision it is of."""
_UNKNOWN_SETTING = '"transaction_timeout"'
"""What programs from 17 on set first, and servers before 17 do not know."""


@dataclass(frozen=True, slots=True)
class Found:
    """What is in the database now."""

    server_major: int
    content: str | None
    """In words; None when it is empty."""
    store_id: UUID | None
    is_unfinished: bool
    """An earlier restore was killed half way."""


async def look(connection: Connection) -> Found:
    """Raises Conflict while a gateway runs on the database."""
    await require_quiet(connection)
    if not await connection.fetchval("select pg_try_advisory_lock($1)", MIGRATION_LOCK):
        raise Conflict("the database is being migrated or restored: wait until that is done")
    tables = {row["relname"] for row in await connection.fetch(_LIST_TABLES)}
    is_unfinished = await connection.fetchval(_HAS_SCHEMA, ASIDE)
    home = ASIDE if is_unfinished else SCHEMA
    store_id = None
    if await connection.fetchval("select to_regclass($1)", f"{home}.picture_store"):
        store_id = await connection.fetchval(f"select id from {home}.picture_store")
    return Found(
        server_major=connection.get_server_version().major,
        content=await _describe(connection, tables, is_unfinished=is_unfinished),
        store_id=store_id,
        is_unfinished=is_unfinished,
    )


async def require_quiet(connection: Connection) -> None:
    """Raises Conflict while any process of a gateway is connected; an API's presence is one."""
    others = await connection.fetchval(_COUNT_OTHERS)
    if others:
        connections = count_of(others, "connection")
        raise Conflict(
            f"a gateway runs on this database ({connections} of Dashgate): stop every `serve`, "
            "`work` and `up` first"
        )


def check_revision(revision: str) -> None:
    """Raises InvalidRequest for a schema that this code has no migrations from."""
    known = {one.revision for one in ScriptDirectory.from_config(make_config()).walk_revisions()}
    if revision not in known:
        raise InvalidRequest(
            f"the backup's schema {revision} is unknown here: restore it with the version of "
            "Dashgate that made it, or a newer one"
        )


@asynccontextmanager
async def replaced_schema(connection: Connection, *, is_unfinished: bool) -> AsyncIterator[None]:
    """An empty schema to fill; what was there comes back unless `finish` lets it go."""
    if is_unfinished:
        await connection.execute(f"drop schema if exists {SCHEMA} cascade")
    else:
        await _put_aside(connection)
    try:
        await connection.execute(_MAKE_SCHEMA)
        yield
    except BaseException:
        if not connection.is_closed() and await connection.fetchval(_HAS_SCHEMA, ASIDE):
            await connection.execute(
                f"begin; drop schema if exists {SCHEMA} cascade;"
                f" alter schema {ASIDE} rename to {SCHEMA}; commit"
            )
        raise


async def _put_aside(connection: Connection) -> None:
    try:
        await connection.execute(f"alter schema {SCHEMA} rename to {ASIDE}")
    except asyncpg.InsufficientPrivilegeError as error:
        raise Conflict(
            f"this user may not put the schema {SCHEMA} aside ({error}): restore as the owner of "
            "the database"
        ) from None


async def load(
    connection: Connection, program: Program, folder: Path, backup: Backup, url: str
) -> None:
    """Fill the schema; without its revision yet, so that no process starts on it."""
    dump = folder / DUMP
    listed = await run_program(program, "--list", dump)
    if not listed.is_fine:
        raise complain(program, listed)
    with tempfile.NamedTemporaryFile("w", prefix="dashgate-restore-") as wanted:
        lines = listed.out.splitlines(keepends=True)
        wanted.writelines(line for line in lines if not _LEFT_OUT.search(line))
        wanted.flush()
        said = await run_program(
            program, "--no-owner", "--no-privileges", f"--use-list={wanted.name}", dump, url=url
        )
    errors = [line for line in said.err.splitlines() if "error:" in line]
    if not said.is_fine and not (errors and all(_UNKNOWN_SETTING in one for one in errors)):
        raise complain(program, said)
    found = await count_rows(connection)
    if found != backup.database.rows:
        raise Unavailable(f"not all rows have come in: {found} of {backup.database.rows}")


async def finish(connection: Connection, revision: str) -> None:
    """In the caller's transaction: let processes start on it, and let go what it replaces."""
    await connection.execute("insert into alembic_version (version_num) values ($1)", revision)
    await connection.execute(f"drop schema {ASIDE} cascade")


async def open_target(url: str) -> Connection:
    return await connect(url, is_patient=True)


async def _describe(
    connection: Connection, tables: set[str], *, is_unfinished: bool
) -> str | None:
    if is_unfinished:
        return "what a restore that was killed has left"
    if not tables:
        return None
    if not {"teams", "jobs"} <= tables:
        return count_of(len(tables), "table")
    teams = await connection.fetchval(f"select count(*) from {SCHEMA}.teams")
    jobs = await connection.fetchval(
        f"select count(*) from {SCHEMA}.jobs",
    )
    return f"{count_of(teams, 'team')} and {count_of(jobs, 'job')}"


_LIST_TABLES = f"""
select relname from pg_class
where relnamespace = '{SCHEMA}'::regnamespace and relkind in ('r', 'p', 'v', 'm', 'f', 'S')
"""

_HAS_SCHEMA = "select exists (select from pg_namespace where nspname = $1)"

_COUNT_OTHERS = """
select count(*) from pg_stat_activity
where datname = current_database() and application_name = 'dashgate' and pid <> pg_backend_pid()
"""

# As a new database has it: its database's owner is its owner.
_MAKE_SCHEMA = f"""
create schema {SCHEMA} authorization pg_database_owner;
grant usage on schema {SCHEMA} to public
"""
