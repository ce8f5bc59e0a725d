"""The gateways of real clients, and the SDK in both versions that are promised."""

from pathlib import Path

import pytest

from tests.clients.sdk import NEWEST, OLD, Sdk
from tests.gateway import Gateway


@pytest.fixture(params=[NEWEST, OLD])
async def sdk(request: pytest.FixtureRequest, gateway: Gateway, tmp_path: Path) -> Sdk:
    """The SDK with a team of its own, in an empty folder."""
    seat = await gateway.make_seat()
    return Sdk(request.param, gateway.base_url, seat.key, tmp_path)


@pytest.fixture(params=[NEWEST, OLD])
async def idle_sdk(request: pytest.FixtureRequest, idle_gateway: Gateway, tmp_path: Path) -> Sdk:
    """The same where jobs stay queued."""
    seat = await idle_gateway.make_seat()
    return Sdk(request.param, idle_gateway.base_url, seat.key, tmp_path)
