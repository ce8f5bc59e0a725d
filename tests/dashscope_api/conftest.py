"""Gateways for all tests of the door that do them no harm, with a team for each test."""

from collections.abc import AsyncIterator

import pytest

from tests.dashscope_api.client import Client, open_client
from tests.databases import cloned_database
from tests.gateway import Gateway, running_gateway


@pytest.fixture(scope="session")
async def shared_gateway(server_url: str, template: str) -> AsyncIterator[Gateway]:
    async with (
        cloned_database(server_url, template) as database_url,
        running_gateway(database_url) as gateway,
    ):
        yield gateway


@pytest.fixture(scope="session")
async def shared_idle_gateway(server_url: str, template: str) -> AsyncIterator[Gateway]:
    async with (
        cloned_database(server_url, template) as database_url,
        running_gateway(database_url, members=("api",)) as gateway,
    ):
        yield gateway


@pytest.fixture
async def gateway(shared_gateway: Gateway) -> AsyncIterator[Gateway]:
    """The shared gateway; its log of a test is shown when the test fails."""
    shared_gateway.check_health()
    yield shared_gateway
    await shared_gateway.set_faults()
    shared_gateway.show_logs()


@pytest.fixture
async def idle_gateway(shared_idle_gateway: Gateway) -> AsyncIterator[Gateway]:
    """A gateway without a worker: its jobs stay queued."""
    shared_idle_gateway.check_health()
    yield shared_idle_gateway
    shared_idle_gateway.show_logs()


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[Client]:
    """A caller of the door whose team is its own."""
    async with open_client(gateway, await gateway.make_seat()) as client:
        yield client


@pytest.fixture
async def idle_client(idle_gateway: Gateway) -> AsyncIterator[Client]:
    """A caller whose jobs stay queued."""
    async with open_client(idle_gateway, await idle_gateway.make_seat()) as client:
        yield client
