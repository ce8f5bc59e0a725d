"""kill -9 of the server, of the guard above it, and of the process that started it."""

import asyncio
import os
import signal
import subprocess
from pathlib import Path

import asyncpg
import pytest

from app.embedded import EmbeddedPostgres
from tests.embedded.machine import (
    is_running,
    kill,
    member,
    parent_of,
    query,
    server_folder,
    server_pid,
    wait_until,
)


async def test_a_killed_server_is_noticed_and_comes_back_with_its_rows(
    server: EmbeddedPostgres, data_dir: Path
) -> None:
    dsn = server.start()
    await query(dsn, "CREATE TABLE kept AS SELECT 42 AS answer")

    kill(server_pid(data_dir))

    wait_until(lambda: not server.is_alive())
    assert await query(server.ensure(), "SELECT answer FROM kept") == 42


async def test_a_server_killed_amid_connections_comes_back(
    server: EmbeddedPostgres, data_dir: Path
) -> None:
    connection = await asyncpg.connect(server.start())
    await connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    sleeping = asyncio.create_task(connection.execute("SELECT pg_sleep(60)"))
    await asyncio.sleep(0)

    kill(server_pid(data_dir))
    with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.PostgresError)):
        await sleeping
    wait_until(lambda: not server.is_alive())

    assert await query(server.ensure(), "SELECT answer FROM kept") == 42
    connection.terminate()


async def test_a_killed_guard_takes_the_server_along_and_both_come_back(
    server: EmbeddedPostgres, data_dir: Path
) -> None:
    dsn = server.start()
    await query(dsn, "CREATE TABLE kept AS SELECT 42 AS answer")
    pid = server_pid(data_dir)

    kill(parent_of(pid))

    wait_until(lambda: not server.is_alive())
    assert await query(server.ensure(), "SELECT answer FROM kept") == 42
    assert not is_running(pid)


def test_a_server_without_its_guard_shuts_down_by_itself(
    server: EmbeddedPostgres, data_dir: Path
) -> None:
    server.start()
    pid = server_pid(data_dir)

    kill(parent_of(pid))

    wait_until(lambda: not is_running(pid))


async def test_guard_and_server_killed_together_come_back(
    server: EmbeddedPostgres, data_dir: Path
) -> None:
    dsn = server.start()
    await query(dsn, "CREATE TABLE kept AS SELECT 42 AS answer")
    pid = server_pid(data_dir)
    guard = parent_of(pid)

    kill(pid)
    if is_running(guard):
        kill(guard)

    wait_until(lambda: not server.is_alive())
    assert await query(server.ensure(), "SELECT answer FROM kept") == 42


async def test_a_start_waits_for_a_predecessor_that_is_slow_to_end(
    server: EmbeddedPostgres, data_dir: Path
) -> None:
    server.start()
    pid = server_pid(data_dir)
    log = server_folder(data_dir) / "server.log"
    os.kill(pid, signal.SIGSTOP)
    kill(parent_of(pid))
    wait_until(lambda: not server.is_alive())

    starting = asyncio.create_task(asyncio.to_thread(server.ensure))
    while '"postmaster.pid" already exists' not in log.read_text():
        await asyncio.wait([starting], timeout=0.01)
    os.kill(pid, signal.SIGCONT)

    assert await query(await starting, "SELECT 1") == 1


def test_the_server_shuts_down_cleanly_when_its_only_user_is_killed(data_dir: Path) -> None:
    with member(data_dir) as only:
        assert only.answer().startswith("postgresql://")
        pid = server_pid(data_dir)

        only.kill()

        wait_until(lambda: not is_running(pid))
    log = (server_folder(data_dir) / "server.log").read_text()
    assert log.rstrip().endswith("database system is shut down")


@pytest.mark.parametrize("command", ["exit", "exec sleep 60"], ids=["zombie", "other program"])
def test_a_pid_file_that_names_another_process_does_not_stop_a_start(
    server: EmbeddedPostgres, data_dir: Path, command: str
) -> None:
    server.start()
    server.stop()
    data = server_folder(data_dir) / "data"
    owner = data.stat()
    user = owner.st_uid if os.geteuid() == 0 else None
    with subprocess.Popen(["/bin/sh", "-c", command], user=user, cwd="/") as other:
        wait_until(lambda: is_running(other.pid) == (command != "exit"))
        pid_file = data / "postmaster.pid"
        pid_file.write_text(f"{other.pid}\n{data}\n1700000000\n1\n\n\n0 0\nready   \n")
        os.chown(pid_file, owner.st_uid, owner.st_gid)

        server.start()

        assert server.is_alive()
        other.kill()
