"""What a deployment needs before its first request: schema, prices, an account, an operator."""

from app.accounts.store import ensure_default_account
from app.billing.price_store import ensure_default_prices
from app.kit.crypto import Vault
from app.kit.postgres.database import Pool, make_engine, make_sessions
from app.kit.postgres.schema import migrate
from app.settings import Settings
from app.teams.authenticate import ensure_operator_key


async def prepare_database(url: str) -> None:
    """The schema at head, and the list prices known."""
    engine = make_engine(url, pool_size=2)
    try:
        await migrate(engine)
        await ensure_default_prices(make_sessions(engine))
    finally:
        await engine.dispose()


async def bootstrap_account(url: str, settings: Settings, vault: Vault) -> None:
    """The account `default` from DASHSCOPE_API_KEY, unless it is there already."""
    if settings.dashscope_api_key is None:
        return
    engine = make_engine(url, pool_size=1)
    try:
        await ensure_default_account(
            make_sessions(engine),
            vault,
            api_key=settings.dashscope_api_key,
            base_url=settings.dashscope_http_base_url,
        )
    finally:
        await engine.dispose()


async def bootstrap_owner(pool: Pool, settings: Settings, vault: Vault) -> None:
    """The operator key that DASHGATE_ADMIN_KEY names."""
    if settings.admin_key is not None:
        await ensure_operator_key(pool, vault, settings.admin_key.get_secret_value())
