"""What a started server is and keeps."""

import os
import socket
import stat
from pathlib import Path

import asyncpg
import pytest

from app.embedded import EmbeddedPostgres
from tests.embedded.machine import is_running, query, server_folder, server_pid


async def test_a_first_start_makes_a_checksummed_database_in_utf8(
    server: EmbeddedPostgres,
) -> None:
    dsn = server.start()

    assert await query(dsn, "SELECT current_database() || current_user") == "dashgatedashgate"
    assert await query(dsn, "SHOW data_checksums") == "on"
    assert await query(dsn, "SHOW server_encoding") == "UTF8"
    assert await query(dsn, "SELECT upper('éñ') || ('B' < 'a')::text") == "ÉÑtrue"
    assert await query(dsn, "SHOW max_connections") == "200"


async def test_a_later_start_keeps_rows_port_and_password(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir, fsync=False) as first:
        dsn = first.start()
        await query(dsn, "CREATE TABLE kept AS SELECT 42 AS answer")

    with EmbeddedPostgres(data_dir, fsync=False) as second:
        assert second.start() == dsn
        assert await query(dsn, "SELECT answer FROM kept") == 42


async def test_durable_by_default(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir) as server:
        dsn = server.start()

        assert await query(dsn, "SHOW fsync") == "on"
        assert await query(dsn, "SHOW synchronous_commit") == "on"
        assert await query(dsn, "SHOW full_page_writes") == "on"


def test_starting_twice_is_starting_once(server: EmbeddedPostgres, data_dir: Path) -> None:
    dsn = server.start()
    pid = server_pid(data_dir)

    assert server.start() == dsn
    assert server.ensure() == dsn
    assert server_pid(data_dir) == pid


def test_stop_ends_the_server_before_it_returns(server: EmbeddedPostgres, data_dir: Path) -> None:
    server.start()
    pid = server_pid(data_dir)

    server.stop()

    assert not server.is_alive()
    assert not is_running(pid)
    server.stop()


async def test_only_the_password_opens_it(server: EmbeddedPostgres) -> None:
    dsn = server.start()
    wrong = dsn.replace(dsn.split(":")[2].split("@")[0], "guess")

    with pytest.raises(asyncpg.InvalidPasswordError):
        await query(wrong, "SELECT 1")
    assert await query(dsn, "SHOW password_encryption") == "scram-sha-256"


async def test_it_listens_on_loopback_tcp_and_nowhere_else(server: EmbeddedPostgres) -> None:
    dsn = server.start()

    assert await query(dsn, "SHOW listen_addresses") == "127.0.0.1"
    assert await query(dsn, "SHOW unix_socket_directories") == ""


def test_the_password_is_in_no_repr_and_in_one_private_file(
    server: EmbeddedPostgres, data_dir: Path
) -> None:
    password = server.start().split(":")[2].split("@")[0]

    assert password not in repr(server)
    assert len(password) >= 32
    holders = [
        path
        for path in server_folder(data_dir).glob("*")
        if path.is_file() and password in path.read_text(errors="replace")
    ]
    assert [path.name for path in holders] == ["password"]
    assert stat.S_IMODE(holders[0].stat().st_mode) == 0o600


async def test_failed_statements_and_their_values_stay_out_of_the_log(
    server: EmbeddedPostgres, data_dir: Path
) -> None:
    dsn = server.start()
    await query(dsn, "CREATE TABLE keys (secret text UNIQUE CHECK (secret <> 'sk-planted'))")

    with pytest.raises(asyncpg.CheckViolationError):
        await query(dsn, "INSERT INTO keys VALUES ('sk-planted')")

    assert "sk-planted" not in (server_folder(data_dir) / "server.log").read_text()


def test_a_long_log_is_put_aside(server: EmbeddedPostgres, data_dir: Path) -> None:
    server.start()
    server.stop()
    log = server_folder(data_dir) / "server.log"
    os.truncate(log, 5 * 1024 * 1024)

    server.start()

    assert log.stat().st_size < 100_000
    assert log.with_suffix(".log.1").stat().st_size == 5 * 1024 * 1024


async def test_a_taken_port_is_replaced_by_a_free_one(
    server: EmbeddedPostgres, data_dir: Path
) -> None:
    server.start()
    server.stop()
    port = int((server_folder(data_dir) / "port").read_text())

    with socket.create_server(("127.0.0.1", port)):
        dsn = server.start()

    assert not dsn.endswith(f":{port}/dashgate")
    assert await query(dsn, "SELECT 1") == 1


def test_an_interrupted_first_start_is_made_good(server: EmbeddedPostgres, data_dir: Path) -> None:
    server.start()
    server.stop()
    folder = server_folder(data_dir)
    (folder / "data").rename(folder / "data.draft")  # as a kill before the last rename leaves it
    (folder / "data.draft" / "PG_VERSION").unlink()

    server.start()

    assert not (folder / "data.draft").exists()


def test_erase_leaves_nothing(server: EmbeddedPostgres, data_dir: Path) -> None:
    server.start()
    folder = server_folder(data_dir)

    server.erase()

    assert not folder.exists()
    assert not list(data_dir.glob("postgres-*"))
