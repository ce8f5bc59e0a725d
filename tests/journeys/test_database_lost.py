"""Postgres stopped in the middle and started again: the gateway waits for it and goes on."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from app.embedded import EmbeddedPostgres
from app.kit.postgres.database import make_engine
from app.kit.postgres.schema import migrate
from tests.embedded.machine import server_pid
from tests.emulator.client import QUICK
from tests.gateway import running_gateway
from tests.journeys.conftest import SETTINGS
from tests.journeys.traveller import Traveller, expect_fair_books
from tests.waiting import wait_until

STEADY = replace(QUICK, running_seconds=(0.5, 0.5))


@pytest.fixture
def server() -> Iterator[tuple[EmbeddedPostgres, Path]]:
    folder = Path(tempfile.mkdtemp(prefix="dashgate-tests-"))
    folder.chmod(0o755)
    server = EmbeddedPostgres(folder)
    try:
        yield server, folder
    finally:
        server.erase()
        shutil.rmtree(folder)


async def test_jobs_survive_a_database_that_is_stopped_at_once(
    server: tuple[EmbeddedPostgres, Path],
) -> None:
    postgres, folder = server
    url = postgres.start()
    engine = make_engine(url)
    await migrate(engine)
    await engine.dispose()
    async with running_gateway(url, emulator=STEADY, settings=SETTINGS) as gateway:
        traveller = Traveller(gateway, gateway.seat)
        sent = [await traveller.send(n=2) for _ in range(8)]
        await traveller.wait_for(sent[0], "running", "finalizing", "succeeded")

        os.kill(server_pid(folder), signal.SIGQUIT)
        await wait_until(lambda: not postgres.is_alive())
        with pytest.raises(AssertionError, match="database_unavailable"):
            await traveller.send()
        assert postgres.ensure() == url

        done = await traveller.finish(sent)
        assert [job["status"] for job in done] == ["succeeded"] * 8
        await expect_fair_books(traveller, done)
        assert (await traveller.wait_for(await traveller.send()))["status"] == "succeeded"
        assert all(member.is_running for member in gateway.members.values())
