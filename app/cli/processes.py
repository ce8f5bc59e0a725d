"""The processes of a deployment: serve, work, and what migrates its database."""

import asyncio
from typing import Annotated

import typer
import uvicorn
import uvloop

from app.cli.bootstrap import bootstrap_account, bootstrap_owner, prepare_database
from app.cli.context import (
    explaining_database_trouble,
    find_database_url,
    load_settings,
)
from app.cli.output import say
from app.kit.crypto import Vault
from app.kit.ports import check_listening
from app.kit.postgres.database import open_pool
from app.kit.postgres.schema import head_revision
from app.media.register import DatabaseRegister
from app.media.store import open_store
from app.settings import Settings
from app.web.connections import make_protocol
from app.wiring import require_schema
from app.worker import run_worker

KEEP_ALIVE_SECONDS = 75
"""Longer than client pools keep idle connections, so that none is reset while it is reused."""


def serve(
    *,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port to listen on.")] = None,
) -> None:
    """Run the API process."""
    settings = load_settings()
    _check(settings)
    check_listening(host or settings.host, port or settings.port)
    uvicorn.run(
        "app.main:create_app",
        factory=True,
        http=make_protocol(),
        ws="none",
        host=host or settings.host,
        port=port or settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(settings.stop_grace_seconds),
    )


def work() -> None:
    """Run the worker process; SIGTERM ends what is in hand and stops."""
    settings = load_settings()
    _check(settings)
    with (
        explaining_database_trouble(settings.require_database_url()),
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(run_worker(settings))


def migrate_database() -> None:
    """Bring the schema to head; several at once do no harm."""
    settings = load_settings()
    url = find_database_url(settings)
    with explaining_database_trouble(url):
        asyncio.run(prepare_database(url))
    say(f"The schema is at {head_revision()}.")


def _check(settings: Settings) -> None:
    """Say what is missing before a process starts, rather than in the middle of it."""
    vault = Vault(settings.require_secrets())
    url = settings.require_database_url()
    with explaining_database_trouble(url):
        asyncio.run(_check_database(url, settings, vault))


async def _check_database(url: str, settings: Settings, vault: Vault) -> None:
    pool = await open_pool(url, max_size=1)
    try:
        await require_schema(pool)
        open_store(settings.resolved_store_url(), register=DatabaseRegister(pool))
        await bootstrap_owner(pool, settings, vault)
    finally:
        await pool.close()
    await bootstrap_account(url, settings, vault)
