"""Gateways for all tests that do them no harm, whatever door these come through."""

from collections.abc import AsyncIterator

import pytest

from tests.databases import cloned_database
from tests.gateway import Gateway, running_gateway

SETTINGS = {"DASHGATE_EVENTBRIDGE_TOKEN": "the-token-of-an-event-target"}
"""So that no door is missing."""


@pytest.fixture(scope="session")
async def shared_gateway(server_url: str, template: str) -> AsyncIterator[Gateway]:
    async with (
        cloned_database(server_url, template) as database_url,
        running_gateway(database_url, settings=SETTINGS) as gateway,
    ):
        yield gateway


@pytest.fixture(scope="session")
async def shared_idle_gateway(server_url: str, template: str) -> AsyncIterator[Gateway]:
    async with (
        cloned_database(server_url, template) as database_url,
        running_gateway(database_url, settings=SETTINGS, members=("api",)) as gateway,
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
