"""Two teams of one gateway: what one of them has, and how the other asks for it."""

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import httpx
import orjson
from sqlalchemy import select

from app.accounts.tables import Account
from app.kit.crypto import Vault
from app.kit.postgres.database import Pool, open_pool
from app.main import create_app
from app.media.store import open_store
from app.teams.tables import Team
from tests.api.factories import Backstage, Caller, edit
from tests.api.server import make_settings, open_client
from tests.dashscope_api.client import ASYNC, IMAGE_TO_IMAGE
from tests.emulator.client import make_body, make_picture
from tests.gateway import SECRET, Gateway

Things = dict[str, str]
"""What a request may name, by the words that the table has for it."""

GET_POLICY = "/api/v1/uploads?action=getPolicy&model=wan2.5-i2i-preview"
PROMPT = "the owner's private prompt"
HTTP_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

OPEN = {
    *(f"{method} {path}" for method in ("GET", "HEAD") for path in ("/healthz", "/readyz")),
    *(f"{method} {path}" for method in ("GET", "HEAD") for path in ("/metrics", "/openapi.json")),
    "GET /",
    "GET /docs",
    "GET /docs/",
    "GET /docs/start.js",
    "MOUNT /docs/assets",
}
"""What anybody may read, for it is of no team."""

_UUID = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")
_PASSING = {"date", "x-request-id", "etag", "content-length", "connection"}
"""Of each answer by itself; how much of a body was due has to do with time only."""


@dataclass(frozen=True)
class Ask:
    """One request; `{words}` in it stand for things, of the owner or of nobody."""

    route: str
    """Its method and the path as the application has it."""
    path: str
    about: str = ""
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] | None = None
    changes: bool = False
    """Whether it would change something of the owner's, who therefore does not try it."""

    def __str__(self) -> str:
        return f"{self.route} {self.about or self.path.partition('?')[2]}".strip()

    def spell(self, things: Things) -> str:
        """All words of the request, the things in their places."""
        parts = (self.path, *self.headers.values(), *(self.form or {}).values())
        words = " ".join(part.format_map(things) for part in parts)
        return words + orjson.dumps(_fill(self.body, things)).decode()

    async def send(self, http: httpx.AsyncClient, things: Things) -> httpx.Response:
        method = self.route.partition(" ")[0]
        headers = {name: value.format_map(things) for name, value in self.headers.items()}
        path = self.path.format_map(things)
        if self.form is not None:
            fields = {name: value.format_map(things) for name, value in self.form.items()}
            files = {"file": ("a.png", make_picture())}
            return await http.post(path, data=fields, files=files, headers=headers)
        body = None if self.body is None else orjson.dumps(_fill(self.body, things))
        return await http.request(method, path, content=body, headers=headers)


@dataclass(slots=True)
class Estate:
    """The owner's things, nobody's things of the same kinds, and a stranger who asks."""

    backstage: Backstage = field(repr=False)
    owner: Caller
    stranger: Caller
    owned: Things
    nobodys: Things
    before: str
    """All rows of the owner's, in short."""

    async def digest(self) -> str:
        return await digest_rows(self.backstage.pool, self.owner.team)

    def find_traces(self, text: str, *, sent: str = "") -> list[str]:
        """What of the owner's shows in a text, but for what was asked for."""
        values = {name: value for name, value in self.owned.items() if len(value) > 3}
        return [name for name, value in values.items() if value in text and value not in sent]


def to_told(answer: httpx.Response, things: Things) -> tuple[object, ...]:
    """What an answer tells, apart from the words it was asked with, ids and times."""
    headers = {
        name: _forget(value, things)
        for name, value in answer.headers.items()
        if name not in _PASSING
    }
    body: object = _forget(answer.text, things)
    if answer.headers.get("content-type", "").endswith("json") and answer.content:
        document = orjson.loads(str(body))
        document.pop("queue", None)  # others move on it
        body = document
    return answer.status_code, headers, body


def list_routes() -> set[str]:
    """Every operation of every door of the API process."""
    settings = make_settings("postgresql://nobody/none", Path.cwd(), eventbridge_token="t" * 16)
    return set(_walk(create_app(settings).routes, ""))


def _walk(routes: Any, prefix: str) -> Iterator[str]:
    for route in routes:
        included = getattr(route, "original_router", None)
        if included is not None:
            yield from _walk(included.routes, prefix)
            continue
        methods = HTTP_METHODS & set(getattr(route, "methods", None) or ())
        yield from (f"{method} {prefix}{route.path}" for method in methods)
        inner = getattr(route, "routes", None)
        if inner:
            yield from _walk(inner, prefix + route.path)
        elif not methods:
            yield f"MOUNT {prefix}{route.path}"


def _fill(value: Any, things: Things) -> Any:
    if isinstance(value, str):
        return value.format_map(things)
    if isinstance(value, dict):
        return {name: _fill(item, things) for name, item in value.items()}
    return [_fill(item, things) for item in value] if isinstance(value, list) else value


def _forget(text: str, things: Things) -> str:
    for name, value in sorted(things.items(), key=lambda item: -len(item[1])):
        text = text.replace(value, f"<{name}>")
    return _TIME.sub("<time>", _UUID.sub("<id>", text))


