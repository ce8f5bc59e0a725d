"""Secrets that can be told apart from everything else, and an upstream that repeats them."""

import asyncio
import sys
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx
import orjson
from pydantic import SecretStr
from sqlalchemy import make_url, text

from app.accounts import store as account_store
from app.accounts.rules import AccountLimits, NewAccount
from app.kit.crypto import Vault
from app.kit.ports import find_free_port
from app.kit.postgres.database import Pool, open_pool
from app.teams.rules import Role
from tests.api.factories import edit
from tests.api.server import open_client
from tests.dashscope_api.client import ASYNC, IMAGE_TO_IMAGE
from tests.emulator.client import make_body
from tests.factories import ACTOR, make_key
from tests.gateway import SECRET, Gateway, running_gateway
from tests.media.wire import Request, reply, serve
from tests.waiting import wait_until

PATIENCE_SECONDS = 20.0
UPSTREAM_KEY = "sk-telltale-of-the-upstream-1f2e3d4c5b6a"
OLD_SECRET = "telltale-of-an-older-deployment-9Xy7Qw"
ADMIN_KEY = "telltale-of-an-operators-own-key-5Gh2Kl"
TOKEN = "telltale-of-the-event-target-8Mn4Bv"
STORE_SECRET = "telltale-of-the-bucket-3Zx6Cv"
SIGNATURE = "telltale-of-a-result-link-7Jk1Po"
ENVIRONMENT = {
    "DASHGATE_SECRET_KEY": f"{SECRET},{OLD_SECRET}",
    "DASHGATE_ADMIN_KEY": ADMIN_KEY,
    "DASHGATE_EVENTBRIDGE_TOKEN": TOKEN,
    "DASHSCOPE_API_KEY": UPSTREAM_KEY,
    "AWS_SECRET_ACCESS_KEY": STORE_SECRET,
    "DASHGATE_LOG_LEVEL": "debug",
}
DOORS = ("/v1/jobs", "/api/v1/tasks")
LANES = 12
"""An answer in doubt stops one key, and a bad key is not asked again."""
ENDS = {"succeeded", "failed", "canceled", "expired"}


@dataclass(slots=True)
class Parrot:
    """An upstream whose every message repeats the key that it was asked with."""

    prompts: dict[str, str] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    """The prompts of the creates that came."""
    questions_count: int = 0
    """Every third is answered by an error."""

    async def answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        said = f"you said {request.headers.get('authorization', 'nothing')}"
        if request.method == "POST" and request.body:
            writer.write(self._create(orjson.loads(request.body)["input"]["prompt"], said))
            return
        task_id = request.target.partition("?")[0].rpartition("/")[2]
        self.questions_count += 1
        if self.questions_count % 3 == 0:
            writer.write(reply("500 Oops", make_error("InternalError", said)))
            return
        if task_id == "tasks":
            rows = [{"task_id": each, "status": "FAILED"} for each in self.prompts]
            page = {"total": len(rows), "total_page": 1, "page_no": 1, "page_size": 100}
            writer.write(reply("200 OK", orjson.dumps({"request_id": said, **page, "data": rows})))
            return
        output: dict[str, Any] = {"task_id": task_id, "task_status": "FAILED", "message": said}
        output["code"] = "DataInspectionFailed"
        if self.prompts[task_id] == "result":
            url = f"http://elsewhere.example/a.png?Expires=1&Signature={SIGNATURE}"
            output = {"task_id": task_id, "task_status": "SUCCEEDED", "results": [{"url": url}]}
        writer.write(reply("200 OK", orjson.dumps({"request_id": said, "output": output})))

    def _create(self, prompt: str, said: str) -> bytes:
        is_first = prompt not in self.seen
        self.seen.add(prompt)
        trouble = {
            "bad request": reply("400 Bad", make_error("InvalidParameter", said)),
            "a page": reply("200 OK", f"<html>{said}</html>".encode()),
            "another shape": reply("200 OK", orjson.dumps([said])),
            "no HTTP": said.encode() + b"\r\n\r\n",
            "moved": reply("302 Found", b"", f"Location: http://elsewhere.example/?{quote(said)}"),
        }
        if is_first:  # or else all accounts would rest
            trouble["bad key"] = reply("401 No", make_error("InvalidApiKey", said))
        if prompt in trouble:
            return trouble[prompt]
        task_id = f"task-{len(self.prompts)}"
        self.prompts[task_id] = prompt
        output = {"task_id": task_id, "task_status": "PENDING"}
        return reply("200 OK", orjson.dumps({"request_id": "r", "output": output}))


