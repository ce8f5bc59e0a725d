"""`edit`: one edit through a running gateway, from a picture on disk to a picture on disk."""

from itertools import chain
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated, Any

import httpx
import typer
from pydantic import SecretStr
from rich.console import Console

from app import PROGRAM
from app.cli.client import Refused, calling, fetch, follow, save, submit
from app.cli.context import find_gateway_url, load_settings
from app.cli.output import AsJson, print_json, say
from app.jobs.explain.phrases import say_before, say_hold
from app.kit.errors import InvalidRequest
from app.media.data_uri import to_data_uri
from app.media.inspect import UnreadableImage, inspect_image
from app.settings import SettingMissing, Settings

COPIED_ALONG = " \t\r\n\"'\u00a0\u200b\ufeff"


def edit(
    *,
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGE", help="One to three files or URLs.")
    ],
    prompt: Annotated[str, typer.Option(help="What to change.")],
    n: Annotated[int, typer.Option(help="How many pictures; each is paid for.")] = 1,
    size: Annotated[str | None, typer.Option(metavar="W*H", help="Size of the result.")] = None,
    seed: Annotated[int | None, typer.Option(help="Picture k is drawn with seed + k.")] = None,
    negative_prompt: Annotated[str | None, typer.Option(help="What to avoid.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path(),
    url: Annotated[str | None, typer.Option(help="The gateway; DASHGATE_URL by default.")] = None,
    key: Annotated[str | None, typer.Option(help="A team's key; better in DASHGATE_KEY.")] = None,
    as_json: AsJson = False,
) -> None:
    """Edit pictures through a running gateway and save the results."""
    settings = load_settings()
    address, team_key = _check_address(url or find_gateway_url(settings)), _find_key(settings, key)
    body: dict[str, Any] = {
        "prompt": prompt,
        "images": [_to_input(image) for image in images],
        "n": n,
        "size": size,
        "seed": seed,
        "negative_prompt": negative_prompt,
    }
    _prepare_folder(out)
    with calling(address, team_key) as client:
        job = _watch(client, submit(client, body))
        saved = [
            save(out, *fetch(client, picture["url"]))
            for picture in job["pictures"]
            if "url" in picture
        ]
    if as_json:
        print_json({**job, "saved": [str(path) for path in saved]})
    else:
        _tell(job, saved)
    if job["status"] != "succeeded":
        error = job["error"] or {"code": job["status"], "message": ""}
        raise Refused(f"the job ended {job['status']}: {error['code']} {error['message']}")


def _check_address(url: str) -> str:
    if not url.lower().startswith(("http://", "https://")):
        raise InvalidRequest(f"--url {url!r} is no address: write it as http://host:8080")
    # What DashScope SDKs are given is the same gateway.
    return url.rstrip("/").removesuffix("/api/v1")


def _find_key(settings: Settings, given: str | None) -> str:
    """Without the white space and the quotes that came along when it was copied."""
    key = SecretStr(given) if given else settings.key
    if key is None:
        raise SettingMissing(
            f"no key: set DASHGATE_KEY to a team's key (`{PROGRAM} key create --team TEAM "
            "--name NAME` makes one)"
        )
    text = key.get_secret_value().strip(COPIED_ALONG)
    odd = next((at for at, letter in enumerate(text, 1) if not "!" <= letter <= "~"), None)
    if not text or odd is not None:
        where = "is empty" if not text else f"has a character that no key has, at place {odd}"
        raise InvalidRequest(f"the key {where}: copy it again, from `dg_` to its end")
    return text


def _prepare_folder(out: Path) -> None:
    """Before anything is sent: a picture that is paid for must have a place."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise InvalidRequest(
            f"--out {str(out)!r} cannot be written to ({error.strerror}); nothing was sent"
        ) from None


def _to_input(image: str) -> str:
    if image.lower().startswith(("http://", "https://")):
        return image
    try:
        content = Path(image).read_bytes()
        return to_data_uri(content, inspect_image(content).content_type)
    except OSError as error:
        raise InvalidRequest(f"IMAGE {image!r} cannot be read: {error.strerror}") from None
    except UnreadableImage as error:
        raise InvalidRequest(f"IMAGE {image!r}: {error.message}") from None


def _watch(client: httpx.Client, job: dict[str, Any]) -> dict[str, Any]:
    """Its states until it has ended, shown in place on a terminal, else as lines."""
    job_id = job["id"]
    say(f"Job {job_id} is accepted.")
    console = Console(stderr=True)
    shown = ""
    try:
        with console.status(describe_progress(job)) as progress:
            for state in chain([job], follow(client, job_id)):
                job, told = state, describe_progress(state)
                progress.update(told)
                if told != shown and not console.is_terminal:
                    say(told)
                shown = told
    except KeyboardInterrupt:
        say(f"\nJob {job_id} goes on without you. To cancel it: {_cancel_by_hand(client, job_id)}")
        raise
    except httpx.TransportError:
        say(f"Job {job_id} was accepted and goes on, whatever has become of the connection.")
        raise
    return job


def describe_progress(job: dict[str, Any]) -> str:
    """Its status, and while it waits: its place, what holds it up and for how long."""
    queue = job.get("queue")
    if not queue:
        return str(job["status"])
    told = f"{job['status']}, {say_before(queue['position'])}: {say_hold(queue['held_by'])}"
    if queue.get("eta_seconds"):
        told += f", done in about {queue['eta_seconds']['p50']:.0f} s"
    return told


def _cancel_by_hand(client: httpx.Client, job_id: str) -> str:
    address = str(client.base_url).rstrip("/")
    return f'curl -X POST -H "Authorization: Bearer KEY" {address}/v1/jobs/{job_id}/cancel'


def _tell(job: dict[str, Any], saved: list[Path]) -> None:
    for path in saved:
        typer.echo(str(path))
    usage = job["usage"]
    count = usage["image_count"]
    pictures = "1 picture" if count == 1 else f"{count} pictures"
    say(f"{pictures} for {usage['amount']} {usage['currency']}.")
