"""/docs and /openapi.json: whole without any other host."""

import asyncio
import os
import re
import shutil
from pathlib import Path

import pytest

from tests.api.factories import Backstage
from tests.api.server import open_client

BROWSER = shutil.which("chromium")
BROWSER_SECONDS = 60
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--virtual-time-budget=5000",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


@pytest.mark.parametrize("path", ["/docs", "/docs/start.js"])
async def test_the_page_names_no_host(backstage: Backstage, path: str) -> None:
    async with open_client(backstage.url) as http:
        answer = await http.get(path)

    assert answer.status_code == 200
    assert not re.search(r"""(\w+:)?//[\w.-]+\.\w+""", answer.text)


async def test_what_the_page_loads_is_served_here(backstage: Backstage) -> None:
    async with open_client(backstage.url) as http:
        page = (await http.get("/docs")).text
        places = re.findall(r'(?:src|href)="([^"]+)"', page)
        answers = [await http.get(place) for place in places]

    assert len(places) == 4
    assert [answer.status_code for answer in answers] == [200] * 4


async def test_the_page_may_load_from_nowhere_else(backstage: Backstage) -> None:
    async with open_client(backstage.url) as http:
        answer = await http.get("/docs")

    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "http" not in policy
    assert "unsafe-eval" not in policy


async def test_the_document_tells_how_to_sign_in(backstage: Backstage) -> None:
    async with open_client(backstage.url) as http:
        document = (await http.get("/openapi.json")).json()

    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert document["security"] == [{"key": []}]
    assert set(document["paths"]) >= {"/v1/jobs", "/v1/jobs/{job_id}"}
    assert next(iter(document["paths"])).startswith("/api/v1/services")


async def test_every_call_is_described_and_bodies_have_an_example(backstage: Backstage) -> None:
    async with open_client(backstage.url) as http:
        document = (await http.get("/openapi.json")).json()

    for path, calls in document["paths"].items():
        for call in calls.values():
            assert call["summary"], path
            assert call["description"], path
            for asked in call.get("parameters", []):
                assert asked.get("description") or asked["schema"].get("description"), (
                    path,
                    asked,
                )
            if "requestBody" in call:
                assert call["requestBody"]["content"]["application/json"]["example"], path


async def test_every_field_of_an_answer_is_described(backstage: Backstage) -> None:
    async with open_client(backstage.url) as http:
        schemas = (await http.get("/openapi.json")).json()["components"]["schemas"]

    assert {
        (name, field)
        for name, schema in schemas.items()
        for field, shape in schema.get("properties", {}).items()
        if not shape.get("description")
    } == set()
    assert [name for name, schema in schemas.items() if not schema.get("description")] == []


@pytest.mark.parametrize("path", ["/", "/docs/"])
async def test_the_bare_address_leads_to_the_page(backstage: Backstage, path: str) -> None:
    async with open_client(backstage.url) as http:
        answer = await http.get(path)

    assert (answer.status_code, answer.headers["Location"]) == (307, "/docs")


@pytest.mark.skipif(BROWSER is None, reason="NO CHROMIUM HERE: install it to test the docs page")
async def test_a_browser_shows_every_call_and_complains_of_nothing(
    backstage: Backstage, tmp_path: Path
) -> None:
    assert BROWSER is not None
    browser = await asyncio.create_subprocess_exec(
        BROWSER,
        *FLAGS,
        f"--user-data-dir={tmp_path}",
        "--dump-dom",
        f"{backstage.url}/docs",
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        page, log = await asyncio.wait_for(browser.communicate(), BROWSER_SECONDS)
    finally:
        if browser.returncode is None:
            browser.kill()

    for summary in ("Accept an edit", "Read a job", "List the team", "Fetch a picture"):
        assert summary in page.decode()
    assert "CONSOLE" not in log.decode()