def make_error(code: str, message: str) -> bytes:
    return orjson.dumps({"code": code, "message": message, "request_id": "r"})


PROMPTS = (
    *("task", "result", "bad request", "a page", "another shape", "no HTTP", "moved"),
    "bad key",  # the account rests after it
)


@dataclass(slots=True)
class Scene:
    """A gateway that has done all it can with secrets, and everything that it has told."""

    gateway: Gateway
    parrot: Parrot
    secrets: dict[str, str] = field(repr=False)
    failed_id: str = ""
    told: dict[str, str] = field(default_factory=dict)
    """Answers of the API and of commands, and logs of the processes, by what they are."""
    rows: dict[str, str] = field(default_factory=dict)
    """Every table as text."""

    def find_secrets(self, told: str, *names: str) -> list[str]:
        """Which of the secrets show, as they are or in another dress; all without `names`."""
        return [
            name
            for name in names or self.secrets
            if any(dress in told for dress in to_dresses(self.secrets[name]))
        ]


def to_dresses(secret: str) -> set[str]:
    """As text, for a URL, in hexadecimal and in base64, whatever stands around it."""
    plain = secret.encode()
    spelled = {secret, quote(secret, safe=""), plain.hex()}
    for shift in range(3):
        encoded = b64encode(b"\0" * shift + plain).decode()
        spelled.add(encoded[4 if shift else 0 : len(encoded) // 4 * 4 - 4])
    return spelled


@asynccontextmanager
async def playing(database_url: str) -> AsyncIterator[Scene]:
    """Both processes run twice: once with logs for programs, once for people."""
    parrot = Parrot()
    async with (
        serve(parrot.answer) as wire,
        running_gateway(database_url, settings=ENVIRONMENT, members=()) as gateway,
    ):
        await _prepare(gateway, wire.host)
        scene = Scene(gateway, parrot, await _list_secrets(gateway))
        for number, log_format in enumerate(("json", "text")):
            gateway.environment["DASHGATE_LOG_FORMAT"] = log_format
            names = (f"api-{number}", f"worker-{number}")
            await asyncio.gather(*(gateway.start(name) for name in names))
            await _act(scene, number)
            await asyncio.gather(*(gateway.stop(name) for name in names))
            for name in names:
                scene.told[f"log of {name} ({log_format})"] = gateway.members.pop(
                    name
                ).log.read_text()
            parrot.seen.clear()
        await _command(scene)
        pool = await open_pool(database_url, max_size=1)
        scene.rows = await read_rows(pool)
        await pool.close()
        yield scene


async def _command(scene: Scene) -> None:
    """What an operator looks at, of the job that failed with the upstream's words."""
    job_id = scene.failed_id
    commands = (("job", "show", job_id), ("job", "explain", job_id), ("account", "list"))
    for command in commands:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "app", *command),
            env=scene.gateway.environment,
            cwd=scene.gateway.folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        told, _ = await process.communicate()
        assert process.returncode == 0, told
        scene.told[f"command {command}"] = told.decode()


async def _prepare(gateway: Gateway, host: str) -> None:
    """The accounts' keys are telltale ones."""
    vault = Vault((SECRET,))
    async with gateway.sessions.begin() as session:
        account = await account_store.get_account(session, "default")
        await account_store.remove_account(session, account, actor=ACTOR)
        for number in range(LANES):
            new = NewAccount(
                name=f"parrot-{number}",
                region="cn-beijing",
                base_url=f"http://{host}/api/v1",
                api_key=SecretStr(f"{UPSTREAM_KEY}-{number}"),
                limits=AccountLimits(max_running=20),
            )
            await account_store.create_account(session, vault, new, actor=ACTOR)


async def _list_secrets(gateway: Gateway) -> dict[str, str]:
    operator = await make_key(gateway.sessions, Vault((SECRET,)), owner=Role.ADMIN)
    return {
        "upstream key": UPSTREAM_KEY,
        "secret": SECRET,
        "older secret": OLD_SECRET,
        "admin key": ADMIN_KEY,
        "event token": TOKEN,
        "bucket's secret": STORE_SECRET,
        "database password": str(make_url(gateway.database_url).password),
        "team's key": gateway.key[17:],
        "operator's key": operator.text[17:],
        "result's signature": SIGNATURE,
    }


async def _act(scene: Scene, number: int) -> None:
    url = scene.gateway.url_of(f"api-{number}")
    jobs = {}
    async with open_client(url, scene.gateway.key) as http:
        for prompt in PROMPTS:
            answer = await http.post("/v1/jobs", json=edit(prompt=prompt))
            scene.told[f"create of {prompt} at {url}"] = answer.text
            jobs[prompt] = answer.json()["id"]
        scene.failed_id = jobs["bad request"]
        await _ask_wrongly(scene, url)
        await _wait_for_creates(scene)
        for prompt in ("task", "bad request"):
            await _wait_for_end(http, jobs[prompt])
        log = scene.gateway.members[f"worker-{number}"].log
        await wait_until(lambda: "picture.not_kept_yet" in log.read_text())
        if number:  # at the very end: the accounts rest after it
            jobs["nobody there"] = await _call_nobody(scene, http, f"worker-{number}")
        places = [f"{door}/{job_id}" for job_id in jobs.values() for door in DOORS]
        for path in (*places, *DOORS, "/metrics", "/openapi.json", "/readyz"):
            scene.told[f"{path} at {url}"] = (await http.get(path)).text


async def _wait_for_creates(scene: Scene) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not scene.parrot.seen >= set(PROMPTS):
        assert time.monotonic() < deadline, scene.parrot.seen
        scene.gateway.check_health()
        await asyncio.sleep(0.05)


async def _wait_for_end(http: httpx.AsyncClient, job_id: str) -> None:
    answer = await http.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=15"})
    assert answer.json()["status"] in ENDS, answer.text


async def _call_nobody(scene: Scene, http: httpx.AsyncClient, worker: str) -> str:
    """A job whose upstream refuses connections, once it has been tried."""
    async with scene.gateway.sessions.begin() as session:
        before = await session.scalar(text("select min(base_url) from accounts"))
        nobody = {"url": f"http://127.0.0.1:{find_free_port('127.0.0.1')}/api/v1"}
        await session.execute(text("update accounts set base_url = :url"), nobody)
    job_id = str((await http.post("/v1/jobs", json=edit(prompt="nobody"))).json()["id"])

    log = scene.gateway.members[worker].log
    await wait_until(lambda: "list: Connect" in log.read_text())
    async with scene.gateway.sessions.begin() as session:
        await session.execute(text("update accounts set base_url = :url"), {"url": before})
    return job_id


async def _ask_wrongly(scene: Scene, url: str) -> None:
    """With everything in the wrong place."""
    key = scene.gateway.key
    bearer = {"Authorization": f"Bearer {key}"}
    wrong: dict[str, tuple[str, str, Mapping[str, str]]] = {
        "in the query": ("POST", f"/v1/jobs?key={key}", {}),
        "in the query of the wire": ("GET", f"/api/v1/tasks?api_key={key}", {}),
        "as a password": ("GET", "/v1/jobs", {"Authorization": f"Basic {key}"}),
        "beside another": ("GET", "/v1/jobs", bearer | {"X-API-Key": ADMIN_KEY}),
        "cut": ("POST", "/v1/jobs", {"Authorization": f"Bearer {key[:-1]}"}),
        "longer": ("POST", f"/api/v1{IMAGE_TO_IMAGE}", ASYNC | {"X-API-Key": f"{key}0"}),
        "an operator's": ("POST", "/v1/jobs", {"Authorization": f"Bearer {ADMIN_KEY}"}),
        "an account's": ("POST", "/v1/jobs", {"Authorization": f"Bearer {UPSTREAM_KEY}"}),
        "the secret": ("POST", "/v1/jobs", {"Authorization": f"Bearer {SECRET}"}),
        "an event's": ("POST", "/hooks/eventbridge", {"x-eventbridge-signature-token": TOKEN}),
        "as another's preference": ("GET", "/v1/jobs", {"Prefer": key, "User-Agent": key}),
    }
    async with open_client(url) as http:
        for name, (method, path, headers) in wrong.items():
            body: Any = make_body() if "/api/" in path else edit()
            answer = await http.request(method, path, json=body, headers=headers)
            scene.told[f"key {name} at {url}"] = answer.text


async def read_rows(pool: Pool) -> dict[str, str]:
    tables = await pool.fetch(
        "select relname::text as name from pg_class where relkind in ('r', 'p')"
        " and relnamespace = 'public'::regnamespace"
    )
    rows = {}
    for table in tables:
        found = await pool.fetch(f'select row::text as text from "{table["name"]}" as row')
        rows[str(table["name"])] = "\n".join(row["text"] for row in found)
    return rows
