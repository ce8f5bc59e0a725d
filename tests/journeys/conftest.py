"""One gateway for the journeys that do no harm to each other, and one for those with kills."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tests.databases import cloned_database
from tests.emulator.client import QUICK
from tests.gateway import Gateway, running_gateway
from tests.journeys.traveller import Traveller

UNEVEN = replace(QUICK, running_seconds=(0.05, 0.3))
SETTINGS = {"DASHGATE_SUBMIT_TIMEOUT_SECONDS": "1", "DASHGATE_STOP_GRACE_SECONDS": "3"}
MEMBERS = {"api", "worker"}


@pytest.fixture(scope="package")
async def shared_gateway(server_url: str, template: str) -> AsyncIterator[Gateway]:
    async with (
        cloned_database(server_url, template) as database_url,
        running_gateway(database_url, emulator=UNEVEN, settings=SETTINGS) as gateway,
    ):
        yield gateway


@pytest.fixture(scope="package")
async def hardy_gateway(server_url: str, template: str) -> AsyncIterator[Gateway]:
    async with (
        cloned_database(server_url, template) as database_url,
        running_gateway(database_url, emulator=UNEVEN, settings=SETTINGS) as gateway,
    ):
        yield gateway


@pytest.fixture
async def traveller(shared_gateway: Gateway) -> AsyncIterator[Traveller]:
    """A client with a team of its own, who leaves no faults behind."""
    yield Traveller(shared_gateway, await shared_gateway.make_seat())
    await shared_gateway.set_faults()
    shared_gateway.show_logs()


@pytest.fixture
async def survivor(hardy_gateway: Gateway) -> AsyncIterator[Traveller]:
    """A client whose gateway may be killed, and is put on its feet afterwards."""
    gateway = hardy_gateway
    yield Traveller(gateway, await gateway.make_seat())
    await gateway.set_faults()
    gateway.show_logs()
    running = {name for name, member in gateway.members.items() if member.is_running}
    await asyncio.gather(
        *(gateway.start(name) for name in MEMBERS - running),
        *(gateway.stop(name) for name in running - MEMBERS),
    )
