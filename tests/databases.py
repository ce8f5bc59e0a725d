"""The Postgres of the tests: one server, a migrated template, and clones of it."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from secrets import token_hex
from typing import NamedTuple

import asyncpg
from sqlalchemy import make_url

from app.embedded import EmbeddedPostgres
from app.kit.postgres.database import make_engine, to_asyncpg_dsn
from app.kit.postgres.schema import migrate


class _Spare(NamedTuple):
    """A clone that nobody uses, and the schema it was made with."""

    name: str
    schema: str


SERVER_VARIABLE = "DASHGATE_TEST_DATABASE_URL"


@contextmanager
def running_server() -> Iterator[str]:
    """The server that the environment names, else an embedded one for as long as this lasts."""
    given = os.environ.get(SERVER_VARIABLE)
    if given:
        yield given
        return
    # Not a folder of pytest's: their parents are closed to the account that root's server has.
    folder = Path(tempfile.mkdtemp(prefix="dashgate-tests-"))
    folder.chmod(0o755)
    server = EmbeddedPostgres(folder, fsync=False)
    try:
        yield server.start()
    finally:
        server.erase()
        shutil.rmtree(folder)


@asynccontextmanager
async def migrated_database(server_url: str) -> AsyncIterator[str]:
    """The name of a database at the head of the schema that nobody is connected to."""
    async with _own_database(server_url, "template") as name:
        engine = make_engine(to_database_url(server_url, name))
        try:
            await migrate(engine)
        finally:
            await engine.dispose()
        try:
            yield name
        finally:
            for spare in _spares.pop(name, []):
                await _drop(server_url, spare.name)


@asynccontextmanager
async def empty_database(server_url: str) -> AsyncIterator[str]:
    """The URL of a database without a schema."""
    async with _own_database(server_url, "empty", "template template0") as name:
        yield to_database_url(server_url, name)


@asynccontextmanager
async def cloned_database(server_url: str, template: str) -> AsyncIterator[str]:
    """The URL of a copy of the template: one that others have left clean, or a new one."""
    spares = _spares.setdefault(template, [])
    if spares:
        name, schema = spares.pop()
    else:
        name = await _create(server_url, "clone", f"template {template}")
        schema = await _read_schema(server_url, name)
    try:
        yield to_database_url(server_url, name)
    finally:
        cleaned = await _clean(server_url, name, schema)
        if cleaned is not None and template in _spares:
            spares.append(_Spare(cleaned, schema))
        else:
            await _drop(server_url, cleaned or name)


def to_database_url(server_url: str, name: str) -> str:
    return make_url(server_url).set(database=name).render_as_string(hide_password=False)


@asynccontextmanager
async def _own_database(server_url: str, purpose: str, source: str = "") -> AsyncIterator[str]:
    name = await _create(server_url, purpose, source)
    try:
        yield name
    finally:
        await _drop(server_url, name)


async def _create(server_url: str, purpose: str, source: str = "") -> str:
    name = _make_name(purpose)
    await _order(server_url, f"create database {name} {source}")
    return name


async def _drop(server_url: str, name: str) -> None:
    await _order(server_url, f"drop database {name} with (force)")


async def _clean(server_url: str, name: str, schema: str) -> str | None:
    """Empty a clone and give it another name, which nobody left over knows; None if it changed.

    Copying a database costs twenty times what emptying a small one does.
    """
    new_name = _make_name("clone")
    if await _read_schema(server_url, name) != schema:
        return None
    async with _connected(server_url) as server:
        await server.execute(f"alter database {name} with allow_connections false")
        if not await server.fetchval(_TURN_OUT, name):
            return None
        await server.execute(f"alter database {name} rename to {new_name}")
        await server.execute(f"alter database {new_name} with allow_connections true")
    await _order(to_database_url(server_url, new_name), _EMPTY)
    return new_name


async def _read_schema(server_url: str, name: str) -> str:
    async with _connected(to_database_url(server_url, name)) as connection:
        schema: str = await connection.fetchval(_SCHEMA)
    return schema


def _make_name(purpose: str) -> str:
    return f"dashgate_{purpose}_{token_hex(6)}"


async def _order(server_url: str, statement: str) -> None:
    async with _connected(server_url) as connection:
        await connection.execute(statement)


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(to_asyncpg_dsn(url))
    try:
        yield connection
    finally:
        await connection.close()


# Whether nobody is left; each has a second to go.
_TURN_OUT = """
select coalesce(bool_and(pg_terminate_backend(pid, 1000)), true) from pg_stat_activity
where datname = $1
"""

# Every row of the catalogs that a test can have changed, by the transaction that wrote it; the
# contents of what the schema brings along; and whatever has grown so far that plans may differ.
_SCHEMA = """
select md5(concat(
    (select string_agg(concat(ctid, xmin), ',' order by ctid) from pg_class),
    (select string_agg(concat(ctid, xmin), ',' order by ctid) from pg_attribute),
    (select string_agg(concat(ctid, xmin), ',' order by ctid) from pg_constraint),
    (select string_agg(concat(ctid, xmin), ',' order by ctid) from pg_trigger),
    (select string_agg(concat(ctid, xmin), ',' order by ctid) from pg_proc),
    (select string_agg(concat(ctid, xmin), ',' order by ctid) from pg_index),
    (select string_agg(concat(ctid, xmin), ',' order by ctid) from pg_type),
    (select string_agg(concat(ctid, xmin), ',' order by ctid) from pg_policy),
    (select string_agg(concat(ctid, xmin), ',' order by ctid) from pg_publication),
    (select string_agg(nspname, ',' order by nspname) from pg_namespace
        where nspname not like 'pg_temp%' and nspname not like 'pg_toast_temp%'),
    (select count(*) from pg_largeobject_metadata),
    (select string_agg(concat(oid, ':', reltuples), ',' order by oid) from pg_class
        where relnamespace = 'public'::regnamespace and relkind = 'r'),
    (select string_agg(setconfig::text, ',') from pg_db_role_setting
        join pg_database on pg_database.oid = setdatabase where datname = current_database()),
    (select string_agg(starelid::text, ',' order by starelid) from pg_statistic
        join pg_class on pg_class.oid = starelid
        where relnamespace = 'public'::regnamespace),
    (select string_agg(relname, ',' order by relname) from pg_class
        where relnamespace = 'public'::regnamespace and pg_relation_size(oid) > 262144),
    (select string_agg(picture_store::text, ',') from picture_store),
    (select string_agg(version_num, ',') from alembic_version)
))
"""

_EMPTY = """
do $$
declare
    name text;
begin
    set local session_replication_role = replica;
    for name in
        select oid::regclass from pg_class
        where relnamespace = 'public'::regnamespace and relkind = 'r'
            and relname not in ('alembic_version', 'picture_store')
            and pg_relation_size(oid) > 0
    loop
        execute format('delete from only %s', name);
    end loop;
    for name in
        select oid::regclass from pg_class
        where relnamespace = 'public'::regnamespace and relkind = 'S'
    loop
        perform setval(name::regclass, 1, false);
    end loop;
end
$$
"""

_spares: dict[str, list[_Spare]] = {}
