"""Callers of the door, each with a team of its own."""

from collections.abc import AsyncIterator

import pytest

from tests.dashscope_api.client import Client, open_client
from tests.gateway import Gateway


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
