"""A client of a running gateway, for the commands that use it as its users do."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import httpx

from app import PROGRAM
from app.kit.errors import GatewayError, Unavailable

CALL_SECONDS = 30.0
WAIT_SECONDS = 5
OUTAGE_SECONDS = 60.0
OUTAGE_PAUSE_SECONDS = 0.5
FINAL = frozenset({"succeeded", "failed", "canceled", "expired"})


class Refused(GatewayError):
    """What the gateway said to a request that it did not take."""

    code = "refused"


@contextmanager
def calling(url: str, key: str) -> Iterator[httpx.Client]:
    """Calls to one gateway; an unreachable one is Unavailable with its address."""
    headers = {"Authorization": f"Bearer {key}"}
    try:
        with httpx.Client(
            base_url=url, headers=headers, timeout=CALL_SECONDS, trust_env=False
        ) as client:
            yield client
    except httpx.TransportError as error:
        raise Unavailable(
            f"no gateway answers at {url} ({type(error).__name__}): start one with "
            f"`{PROGRAM} up`, or name it with --url"
        ) from error


class Patience:
    """For a gateway that is being restarted: a pause before each new try, until it is over."""

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds

    def is_over(self) -> bool:
        time.sleep(OUTAGE_PAUSE_SECONDS)
        return time.monotonic() > self._until


def submit(client: httpx.Client, body: dict[str, Any]) -> dict[str, Any]:
    """Accept an edit by the native door; raises Refused with the gateway's own words."""
    return _read(client.post("/v1/jobs", json=body))


def follow(client: httpx.Client, job_id: str) -> Iterator[dict[str, Any]]:
    """The job again and again until it has ended; the last one is its end."""
    patience = Patience(OUTAGE_SECONDS)
    while True:
        try:
            answer = client.get(f"/v1/jobs/{job_id}", headers={"Prefer": f"wait={WAIT_SECONDS}"})
        except httpx.TransportError:
            if patience.is_over():
                raise
            continue
        is_away = answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
        if is_away and not patience.is_over():
            continue
        job = _read(answer)
        patience = Patience(OUTAGE_SECONDS)
        yield job
        if job["status"] in FINAL:
            return


def fetch(client: httpx.Client, url: str) -> tuple[str, bytes]:
    """A picture by its signed link, and the file name that the link carries."""
    response = client.get(url, headers={"Authorization": ""})
    if response.status_code != 200:
        raise Refused(f"the picture was not to be had: {_describe(response)}")
    return PurePosixPath(urlsplit(url).path).name, response.content


def save(folder: Path, name: str, content: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(content)
    return path


def _read(response: httpx.Response) -> dict[str, Any]:
    if response.status_code >= 400:
        raise Refused(_describe(response))
    answer: dict[str, Any] = response.json()
    return answer


def _describe(response: httpx.Response) -> str:
    try:
        answer = response.json()
    except ValueError:
        return f"HTTP {response.status_code} from {response.url.host}"
    return str(answer.get("detail") or answer.get("message") or answer)
