"""Fixtures for the whole suite; what a test needs of Postgres starts when the first one asks.

`database`, with `pool` and `sessions` over it, is a clone of its own: for whatever commits or
needs several connections. `session` is one connection that is rolled back: for single stores.
"""

import logging
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack

import pytest
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from app.kit.crypto import Vault
from app.kit.postgres.database import Pool, Sessions, make_engine, make_sessions, open_pool
from tests.databases import (
    SERVER_VARIABLE,
    cloned_database,
    migrated_database,
    running_server,
)
from tests.shared import gateway, idle_gateway, shared_gateway, shared_idle_gateway

__all__ = ["gateway", "idle_gateway", "shared_gateway", "shared_idle_gateway"]

LONGEST = (
    "tests/storms/test_storm.py",
    "tests/storms/test_crash_points.py",
    "tests/setup/",
    "tests/accounts/test_poison.py",
    "tests/journeys/",
    "tests/adversary/",
    "tests/embedded/test_server.py",
    "tests/bench/test_measures.py",
    "tests/api/test_outage.py",
    "tests/clients/",
)

_server = pytest.StashKey[ExitStack]()


def pytest_configure(config: pytest.Config) -> None:
    """Let the workers of a parallel run share the server of the process that controls them.

    Tracebacks in logs are plain: colored ones with source take longer than many a test.
    """
    renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure([*structlog.get_config()["processors"][:-1], renderer])
    is_controller = bool(config.getoption("numprocesses", None)) and not hasattr(
        config, "workerinput"
    )
    if is_controller and SERVER_VARIABLE not in os.environ:
        stack = config.stash[_server] = ExitStack()
        os.environ[SERVER_VARIABLE] = stack.enter_context(running_server())


def pytest_unconfigure(config: pytest.Config) -> None:
    if _server in config.stash:
        del os.environ[SERVER_VARIABLE]
        config.stash[_server].close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that none of them is alone at the end."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """Give back the root logger: a command run inside a test logs to that test's stderr."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    with running_server() as url:
        yield url


@pytest.fixture(scope="session")
async def template(server_url: str) -> AsyncIterator[str]:
    async with migrated_database(server_url) as name:
        yield name


@pytest.fixture
async def database(server_url: str, template: str) -> AsyncIterator[str]:
    async with cloned_database(server_url, template) as url:
        yield url


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    pool = await open_pool(database, max_size=20)
    yield pool
    await pool.close()


@pytest.fixture
async def sessions(database: str) -> AsyncIterator[Sessions]:
    engine = make_engine(database)
    yield make_sessions(engine)
    await engine.dispose()


@pytest.fixture(scope="session")
async def shared_engine(server_url: str, template: str) -> AsyncIterator[AsyncEngine]:
    async with cloned_database(server_url, template) as url:
        engine = make_engine(url)
        yield engine
        await engine.dispose()


@pytest.fixture
async def session(shared_engine: AsyncEngine) -> AsyncIterator[AsyncSession]:
    async with shared_engine.connect() as connection:
        outer = await connection.begin()
        async with AsyncSession(
            connection,
            expire_on_commit=False,
            autoflush=False,
            join_transaction_mode="create_savepoint",
        ) as session:
            yield session
        await outer.rollback()


@pytest.fixture(scope="session")
def vault() -> Vault:
    return Vault(("only-for-tests-" * 3,))
