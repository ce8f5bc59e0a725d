"""An API that hears events, and EventBridge's part played by hand."""

from collections.abc import AsyncIterator

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from app.billing.price_store import ensure_default_prices
from app.jobs.events import TASK_HINTED
from app.kit.postgres.database import connect, make_engine, make_sessions, open_pool
from app.media.store import open_store
from tests.api.factories import Backstage, Caller, new_caller
from tests.api.server import make_settings, make_vault, running_api
from tests.dashscope.events import make_certificate
from tests.databases import cloned_database
from tests.factories import make_account
from tests.hooks.bridge import PUBLIC_URL, TOKEN, Bridge, Hints
from tests.media.wire import always, reply, serve


@pytest.fixture(scope="session")
async def bridge(
    server_url: str, template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Bridge]:
    folder = tmp_path_factory.mktemp("hooks")
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    async with (
        cloned_database(server_url, template) as database_url,
        serve(always(reply("200 OK", make_certificate(key)))) as wire,
    ):
        certificate_url = f"http://{wire.host}/certificate.pem"
        settings = make_settings(
            database_url,
            folder,
            public_url=PUBLIC_URL,
            eventbridge_token=TOKEN,
            eventbridge_certificate_url=certificate_url,
        )
        engine = make_engine(database_url)
        sessions = make_sessions(engine)
        await ensure_default_prices(sessions)
        account = await make_account(sessions, make_vault())
        pool = await open_pool(database_url, max_size=4)
        async with running_api(settings) as url:
            store = open_store(settings.resolved_store_url())
            backstage = Backstage(
                url, pool, sessions, make_vault(), store, folder / "store", account
            )
            yield Bridge(database_url, url, certificate_url, key, backstage)
        await pool.close()
        await engine.dispose()


@pytest.fixture
async def caller(bridge: Bridge) -> AsyncIterator[Caller]:
    async with new_caller(bridge.backstage) as caller:
        yield caller


@pytest.fixture
async def hints(bridge: Bridge) -> AsyncIterator[Hints]:
    """What the engine would hear while a test runs."""
    connection = await connect(bridge.database_url)
    hints = Hints(bridge.backstage.pool)
    await connection.add_listener(TASK_HINTED, hints.note)
    yield hints
    await connection.close()