@asynccontextmanager
async def open_estate(gateway: Gateway) -> AsyncIterator[Estate]:
    pool = await open_pool(gateway.database_url, max_size=4)
    store = open_store(gateway.environment["DASHGATE_STORE_URL"])
    async with gateway.sessions() as session:
        account = (await session.scalars(select(Account))).one()
    backstage = Backstage(
        gateway.url,
        pool,
        gateway.sessions,
        Vault((SECRET,)),
        store,
        gateway.folder / "store",
        account,
    )
    async with (
        _open_caller(gateway, backstage) as owner,
        _open_caller(gateway, backstage) as other,
    ):
        owned = await _furnish(owner)
        for name in ("early", "late"):
            await other.create(prompt=name)
        policy = (await other.http.get(GET_POLICY)).json()["data"]  # the stranger's own
        own = {"own_policy": policy["policy"], "own_signature": policy["signature"]}
        before = await digest_rows(pool, owner.team)
        yield Estate(backstage, owner, other, owned | own, _name_nothing(owned) | own, before)
    await pool.close()


@asynccontextmanager
async def _open_caller(gateway: Gateway, backstage: Backstage) -> AsyncIterator[Caller]:
    seat = await gateway.make_seat()
    async with gateway.sessions() as session:
        team = await session.get_one(Team, seat.team_id)
    async with open_client(gateway.url, seat.key) as http:
        yield Caller(backstage, team, seat.key, http)


async def _furnish(owner: Caller) -> Things:
    """One of everything that a team can have."""
    backstage = owner.backstage
    things: Things = {"team": owner.team.name, "team_id": str(owner.team.id), "prompt": PROMPT}
    made = {
        name: (await owner.create(prompt=PROMPT, n=2, metadata={"campaign": "the owner's"}))["id"]
        for name in ("running", "finalizing", "failed", "done", "queued")
    }
    await backstage.start_job(made["running"])
    await backstage.collect_job(made["finalizing"])
    await backstage.fail_job(made["failed"], "DataInspectionFailed", "the owner's fault")
    await backstage.finish_job(made["done"])
    done = await owner.read(made["done"])
    link = parse_qs(urlsplit(done["pictures"][0]["url"]).query)
    things |= made | {
        "expires": link["expires"][0],
        "signature": link["signature"][0],
        "sha256": done["pictures"][0]["sha256"],
        "task": f"task-{made['running']}",
        "campaign": "the owner's",
        "key_name": done["key"],
        "file": (await backstage.keep_file(owner.team)).hex,
    }
    return things | await _use_keys(owner) | await _upload(owner)


async def _use_keys(owner: Caller) -> Things:
    """Idempotency keys that have made jobs, and the beginning of a list."""
    native, wire = f"order-{uuid4().hex}", f"task-{uuid4().hex}"
    first = await owner.http.post("/v1/jobs", json=edit(), headers={"Idempotency-Key": native})
    second = await owner.http.post(
        f"/api/v1{IMAGE_TO_IMAGE}", json=make_body(), headers=ASYNC | {"Idempotency-Key": wire}
    )
    page = (await owner.http.get("/v1/jobs?limit=1")).json()
    return {
        "native_key": native,
        "wire_key": wire,
        "by_native_key": first.json()["id"],
        "by_wire_key": second.json()["output"]["task_id"],
        "cursor": page["next_cursor"],
    }


async def _upload(owner: Caller) -> Things:
    policy = (await owner.http.get(GET_POLICY)).json()["data"]
    form = {"policy": policy["policy"], "Signature": policy["signature"]}
    folder = policy["upload_dir"]
    async with httpx.AsyncClient(trust_env=False) as anyone:
        posted = await anyone.post(
            policy["upload_host"],
            data=form | {"key": f"{folder}/a.png"},
            files={"file": ("a.png", make_picture())},
        )
    assert posted.status_code == 200, posted.text
    return {"folder": folder, "policy": policy["policy"], "policy_signature": policy["signature"]}


def _name_nothing(owned: Things) -> Things:
    """Names of the same form that stand for nothing, each id of the owner's another one."""
    nothing: dict[str, str] = {}

    def replace(found: re.Match[str]) -> str:
        fresh = uuid4()
        return nothing.setdefault(found[0], str(fresh) if "-" in found[0] else fresh.hex)

    changed = {name: _UUID.sub(replace, value) for name, value in owned.items()}
    other_hex = owned["sha256"][::-1]
    return changed | {
        "team": "team-0",
        "key_name": "key-0",
        "campaign": "nobody's",
        "prompt": "nobody's prompt",
        "sha256": other_hex,
        "signature": owned["signature"][::-1],
        "policy": owned["policy"][::-1],
        "policy_signature": owned["policy_signature"][::-1],
    }


async def digest_rows(pool: Pool, team: Team) -> str:
    """Every row of every table that is the team's, by its team or by its job."""
    tables = await pool.fetch(_TABLES)
    parts = [
        await pool.fetchval(
            _DIGEST.format(table["name"], "team_id = $1" if table["has_team"] else _BY_JOB),
            team.id,
        )
        for table in tables
    ]
    assert any(parts)
    return str(parts)


_DIGEST = "select md5(string_agg(row::text, ',' order by row::text)) from {} as row where {}"
_BY_JOB = "job_id in (select id from jobs where team_id = $1)"
_TABLES = """
select columns.table_name as name, bool_or(column_name = 'team_id') as has_team
from information_schema.columns join pg_class on relname = columns.table_name
where table_schema = 'public' and column_name in ('team_id', 'job_id') and relkind in ('r', 'p')
    and not relispartition
group by columns.table_name order by columns.table_name
"""
