"""`demo`: the main job in one command, through the door that DashScope's SDKs use."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from sqlalchemy.ext.asyncio import AsyncSession

from app import PROGRAM
from app.billing.reports import ReportQuery, find_month, make_report
from app.cli.client import Refused, calling, fetch, save
from app.cli.context import load_settings
from app.cli.local.dashscope_calls import create_task, query_task, upload_picture
from app.cli.local.machine import Machine, MachineOptions, running_machine
from app.cli.local.sample import draw_sample
from app.cli.local.supervisor import stop_at_signals
from app.cli.local.up import introduce
from app.cli.output import print_table, say
from app.kit.clock import utc_now
from app.kit.errors import InvalidRequest, NotFound
from app.kit.ports import find_free_port, is_port_free
from app.kit.postgres.database import make_engine, make_sessions
from app.media.inspect import UnreadableImage, inspect_image, verify_picture
from app.settings import Settings
from app.teams.rules import KeySettings, TeamSettings
from app.teams.store import create_key, create_team, get_team, list_keys, revoke_key

TEAM = "demo"
KEY_NAME = "demo"
ACTOR = "demo"
PROMPT = "Paint it as a watercolour at sunset"
RUNNING_SECONDS = "3-5"
POLL_SECONDS = 0.5
INTERRUPTED = 130
COLUMNS_LEFT_OUT = frozenset({"failed", "canceled", "expired"})
"""So that the line fits on a terminal."""
FINAL = frozenset({"SUCCEEDED", "FAILED", "CANCELED", "UNKNOWN"})


@dataclass(frozen=True, slots=True)
class Source:
    """The picture to edit, and where its result goes."""

    name: str
    content: bytes
    folder: Path


def demo(
    *,
    image: Annotated[
        Path | None, typer.Argument(metavar="IMAGE", help="A picture; one is drawn without.")
    ] = None,
    prompt: Annotated[str, typer.Option(help="What to change.")] = PROMPT,
    once: Annotated[bool, typer.Option("--once", help="End when the picture is saved.")] = False,
) -> None:
    """Show the main job: start everything, edit one picture, save it, show what it cost."""
    settings = load_settings()
    source = _read_source(settings, image)
    port = settings.port if is_port_free(settings.host, settings.port) else None
    options = MachineOptions(
        port=port or find_free_port(settings.host),
        emulator_running_seconds=RUNNING_SECONDS,
        logs_to_files=True,
    )
    say("Starting the database, the API and the worker ...")
    with running_machine(settings, options) as machine:
        introduce(machine, stays=not once)
        stop_at_signals(machine.supervisor)
        key = asyncio.run(_make_key(machine))
        _show(machine, key, source, prompt)
        if once:
            say(f"All of it stops now; `{PROGRAM} up` starts it again and keeps it running.")
        else:
            say(f"The same by SDK: base URL {machine.url}/api/v1, key {key}")
            say(f"  API and docs: {machine.url}/docs")
            say("It keeps running; Ctrl-C stops it.")
            machine.supervisor.watch()


def _read_source(settings: Settings, image: Path | None) -> Source:
    if image is None:
        folder = settings.data_dir.resolve() / "demo"
        return Source("sample.png", draw_sample(), folder)
    try:
        content = image.read_bytes()
        inspect_image(content)
    except OSError as error:
        raise InvalidRequest(f"IMAGE {str(image)!r} cannot be read: {error.strerror}") from None
    except UnreadableImage as error:
        raise InvalidRequest(f"IMAGE {str(image)!r}: {error.message}") from None
    return Source(image.name, content, Path.cwd())


async def _make_key(machine: Machine) -> str:
    """A fresh key of the team `demo`: only digests are kept, so the last one is not to be had."""
    engine = make_engine(machine.database_url, pool_size=1)
    try:
        async with make_sessions(engine).begin() as session:
            return await _replace_key(session, machine)
    finally:
        await engine.dispose()


async def _replace_key(session: AsyncSession, machine: Machine) -> str:
    try:
        team = await get_team(session, TEAM)
    except NotFound:
        team = await create_team(session, TEAM, TeamSettings(), actor=ACTOR)
    for key, _ in await list_keys(session, team):
        if key.name == KEY_NAME and key.revoked_at is None:
            await revoke_key(session, key, actor=ACTOR)
    _, text = await create_key(
        session,
        machine.vault,
        KeySettings(name=KEY_NAME),
        owner=team,
        actor=ACTOR,
        now=utc_now(),
    )
    return text


def _show(machine: Machine, key: str, source: Source, prompt: str) -> None:
    say(f'Editing {source.name} through the DashScope door: "{prompt}"')
    with calling(machine.url, key) as client:
        oss_url = upload_picture(client, source.name, source.content)
        task_id = create_task(client, prompt=prompt, images=[oss_url])
        output = _watch(machine, client, task_id)
        if output["task_status"] != "SUCCEEDED":
            raise Refused(
                f"the task ended {output['task_status']}: {output.get('code')} "
                f"{output.get('message')}"
            )
        for result in output["results"]:
            name, content = fetch(client, result["url"])
            facts = verify_picture(content, len(content))
            path = save(source.folder, name, content)
            say(f"The picture is whole ({facts.width} x {facts.height}, {facts.bytes} bytes):")
            typer.echo(str(path))
    say("What the team has paid for this month:")
    asyncio.run(_print_usage(machine))


def _watch(machine: Machine, client: httpx.Client, task_id: str) -> dict[str, Any]:
    console = Console(stderr=True)
    shown = ""
    with console.status("PENDING") as progress:
        while True:
            output = query_task(client, task_id)
            if output["task_status"] != shown:
                shown = output["task_status"]
                console.print(f"  {utc_now():%H:%M:%S} {shown}", highlight=False)
                progress.update(shown)
            if shown in FINAL:
                return output
            if machine.supervisor.stopping.wait(POLL_SECONDS):
                say(f"Interrupted: task {task_id} is not done. What runs is stopped.")
                raise typer.Exit(INTERRUPTED)
            machine.supervisor.look()


async def _print_usage(machine: Machine) -> None:
    engine = make_engine(machine.database_url, pool_size=1)
    try:
        async with make_sessions(engine)() as session:
            team = await get_team(session, TEAM)
            first, today = find_month(utc_now(), team.timezone)
            query = ReportQuery(first, today, ("team",), team.id)
            made = await make_report(session, query)
    finally:
        await engine.dispose()
    columns = [name for name in made.columns if name not in COLUMNS_LEFT_OUT]
    print_table([row.to_dict() for row in made.rows], columns)
