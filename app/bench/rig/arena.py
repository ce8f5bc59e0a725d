"""The Postgres that measures run on: one server, a migrated template, a clone for each."""

import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex

from sqlalchemy import make_url

from app.billing.price_store import ensure_default_prices
from app.embedded import EmbeddedPostgres
from app.kit.postgres.database import connect, make_engine, make_sessions
from app.kit.postgres.schema import migrate


@dataclass(frozen=True, slots=True)
class Arena:
    """A server to make databases on, and a folder for files; both go when the run ends."""

    folder: Path
    server_url: str = field(repr=False)
    template: str

    @asynccontextmanager
    async def database(self) -> AsyncIterator[str]:
        """The URL of an empty migrated database with the list prices."""
        async with _own_database(self.server_url, f"template {self.template}") as url:
            yield url

    def make_folder(self, database_url: str) -> Path:
        """A new folder for the files and logs of what works on that database."""
        folder = self.folder / database_url.rpartition("_")[2]
        folder.mkdir()
        return folder


@asynccontextmanager
async def open_arena(
    server_url: str | None, *, pg_bin: Path | None = None
) -> AsyncIterator[Arena]:
    """On the server at that URL, else on an embedded one with its usual, safe settings."""
    async with AsyncExitStack() as stack:
        folder = _make_folder()
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        if server_url is None:
            server = EmbeddedPostgres(folder / "postgres", pg_bin=pg_bin)
            stack.callback(server.erase)
            server_url = server.start()
        template_url = await stack.enter_async_context(_own_database(server_url))
        engine = make_engine(template_url, pool_size=1)
        try:
            await migrate(engine)
            await ensure_default_prices(make_sessions(engine))
        finally:
            await engine.dispose()
        name = make_url(template_url).database
        assert name is not None
        yield Arena(folder, server_url, name)


def _make_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="dashgate-bench-"))
    folder.chmod(0o755)  # root's server runs as another account, which must get through
    return folder


@asynccontextmanager
async def _own_database(server_url: str, source: str = "") -> AsyncIterator[str]:
    name = f"dashgate_bench_{token_hex(6)}"
    await _order(server_url, f"create database {name} {source}")
    try:
        yield make_url(server_url).set(database=name).render_as_string(hide_password=False)
    finally:
        await _order(server_url, f"drop database {name} with (force)")


async def _order(server_url: str, statement: str) -> None:
    connection = await connect(server_url)
    try:
        await connection.execute("set statement_timeout = 0")
        await connection.execute(statement)
    finally:
        await connection.close()
