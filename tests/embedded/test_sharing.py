"""Several processes over one data folder."""

from pathlib import Path

import pytest

from app.embedded import EmbeddedPostgres, EmbeddedPostgresError
from tests.embedded.machine import is_running, member, query, server_pid, wait_until


async def test_the_second_joins_and_outlives_the_first(data_dir: Path) -> None:
    with member(data_dir) as first, member(data_dir) as second:
        dsn = first.answer()
        assert second.answer() == dsn
        pid = server_pid(data_dir)

        first.leave()

        assert await query(dsn, "SELECT 1") == 1
        assert server_pid(data_dir) == pid
        second.leave()
        assert not is_running(pid)


async def test_the_second_outlives_a_killed_first(data_dir: Path) -> None:
    with member(data_dir) as first, member(data_dir) as second:
        dsn = first.answer()
        assert second.answer() == dsn

        first.kill()

        assert await query(dsn, "SELECT 1") == 1


async def test_a_joiner_that_leaves_disturbs_nobody(
    server: EmbeddedPostgres, data_dir: Path
) -> None:
    dsn = server.start()

    with EmbeddedPostgres(data_dir) as joiner:
        assert joiner.start() == dsn

    assert await query(dsn, "SELECT 1") == 1


async def test_a_joiner_can_restart_a_killed_server_for_all(
    server: EmbeddedPostgres, data_dir: Path
) -> None:
    server.start()
    with member(data_dir) as first, EmbeddedPostgres(data_dir) as joiner:
        first.answer()
        server.stop()
        first.kill()
        dsn = joiner.ensure()

        assert await query(dsn, "SELECT 1") == 1


def test_starting_at_once_makes_one_server(data_dir: Path) -> None:
    with member(data_dir) as one, member(data_dir) as two, member(data_dir) as three:
        answers = {one.answer(), two.answer(), three.answer()}

        assert len(answers) == 1
        assert answers.pop().startswith("postgresql://")


async def test_a_start_during_the_shutdown_gets_a_server(data_dir: Path) -> None:
    with member(data_dir) as first:
        first.answer()
        pid = server_pid(data_dir)
        first.kill()  # nobody waits for this shutdown

        with EmbeddedPostgres(data_dir) as second:
            assert await query(second.start(), "SELECT 1") == 1
        wait_until(lambda: not is_running(pid))


def test_erase_refuses_while_others_use_it(server: EmbeddedPostgres, data_dir: Path) -> None:
    server.start()
    with member(data_dir) as other:
        other.answer()

        with pytest.raises(EmbeddedPostgresError, match="in use by another process"):
            server.erase()
