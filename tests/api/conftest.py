"""One API for all tests that do it no harm, with a team for each of them."""

from collections.abc import AsyncIterator

import pytest

from app.billing.price_store import ensure_default_prices
from app.kit.postgres.database import make_engine, make_sessions, open_pool
from app.media.store import open_store
from tests.api.factories import Backstage, Caller, new_caller
from tests.api.server import make_settings, make_vault, running_api
from tests.databases import cloned_database
from tests.factories import make_account


@pytest.fixture(scope="session")
async def backstage(
    server_url: str, template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Backstage]:
    folder = tmp_path_factory.mktemp("api")
    async with cloned_database(server_url, template) as database_url:
        engine = make_engine(database_url)
        sessions = make_sessions(engine)
        await ensure_default_prices(sessions)
        account = await make_account(sessions, make_vault())
        pool = await open_pool(database_url, max_size=4)
        settings = make_settings(database_url, folder, max_body_bytes=2**20)
        async with running_api(settings) as url:
            store = open_store(settings.resolved_store_url())
            yield Backstage(url, pool, sessions, make_vault(), store, folder / "store", account)
        await pool.close()
        await engine.dispose()


@pytest.fixture
async def caller(backstage: Backstage) -> AsyncIterator[Caller]:
    async with new_caller(backstage) as caller:
        yield caller


@pytest.fixture
async def stranger(backstage: Backstage) -> AsyncIterator[Caller]:
    """Of another team."""
    async with new_caller(backstage) as stranger:
        yield stranger
