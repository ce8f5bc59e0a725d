"""One quick emulator for all tests that need nothing special, each with its own account."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest_asyncio

from app.emulator import running_emulator
from tests.emulator.client import QUICK, Desk, open_http


@pytest_asyncio.fixture(scope="session")
async def quick_base_url() -> AsyncIterator[str]:
    async with running_emulator(QUICK) as base_url:
        yield base_url


@pytest_asyncio.fixture
async def desk(quick_base_url: str) -> AsyncIterator[Desk]:
    """A caller with a new account, who leaves no faults behind."""
    async with open_http(quick_base_url, f"sk-{uuid4()}") as http:
        desk = Desk(quick_base_url, http)
        yield desk
        await desk.arm()
