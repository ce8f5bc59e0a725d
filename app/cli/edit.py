"""`edit`: one edit through a running gateway, from a picture on disk to a picture on disk."""

from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from pydantic import SecretStr
from rich.console import Console

from app import PROGRAM
from app.cli.client import Refused, calling, fetch, follow, save, submit
from app.cli.context import find_gateway_url, load_settings
from app.cli.output import AsJson, print_json, say
from app.kit.errors import InvalidRequest
from app.media.data_uri import to_data_uri
from app.media.inspect import UnreadableImage, inspect_image
from app.settings import SettingMissing, Settings


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
    body: dict[str, Any] = {
        "prompt": prompt,
        "images": [_to_input(image) for image in images],
        "n": n,
        "size": size,
        "seed": seed,
        "negative_prompt": negative_prompt,
    }
    with calling(url or find_gateway_url(settings), _find_key(settings, key)) as client:
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


def _find_key(settings: Settings, given: str | None) -> str:
    key = SecretStr(given) if given else settings.key
    if key is None:
        raise SettingMissing(
            f"no key: set DASHGATE_KEY to a team's key (`{PROGRAM} key create --team TEAM "
            "--name NAME` makes one)"
        )
    return key.get_secret_value()


def _to_input(image: str) -> str:
    if image.startswith(("http://", "https://")):
        return image
    try:
        content = Path(image).read_bytes()
        return to_data_uri(content, inspect_image(content).content_type)
    except OSError as error:
        raise InvalidRequest(f"IMAGE {image!r} cannot be read: {error.strerror}") from None
    except UnreadableImage as error:
        raise InvalidRequest(f"IMAGE {image!r}: {error.message}") from None


def _watch(client: httpx.Client, job: dict[str, Any]) -> dict[str, Any]:
    say(f"Job {job['id']} is accepted.")
    console = Console(stderr=True)
    with console.status(job["status"]) as progress:
        for state in follow(client, job["id"]):
            job = state
            progress.update(job["status"])
    return job


def _tell(job: dict[str, Any], saved: list[Path]) -> None:
    for path in saved:
        typer.echo(str(path))
    usage = job["usage"]
    say(f"{usage['image_count']} pictures for {usage['amount']} {usage['currency']}.")
