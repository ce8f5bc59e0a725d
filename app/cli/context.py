"""What a command needs of its surroundings: settings, the vault, one transaction, who acts."""

import asyncio
import getpass
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import asyncpg
from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from app import PROGRAM
from app.kit.crypto import Vault
from app.kit.errors import InvalidRequest, Unavailable
from app.kit.postgres.database import CONNECTION_TROUBLE, make_engine, make_sessions
from app.settings import SettingMissing, Settings, to_variable

T = TypeVar("T")

DATABASE_URL_FILE = Path("run/database_url")
SECRET_KEY_FILE = Path("secret_key")
GATEWAY_URL_FILE = Path("run/url")

_SCHEMA_STATES = ("42P01", "42703", "3F000")
"""No such table, column or schema (PostgreSQL, appendix A)."""

_REFUSAL_CLASSES = ("08", "28", "3D", "53", "57")
"""Connection lost, not let in, no such database, out of resources, shutting down."""

_UNKNOWN_SETTING = "42704"
"""Of a parameter in the URL, which is sent with the first message."""


def load_settings() -> Settings:
    """The environment; raises InvalidRequest, which names the variable and not its value."""
    try:
        return Settings()
    except ValidationError as error:
        faults = map(_describe_fault, error.errors(include_input=False, include_url=False))
        raise InvalidRequest(f"a setting is wrong: {'; '.join(faults)}") from None


def _describe_fault(fault: ErrorDetails) -> str:
    """Whatever was meant for another variable may be a secret."""
    name = str(fault["loc"][0])
    variable = to_variable(name) if name in Settings.model_fields else name
    return f"{variable}: {fault['msg']}"


def find_database_url(settings: Settings) -> str:
    """DATABASE_URL, else that of the `up` in the data folder; raises SettingMissing."""
    running = settings.data_dir / DATABASE_URL_FILE
    if settings.database_url is not None:
        return settings.require_database_url()
    if running.is_file():
        return running.read_text().strip()
    raise SettingMissing(
        f"DATABASE_URL is not set, and no `{PROGRAM} up` runs in the data folder "
        f"{settings.data_dir.resolve()}: start it, name its folder with DASHGATE_DATA_DIR, or "
        "give the Postgres to use as postgresql://user:password@host:5432/name"
    )


def find_gateway_url(settings: Settings) -> str:
    """DASHGATE_URL, else that of the `up` in the data folder, else where `serve` would listen."""
    running = settings.data_dir / GATEWAY_URL_FILE
    if settings.url is not None:
        return settings.url.rstrip("/")
    if running.is_file():
        return running.read_text().strip()
    return f"http://{settings.host}:{settings.port}"


def open_vault(settings: Settings) -> Vault:
    """By DASHGATE_SECRET_KEY, else by the one in the data folder; raises SettingMissing."""
    kept = settings.data_dir / SECRET_KEY_FILE
    if settings.secret_key is None and kept.is_file():
        settings = settings.model_copy(update={"secret_key": SecretStr(kept.read_text())})
    return Vault(settings.require_secrets())


def in_transaction(work: Callable[[AsyncSession], Awaitable[T]]) -> T:
    """Do the work in one transaction on the gateway's database; raises GatewayError."""
    return asyncio.run(_in_transaction(find_database_url(load_settings()), work))


@contextmanager
def explaining_database_trouble(url: str) -> Iterator[None]:
    """Turn what an unreachable database or a missing schema raises into Unavailable."""
    place = _describe_place(url)
    try:
        yield
    except (DBAPIError, asyncpg.PostgresError, *CONNECTION_TROUBLE) as error:
        explanation = _explain(error, place)
        if explanation is None:
            raise
        raise Unavailable(explanation) from error


def who_acts() -> str:
    """`cli:alice`: the account on this machine that runs the command, for the audit log."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):
        return f"cli:{os.getuid()}"


async def _in_transaction(url: str, work: Callable[[AsyncSession], Awaitable[T]]) -> T:
    with explaining_database_trouble(url):
        engine = make_engine(url, pool_size=1)
        try:
            async with make_sessions(engine).begin() as session:
                return await work(session)
        finally:
            await engine.dispose()


def _describe_place(url: str) -> str:
    try:
        parts = make_url(url)
    except (ArgumentError, ValueError):
        raise InvalidRequest(
            "DATABASE_URL is no URL: write it as postgresql://user:password@host:5432/name"
        ) from None
    if parts.get_backend_name() != "postgresql":
        raise InvalidRequest(
            f"DATABASE_URL begins with {parts.drivername}://: only Postgres will do, as "
            "postgresql://user:password@host:5432/name"
        )
    return f"{parts.host or 'the local socket'}:{parts.port or 5432}/{parts.database or ''}"


def _explain(error: BaseException, place: str) -> str | None:
    origin = error.orig if isinstance(error, DBAPIError) else error
    state: str = getattr(origin, "sqlstate", None) or ""
    if state in _SCHEMA_STATES:
        return (
            f"the database at {place} has no schema of Dashgate, or an older one: run "
            f"`{PROGRAM} migrate`"
        )
    if (
        isinstance(origin, CONNECTION_TROUBLE)
        or state[:2] in _REFUSAL_CLASSES
        or state == _UNKNOWN_SETTING
    ):
        said = str(origin) or type(origin).__name__
        return f"Postgres at {place} is not to be had: {said}. Is DATABASE_URL right?"
    return None
