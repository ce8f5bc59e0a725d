"""Postgres twice over one URL: SQLAlchemy for the slices, asyncpg for the hot statements."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg
import orjson
from sqlalchemy import DateTime, MetaData, make_url
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase

Connection: TypeAlias = (
    "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
)
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Record: TypeAlias = asyncpg.Record
Sessions: TypeAlias = async_sessionmaker[AsyncSession]
UniqueViolation: TypeAlias = asyncpg.UniqueViolationError

CONNECTION_TROUBLE = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    # Too many connections, a full disk, no memory.
    asyncpg.InsufficientResourcesError,
    asyncpg.IdleSessionTimeoutError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.QueryCanceledError,
    asyncpg.DeadlockDetectedError,
    # A migration has changed a type under a statement that this connection had prepared.
    asyncpg.InvalidCachedStatementError,
    asyncpg.OutdatedSchemaCacheError,
    asyncpg.LockNotAvailableError,
    # How asyncpg stumbles over a connection that was ended while it lay idle.
    asyncpg.InternalClientError,
)
"""What a lost, restarting or crowded Postgres raises: worth another try, never a bug of ours."""

UNWRITABLE = (ValueError, asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)
"""What values raise that no table takes: another try would fail again."""

STATEMENT_TIMEOUT_SECONDS = 30
LIST_TIMEOUT_SECONDS = 3
"""Of the statements of lists and reports, which must hold up nobody else."""
COMMAND_TIMEOUT_SECONDS = STATEMENT_TIMEOUT_SECONDS + 5
"""For a network that swallows everything: the server's own limit does not reach us then."""
IDLE_TRANSACTION_TIMEOUT_SECONDS = 60
CONNECT_TIMEOUT_SECONDS = 10
ACQUIRE_TIMEOUT_SECONDS = 20
"""Who waits longer for a connection of the pool hears so; nobody waits for ever."""

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """Every table of the gateway; times are aware, names follow one convention."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {datetime: DateTime(timezone=True)}  # noqa: RUF012


_once_committed: ContextVar[list[Callable[[], None]] | None] = ContextVar(
    "once_committed", default=None
)


def to_asyncpg_dsn(url: str) -> str:
    """The URL as libpq writes it: `postgresql://...`, whatever driver it named."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def make_engine(url: str, *, pool_size: int = 5) -> AsyncEngine:
    """An engine over asyncpg that checks a pooled connection before it is used again.

    The URL's parameters, such as `sslmode`, go to asyncpg as libpq writes them.
    """
    return create_async_engine(
        make_url(url).set(drivername="postgresql+asyncpg", query={}),
        pool_size=pool_size,
        pool_pre_ping=True,
        connect_args={
            "dsn": to_asyncpg_dsn(url),
            "timeout": CONNECT_TIMEOUT_SECONDS,
            "server_settings": _server_settings(),
        },
    )


def make_sessions(engine: AsyncEngine) -> Sessions:
    return async_sessionmaker(engine, expire_on_commit=False, autoflush=False)


if TYPE_CHECKING:
    _Pool = asyncpg.Pool[asyncpg.Record]
else:
    _Pool = asyncpg.Pool


class _BoundedPool(_Pool):
    """A pool whose connections are waited for, and given back, for so long and no longer."""

    def acquire(self, *, timeout: float | None = None) -> Any:
        return super().acquire(timeout=ACQUIRE_TIMEOUT_SECONDS if timeout is None else timeout)


async def open_pool(url: str, *, max_size: int, min_size: int = 1) -> Pool:
    """A pool of asyncpg connections; JSON columns are Python values on both sides."""
    return await _open_pool(url, max_size, min_size=min_size, settings=_server_settings())


async def open_list_pool(url: str, *, max_size: int) -> Pool:
    """A pool for lists and reports: opened when the first is asked for, cut off in time.

    Each statement is planned for its own values: a plan for any team would do for none.
    """
    settings = {
        **_server_settings(),
        "statement_timeout": f"{LIST_TIMEOUT_SECONDS}s",
        "plan_cache_mode": "force_custom_plan",
    }
    return await _open_pool(url, max_size, min_size=0, settings=settings)


async def _open_pool(url: str, max_size: int, *, min_size: int, settings: dict[str, str]) -> Pool:
    return await _BoundedPool(
        to_asyncpg_dsn(url),
        connection_class=asyncpg.Connection,
        record_class=asyncpg.Record,
        min_size=min_size,
        max_size=max_size,
        max_queries=50_000,
        max_inactive_connection_lifetime=300.0,
        loop=None,
        timeout=CONNECT_TIMEOUT_SECONDS,
        command_timeout=COMMAND_TIMEOUT_SECONDS,
        init=prepare_connection,
        reset=_leave_as_is,
        server_settings=settings,
    )


async def connect(url: str, *, is_patient: bool = False) -> Connection:
    """One connection outside any pool: for LISTEN and for advisory locks.

    A patient one waits for each statement as long as it takes.
    """
    settings = _server_settings()
    if is_patient:
        settings |= {"statement_timeout": "0", "idle_in_transaction_session_timeout": "0"}
    connection = await asyncpg.connect(
        to_asyncpg_dsn(url),
        timeout=CONNECT_TIMEOUT_SECONDS,
        command_timeout=None if is_patient else COMMAND_TIMEOUT_SECONDS,
        server_settings=settings,
    )
    await prepare_connection(connection)
    return connection


async def prepare_connection(connection: Connection) -> None:
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=lambda value: b"\x01" + orjson.dumps(value),
        decoder=lambda raw: orjson.loads(raw[1:]),
        format="binary",
    )


@asynccontextmanager
async def transaction(pool: Pool) -> AsyncIterator[Connection]:
    """One short transaction; nothing that waits for a network or a disk belongs inside."""
    said: list[Callable[[], None]] = []
    token = _once_committed.set(said)
    try:
        async with pool.acquire() as connection, connection.transaction():
            yield connection
    finally:
        _once_committed.reset(token)
    for say in said:
        say()


def once_committed(say: Callable[[], None]) -> None:
    """Log, or count, what this transaction has done, once it has; never what was rolled back."""
    said = _once_committed.get()
    if said is None:
        say()
    else:
        said.append(say)


@asynccontextmanager
async def transaction_within(pool: Pool, seconds: float) -> AsyncIterator[Connection]:
    """A transaction whose connection is cut when its time is over, without a farewell.

    In a network that swallows everything a rollback would hang as well. Raises what a lost
    connection raises, or TimeoutError when there was no connection to be had.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    connection = await pool.acquire(timeout=seconds)
    watchdog = loop.call_at(until, connection.terminate)
    try:
        async with connection.transaction():
            yield connection
    finally:
        watchdog.cancel()
        await pool.release(connection)


def _server_settings() -> dict[str, str]:
    return {
        "application_name": "dashgate",
        "jit": "off",
        "statement_timeout": f"{STATEMENT_TIMEOUT_SECONDS}s",
        "idle_in_transaction_session_timeout": f"{IDLE_TRANSACTION_TIMEOUT_SECONDS}s",
    }


async def _leave_as_is(_: Any) -> None:
    """Our statements leave no session state behind; the usual reset costs a round trip."""
