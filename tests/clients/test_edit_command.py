"""`edit` as a person types it: what it shows, what it refuses before anything is sent."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import httpx
import orjson
import pytest

from app.media.inspect import inspect_image
from tests.gateway import Gateway, Seat
from tests.house.sources import ROOT
from tests.media.images import make_image

SECONDS = 60
ARGUMENTS = ("--prompt", "make it blue")


class Person:
    """Somebody in an empty folder who knows an address and a key."""

    def __init__(self, gateway: Gateway, seat: Seat, folder: Path) -> None:
        self.gateway, self.seat, self.folder = gateway, seat, folder

    async def begin(self, *arguments: str, key: str | None = None) -> Process:
        ours = ("DASHGATE_", "DASHSCOPE_", "DATABASE_URL")
        environment = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
        environment |= {
            "DASHGATE_KEY": self.seat.key if key is None else key,
            "DASHGATE_URL": self.gateway.url,
            "DASHGATE_NO_SETUP": "1",
            "PYTHONPATH": str(ROOT),
        }
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "app", "edit", *arguments),
            cwd=self.folder, env=environment, stdout=PIPE, stderr=PIPE,
        )  # fmt: skip

    async def run(self, *arguments: str, key: str | None = None) -> tuple[int, str, str]:
        process = await self.begin(*arguments, key=key)
        async with asyncio.timeout(SECONDS):
            out, err = await process.communicate()
        assert process.returncode is not None
        assert b"Traceback" not in err
        return process.returncode, out.decode(), err.decode()

    async def count_jobs(self) -> int:
        headers = {"Authorization": f"Bearer {self.seat.key}"}
        async with httpx.AsyncClient(trust_env=False, headers=headers) as http:
            jobs: list[object] = (await http.get(f"{self.gateway.url}/v1/jobs")).json()["data"]
            return len(jobs)


@pytest.fixture
async def person(gateway: Gateway, tmp_path: Path) -> Person:
    (tmp_path / "cat.png").write_bytes(make_image())
    return Person(gateway, await gateway.make_seat(), tmp_path)


@pytest.fixture
async def idle_person(idle_gateway: Gateway, tmp_path: Path) -> Person:
    """Whose jobs stay queued."""
    return Person(idle_gateway, await idle_gateway.make_seat(), tmp_path)


async def test_the_pictures_are_saved_and_their_cost_is_told(person: Person) -> None:
    code, out, err = await person.run("cat.png", *ARGUMENTS, "--n", "2", "--out", "new/blue")

    assert code == 0, err
    paths = [person.folder / line for line in out.splitlines()]
    assert len(paths) == 2
    for path in paths:
        assert inspect_image(path.read_bytes()).content_type == "image/png"
    assert "is accepted" in err
    assert "2 pictures for 0.40 CNY" in err


async def test_a_document_is_all_that_is_printed_when_asked_for(person: Person) -> None:
    code, out, _ = await person.run("cat.png", *ARGUMENTS, "--json")

    assert code == 0
    job = orjson.loads(out)
    assert job["status"] == "succeeded"
    assert all(Path(person.folder, path).is_file() for path in job["saved"])


async def test_a_waiting_job_shows_its_place_and_goes_on_after_ctrl_c(
    idle_person: Person,
) -> None:
    process = await idle_person.begin("HTTPS://IMG.example/a.png", *ARGUMENTS)
    assert process.stderr is not None
    said = ""
    async with asyncio.timeout(SECONDS):
        while "queued, the next: no account takes work" not in said:
            said += (await process.stderr.readline()).decode()
        process.send_signal(signal.SIGINT)
        said += (await process.stderr.read()).decode()
        code = await process.wait()

    assert code == 128 + signal.SIGINT
    assert "Traceback" not in said
    assert "goes on without you" in said
    assert "/cancel" in said
    assert idle_person.seat.key not in said
    assert await idle_person.count_jobs() == 1


@pytest.mark.parametrize("wrong", ["cat.png", "/proc/nowhere", "/dev/null/x"])
async def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_sent(
    person: Person, wrong: str
) -> None:
    code, _, err = await person.run("cat.png", *ARGUMENTS, "--out", wrong)

    assert code == 1
    assert "--out" in err
    assert "nothing was sent" in err
    assert await person.count_jobs() == 0


@pytest.mark.parametrize("around", ["{}\n", " {} ", '"{}"', "'{}'", "\ufeff{}"])
async def test_what_came_along_with_a_copied_key_is_left_out(person: Person, around: str) -> None:
    code, _, err = await person.run("cat.png", *ARGUMENTS, key=around.format(person.seat.key))

    assert code == 0, err


@pytest.mark.parametrize("key", ["ключ" * 12, "dg_live key", " ", "“dg_quoted”"])
async def test_a_key_with_letters_that_no_key_has_is_named(person: Person, key: str) -> None:
    code, _, err = await person.run("cat.png", *ARGUMENTS, key=key)

    assert code == 1
    assert "the key" in err
    assert "no gateway answers" not in err
    assert key.strip() == "" or key.strip() not in err


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://a.example", "gateway"])
async def test_an_address_without_a_scheme_is_named(person: Person, url: str) -> None:
    code, _, err = await person.run("cat.png", *ARGUMENTS, "--url", url)

    assert code == 1
    assert "is no address" in err
