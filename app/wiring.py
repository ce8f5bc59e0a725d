"""What a process lives on, opened in order and closed in reverse."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from app import PROGRAM
from app.jobs.accept import AcceptDesk
from app.jobs.accepting.endings import Endings
from app.jobs.events import CHANNELS
from app.jobs.intake import Intake
from app.jobs.queue.board import Board
from app.kit.clock import Clock, utc_now
from app.kit.crypto import Vault
from app.kit.deadlines import within
from app.kit.errors import Unavailable
from app.kit.postgres.database import (
    Pool,
    Sessions,
    make_engine,
    make_sessions,
    open_list_pool,
    open_pool,
)
from app.kit.postgres.listener import Listener
from app.kit.postgres.presence import Presence
from app.kit.postgres.schema import find_revision, head_revision
from app.media.files.quota import GIGABYTE, InputQuota
from app.media.register import DatabaseRegister
from app.media.store import PictureStore, StoreUnavailable, open_store
from app.settings import Settings
from app.teams.authenticate import KeyRing

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

STORE_LOOK_SECONDS = 5.0
CLOSE_SECONDS = 5.0


class SchemaNotReady(Unavailable):
    """The database's schema is not the one this code was written for."""

    code = "schema_not_ready"


@dataclass(frozen=True, slots=True)
class Resources:
    """What both kinds of process use."""

    settings: Settings
    database_url: str = field(repr=False)
    engine: AsyncEngine
    sessions: Sessions
    pool: Pool
    """Creates, wishes and the engine."""
    reads: Pool
    """Single jobs and pictures."""
    lists: Pool
    """Lists and reports, with little time each: they may hold up each other and nobody else."""
    vault: Vault
    store: PictureStore
    listener: Listener
    clock: Clock


@dataclass(frozen=True, slots=True)
class Doors:
    """What the doors use on top."""

    base: Resources
    keys: KeyRing
    accept: AcceptDesk
    board: Board
    presence: Presence
    endings: Endings
    stopping: asyncio.Event
    """Set when the process is asked to stop: whoever holds an answer back gives it now."""


@asynccontextmanager
async def open_resources(settings: Settings) -> AsyncIterator[Resources]:
    """Database, secrets and store. Raises SettingMissing and what a lost database raises."""
    url = settings.require_database_url()
    vault = Vault(settings.require_secrets())
    async with AsyncExitStack() as stack:
        engine = make_engine(url)
        stack.push_async_callback(engine.dispose)
        size = settings.database_pool_size
        pool = await open_pool(url, max_size=size)
        stack.push_async_callback(_close, pool)
        reads = await open_pool(url, max_size=max(size // 2, 1), min_size=0)
        stack.push_async_callback(_close, reads)
        lists = await open_list_pool(url, max_size=max(size // 4, 1))
        stack.push_async_callback(_close, lists)
        store = open_store(settings.resolved_store_url(), register=DatabaseRegister(pool))
        yield Resources(
            settings=settings,
            database_url=url,
            engine=engine,
            sessions=make_sessions(engine),
            pool=pool,
            reads=reads,
            lists=lists,
            vault=vault,
            store=store,
            listener=Listener(url, CHANNELS),
            clock=utc_now,
        )


async def _close(pool: Pool) -> None:
    """In good order, unless the network swallows everything."""
    with suppress(TimeoutError):
        await within(CLOSE_SECONDS, pool.close())


@asynccontextmanager
async def open_doors(base: Resources, stopping: asyncio.Event) -> AsyncIterator[Doors]:
    """The intake and what runs beside the requests of an API process."""
    intake = Intake(base.pool)
    presence = Presence(base.database_url)
    endings = Endings(base.reads, base.listener)
    stop = asyncio.Event()
    beside = [
        asyncio.create_task(base.listener.run(stop)),
        asyncio.create_task(presence.run(stop)),
        asyncio.create_task(endings.run(stop)),
    ]
    intake.start()
    try:
        yield Doors(
            base=base,
            keys=KeyRing(base.pool, base.vault, base.clock),
            accept=AcceptDesk(
                pool=base.pool,
                store=base.store,
                intake=intake,
                job_ttl_seconds=base.settings.job_ttl_seconds,
                quota=InputQuota(
                    base.pool, limit_bytes=int(base.settings.team_input_gb * GIGABYTE)
                ),
                accept_seconds=base.settings.accept_timeout_seconds,
            ),
            board=Board(base.reads),
            presence=presence,
            endings=endings,
            stopping=stopping,
        )
    finally:
        await intake.close()
        stop.set()
        await asyncio.gather(*beside)


async def look_at_store(store: PictureStore) -> None:
    """Mark a new store before its first use; trouble is said and keeps nobody from starting."""
    try:
        async with asyncio.timeout(STORE_LOOK_SECONDS):
            await store.require_mark()
    except StoreUnavailable as error:
        log.error("store.unavailable", reason=error.message)
    except TimeoutError:
        log.error("store.unavailable", reason=f"no answer within {STORE_LOOK_SECONDS:g} s")


async def require_schema(pool: Pool) -> None:
    """Raises SchemaNotReady with what to do."""
    found, wanted = await find_revision(pool), head_revision()
    if found != wanted:
        raise SchemaNotReady(
            f"the database is at schema {found or 'none'}, this code needs {wanted}: run "
            f"`{PROGRAM} migrate` first"
        )
