"""GET /v1/jobs/{id}/pictures/{name}: byte for byte, to the team or to the holder of a link."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

import httpx
import pytest

from app.jobs.links import Links
from app.kit.crypto import Vault
from tests.api.factories import PICTURE, Caller
from tests.api.server import open_client

LINK_SECONDS = 24 * 3600


@pytest.fixture
async def job(caller: Caller) -> dict[str, Any]:
    """A succeeded one with two pictures."""
    job = await caller.create(n=2)
    await caller.backstage.finish_job(job["id"])
    return await caller.read(job["id"])


@pytest.fixture
async def anyone(caller: Caller) -> AsyncIterator[httpx.AsyncClient]:
    """Without a key."""
    async with open_client(caller.backstage.url) as anyone:
        yield anyone


def sign(caller: Caller, job: dict[str, Any], *, now: datetime, vault: Vault | None = None) -> str:
    links = Links(vault or caller.backstage.vault, caller.backstage.url, LINK_SECONDS)
    return links.picture_url(UUID(job["id"]), 0, content_type="image/png", now=now)


async def test_a_link_works_without_a_key(job: dict[str, Any], anyone: httpx.AsyncClient) -> None:
    answer = await anyone.get(job["pictures"][1]["url"])

    assert (answer.status_code, answer.content) == (200, PICTURE)
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.headers["Content-Length"] == str(len(PICTURE))
    assert answer.headers["Content-Disposition"] == f'inline; filename="{job["id"]}-1.png"'
    assert answer.headers["Cache-Control"] == "private, max-age=3600, immutable"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert job["pictures"][1]["sha256"] == sha256(answer.content).hexdigest()


@pytest.mark.parametrize("name", ["0", "0.png", "{id}-0.png"])
async def test_the_key_opens_a_picture_by_number_and_by_name(
    caller: Caller, job: dict[str, Any], name: str
) -> None:
    answer = await caller.http.get(f"/v1/jobs/{job['id']}/pictures/{name.format(id=job['id'])}")

    assert (answer.status_code, answer.content) == (200, PICTURE)
    assert answer.headers["Content-Disposition"].endswith(f'{job["id"]}-0.png"')


async def test_a_head_tells_all_but_the_bytes(
    job: dict[str, Any], anyone: httpx.AsyncClient
) -> None:
    url = job["pictures"][0]["url"]
    whole = await anyone.get(url)

    head = await anyone.head(url)

    assert (head.status_code, head.content) == (200, b"")
    for name in ("Content-Length", "Content-Type", "ETag", "Content-Disposition"):
        assert head.headers[name] == whole.headers[name]


async def test_a_picture_is_not_sent_twice(job: dict[str, Any], anyone: httpx.AsyncClient) -> None:
    url = job["pictures"][0]["url"]
    etag = (await anyone.get(url)).headers["ETag"]

    answer = await anyone.get(url, headers={"If-None-Match": etag})

    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["ETag"] == etag == f'"{job["pictures"][0]["sha256"]}"'


async def test_a_link_lasts_as_long_as_promised(
    caller: Caller, job: dict[str, Any], anyone: httpx.AsyncClient
) -> None:
    url = sign(caller, job, now=datetime.now(UTC) - timedelta(seconds=LINK_SECONDS - 60))

    assert (await anyone.get(url)).status_code == 200


async def test_an_expired_link_is_refused(
    caller: Caller, job: dict[str, Any], anyone: httpx.AsyncClient
) -> None:
    url = sign(caller, job, now=datetime.now(UTC) - timedelta(seconds=LINK_SECONDS + 3600))

    answer = await anyone.get(url)

    assert (answer.status_code, answer.json()["code"]) == (403, "link_invalid")


async def test_a_link_of_another_deployment_is_refused(
    caller: Caller, job: dict[str, Any], anyone: httpx.AsyncClient
) -> None:
    url = sign(caller, job, now=datetime.now(UTC), vault=Vault(("another-deployment's" * 3,)))

    assert (await anyone.get(url)).status_code == 403


@pytest.mark.parametrize(
    ("part", "instead"),
    [
        ("-0.png", "-1.png"),
        ("{id}-0.png", "0"),
        ("expires=", "expires=9"),
        (r"expires=\d+", "expires=1099511627776"),
        ("signature=", "signature=0"),
        ("signature=", "signature=%00"),
    ],
)
async def test_an_altered_link_is_refused(
    caller: Caller, job: dict[str, Any], anyone: httpx.AsyncClient, part: str, instead: str
) -> None:
    url = job["pictures"][0]["url"]
    altered = re.sub(part.format(id=job["id"]), instead, url, count=1)

    answer = await anyone.get(altered)

    assert altered != url
    assert (answer.status_code, answer.json()["code"]) == (403, "link_invalid")


async def test_the_signature_of_one_job_does_not_open_another(
    caller: Caller, job: dict[str, Any], anyone: httpx.AsyncClient
) -> None:
    other = await caller.create(n=2)
    await caller.backstage.finish_job(other["id"])

    answer = await anyone.get(job["pictures"][0]["url"].replace(job["id"], other["id"]))

    assert answer.status_code == 403


@pytest.mark.parametrize("query", ["?expires=99999999999", "?signature=00", ""])
async def test_half_a_link_is_none(
    job: dict[str, Any], anyone: httpx.AsyncClient, query: str
) -> None:
    answer = await anyone.get(f"/v1/jobs/{job['id']}/pictures/0{query}")

    assert answer.status_code == 401


@pytest.mark.parametrize(
    "name", ["2", "9999999", "-1", "zero", "%00", "1e0", "%D9%A0%D9%A0%D9%A0"]
)
async def test_there_is_no_other_picture(caller: Caller, job: dict[str, Any], name: str) -> None:
    answer = await caller.http.get(f"/v1/jobs/{job['id']}/pictures/{name}")

    assert (answer.status_code, answer.json()["code"]) == (404, "no_picture")


async def test_a_picture_is_not_shown_before_its_job_has_ended(caller: Caller) -> None:
    job = await caller.create(n=2)
    await caller.backstage.collect_job(job["id"])

    answer = await caller.http.get(f"/v1/jobs/{job['id']}/pictures/0")

    assert answer.status_code == 404


async def test_links_stay_the_same_for_a_while(caller: Caller, job: dict[str, Any]) -> None:
    """So that a cache between us and a browser is of use."""
    on_the_hour = datetime(2026, 11, 23, 7, tzinfo=UTC)

    first = sign(caller, job, now=on_the_hour + timedelta(seconds=1))
    later = sign(caller, job, now=on_the_hour + timedelta(minutes=59))

    assert first == later


async def test_links_lead_to_the_public_address(caller: Caller, job: dict[str, Any]) -> None:
    through_a_proxy = await caller.http.get(
        f"/v1/jobs/{job['id']}",
        headers={"Host": "pictures.example", "X-Forwarded-Proto": "https"},
    )

    url = through_a_proxy.json()["pictures"][0]["url"]
    assert url.startswith(f"https://pictures.example/v1/jobs/{job['id']}/pictures/")
