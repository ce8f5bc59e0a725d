"""The database under a storm: one that was given, or one of our own that may crash."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from app.embedded import EmbeddedPostgres
from app.kit.postgres.database import CONNECTION_TROUBLE, connect, make_engine
from app.kit.postgres.schema import migrate

LOOK_SECONDS = 0.01


class Database:
    """Where the tables are. One without a server of ours is never crashed."""

    def __init__(self, url: str, server: EmbeddedPostgres | None = None) -> None:
        self.url = url
        self._server = server

    async def cut_connections(self) -> None:
        """End about half of the connections to it, whoever has them."""
        try:
            connection = await connect(self.url)
            try:
                await connection.execute(_CUT)
            finally:
                await connection.close()
        except CONNECTION_TROUBLE:
            return

    async def crash(self, *, down_seconds: float) -> None:
        """Stop the server at once, as `pg_ctl stop -m immediate` does, and start it again."""
        assert self._server is not None
        try:
            connection = await connect(self.url)
            pid = await connection.fetchval(_FIND_SERVER_PID)
            connection.terminate()
        except CONNECTION_TROUBLE:
            return
        os.kill(pid, signal.SIGQUIT)
        await asyncio.to_thread(_wait_until_down, self._server)
        await asyncio.sleep(down_seconds)
        url = await asyncio.to_thread(self._server.ensure)
        if url != self.url:
            raise RuntimeError("the port of the database was taken while it was down: run again")


@asynccontextmanager
async def open_database(given_url: str | None, folder: Path) -> AsyncIterator[Database]:
    """The given database, migrated already; else an own one, erased in the end."""
    if given_url is not None:
        yield Database(given_url)
        return
    server = EmbeddedPostgres(folder, fsync=False)
    url = await asyncio.to_thread(server.start)
    try:
        engine = make_engine(url, pool_size=1)
        try:
            await migrate(engine)
        finally:
            await engine.dispose()
        yield Database(url, server)
    finally:
        await asyncio.to_thread(server.erase)


def _wait_until_down(server: EmbeddedPostgres) -> None:
    while server.is_alive():
        time.sleep(LOOK_SECONDS)


_CUT = """
select pg_terminate_backend(pid) from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid() and random() < 0.5
"""

_FIND_SERVER_PID = "select split_part(pg_read_file('postmaster.pid'), E'\\n', 1)::int"
