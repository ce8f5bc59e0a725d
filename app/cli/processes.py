"""The processes of a deployment: serve, work, migrate, and the upstream's stand-in."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
import uvicorn

from app.cli.bootstrap import bootstrap_account, bootstrap_owner, prepare_database
from app.cli.context import (
    explaining_database_trouble,
    find_database_url,
    load_settings,
)
from app.cli.output import say
from app.emulator.disturb.faults import load_faults
from app.emulator.options import EmulatorOptions, parse_key, parse_span
from app.emulator.server import DEFAULT_PORT, serve_emulator
from app.kit.crypto import Vault
from app.kit.postgres.database import open_pool
from app.kit.postgres.schema import head_revision
from app.settings import Settings
from app.wiring import require_schema
from app.worker import run_worker

KEEP_ALIVE_SECONDS = 75
"""Longer than client pools keep idle connections, so that none is reset while it is reused."""


def serve(
    *,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
) -> None:
    """Run the API process."""
    settings = load_settings()
    _check(settings)
    uvicorn.run(
        "app.main:create_app",
        factory=True,
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
    with explaining_database_trouble(settings.require_database_url()):
        asyncio.run(run_worker(settings))


def migrate_database() -> None:
    """Bring the schema to head; several at once do no harm."""
    settings = load_settings()
    url = find_database_url(settings)
    with explaining_database_trouble(url):
        asyncio.run(prepare_database(url))
    say(f"The schema is at {head_revision()}.")


def emulator(
    *,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = DEFAULT_PORT,
    running_seconds: Annotated[
        str, typer.Option(help="How long a task runs: 40, or 30-75 to draw from.")
    ] = "30-75",
    ttl_seconds: Annotated[
        float, typer.Option(min=1, help="How long an ended task is remembered.")
    ] = 24 * 3600,
    time_scale: Annotated[
        float, typer.Option(min=0, help="Multiplies all times of a task; 0.01 hurries.")
    ] = 1.0,
    strict_inputs: Annotated[
        bool, typer.Option("--strict-inputs", help="An unreachable URL fails its task.")
    ] = False,
    strict_create: Annotated[
        bool, typer.Option("--strict-create", help="Bad fields are refused at the create.")
    ] = False,
    key: Annotated[
        list[str] | None, typer.Option(help="Let in only KEY or KEY=ACCOUNT; repeatable.")
    ] = None,
    faults: Annotated[
        Path | None, typer.Option(help="JSON file of faults to inject.", exists=True)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Makes durations and faults repeatable.")
    ] = None,
) -> None:
    """Stand in for DashScope: same wire, same limits, no bill."""
    options = EmulatorOptions(
        keys=dict(parse_key(text) for text in key or ()),
        running_seconds=parse_span(running_seconds),
        ttl_seconds=ttl_seconds,
        time_scale=time_scale,
        strict_inputs=strict_inputs,
        strict_create=strict_create,
        faults=load_faults(faults) if faults else (),
        seed=seed,
    )
    say(f"The emulator stands in for DashScope at http://{host}:{port}/api/v1")
    serve_emulator(options, host, port)


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
        await bootstrap_owner(pool, settings, vault)
    finally:
        await pool.close()
    await bootstrap_account(url, settings, vault)
