"""The Postgres of the tests: one server, a migrated template, and clones of it."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from secrets import token_hex

import asyncpg
from sqlalchemy import make_url

from app.embedded import EmbeddedPostgres
from app.kit.postgres.database import make_engine, to_asyncpg_dsn
from app.kit.postgres.schema import migrate

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
        yield name


@asynccontextmanager
async def cloned_database(server_url: str, template: str) -> AsyncIterator[str]:
    """The URL of a copy of the template."""
    async with _own_database(server_url, "clone", f"template {template}") as name:
        yield to_database_url(server_url, name)


def to_database_url(server_url: str, name: str) -> str:
    return make_url(server_url).set(database=name).render_as_string(hide_password=False)


@asynccontextmanager
async def _own_database(server_url: str, purpose: str, source: str = "") -> AsyncIterator[str]:
    name = f"dashgate_{purpose}_{token_hex(6)}"
    await _order(server_url, f"create database {name} {source}")
    try:
        yield name
    finally:
        await _order(server_url, f"drop database {name} with (force)")


async def _order(server_url: str, statement: str) -> None:
    connection = await asyncpg.connect(to_asyncpg_dsn(server_url))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
