"""The gateway itself in a storm: its own commands, its native door, its tables."""

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import httpx
from pydantic import SecretStr

from app.accounts.directory import to_key_place
from app.accounts.rules import AccountLimits, NewAccount
from app.accounts.store import create_account
from app.accounts.tables import Account, Lane
from app.bench.storm.contenders.books import read_books, to_team_name
from app.bench.storm.contenders.contract import (
    ACCOUNT_KEYS,
    SLOTS,
    SUBMIT_RATE,
    Lost,
    NotSent,
    draw_heavy_input,
    draw_input,
)
from app.bench.storm.crew import Command
from app.bench.storm.ledgers import Books
from app.bench.storm.plan import TEAMS, Clocks, Order
from app.bench.storm.stillness import Standing
from app.billing.price_store import ensure_default_prices
from app.jobs.explain.load import load_facts
from app.jobs.explain.story import tell_story
from app.kit.clock import utc_now
from app.kit.crypto import Vault
from app.kit.ids import make_uuid7
from app.kit.postgres.database import (
    Connection,
    Sessions,
    connect,
    make_engine,
    make_sessions,
    open_pool,
)
from app.teams.rules import KeySettings, TeamSettings
from app.teams.store import create_key, create_team

ACTOR = "storm"
SECRET = "for-the-gateways-of-storms-only-" * 2
HOST = "127.0.0.1"
CALL_SECONDS = 5.0
FINAL = frozenset({"succeeded", "failed", "canceled", "expired"})

# What the gateway is told of the upstream must hold: prepare, submit and settle are longer than
# all that can keep a task from being seen. A process is frozen amid its create and sends the rest
# afterwards on a slow line, the upstream makes the task late and forgets it for a while. A list
# may lag behind for longer, and a create that no list tells of needs a person before the lists
# tell the truth again.
SETTINGS = {
    "DASHGATE_NO_SETUP": "1",
    "DASHGATE_SECRET_KEY": SECRET,
    "DASHGATE_DATABASE_POOL_SIZE": "5",
    "DASHGATE_PREPARE_SECONDS": "0.5",
    "DASHGATE_SUBMIT_TIMEOUT_SECONDS": "1",
    "DASHGATE_SLOWEST_UPLOAD_KBPS": "24000",
    "DASHGATE_SETTLE_SECONDS": "7",
    "DASHGATE_STALE_LIST_SECONDS": "12",
    "DASHGATE_REVIEW_SECONDS": "15",
    "DASHGATE_WATCH_INTERVAL_SECONDS": "0.2",
    "DASHGATE_STOP_GRACE_SECONDS": "3",
}

T = TypeVar("T")


@dataclass(slots=True)
class Dashgate:
    """Some API processes and workers over one database."""

    database_url: str
    upstream_url: str
    folder: Path
    ports: tuple[int, ...]
    """Of its API processes."""
    workers: int
    clocks: Clocks
    team_keys: list[str] = field(default_factory=list, repr=False)
    image: str = field(default_factory=draw_input, repr=False)
    heavy_image: str = field(default_factory=draw_heavy_input, repr=False)

    @property
    def commands(self) -> Mapping[str, Command]:
        doors = {
            f"api-{number}": Command("app", ("serve", "--port", str(port)))
            for number, port in enumerate(self.ports)
        }
        workers = {f"worker-{number}": Command("app", ("work",)) for number in range(self.workers)}
        return {
            name: replace(command, clock_ahead_seconds=ahead)
            for (name, command), ahead in zip(
                (doors | workers).items(), self.clocks.processes, strict=True
            )
        }

    @property
    def environment(self) -> Mapping[str, str]:
        return SETTINGS | {
            "DATABASE_URL": self.database_url,
            "DASHGATE_DATA_DIR": str(self.folder),
            "DASHGATE_STORE_URL": (self.folder / "store").as_uri(),
        }

    async def furnish(self) -> None:
        engine = make_engine(self.database_url)
        sessions, vault = make_sessions(engine), Vault((SECRET,))
        try:
            await ensure_default_prices(sessions)
            for name, api_keys in ACCOUNT_KEYS.items():
                await _make_account(sessions, vault, name, self.upstream_url, api_keys)
            self.team_keys = [
                await _make_team(sessions, vault, to_team_name(number)) for number in range(TEAMS)
            ]
        finally:
            await engine.dispose()

    async def is_ready(self, http: httpx.AsyncClient) -> bool:
        try:
            answers = [await http.get(f"http://{HOST}:{port}/readyz") for port in self.ports]
        except httpx.TransportError:
            return False
        return all(answer.status_code == 200 for answer in answers)

    async def submit(self, http: httpx.AsyncClient, order: Order) -> str:
        image = self.heavy_image if order.is_heavy else self.image
        body = {"prompt": order.prompt, "images": [image], "n": order.n, "size": "768*768"}
        key = order.idempotency_key
        headers = {} if key is None else {"Idempotency-Key": key}
        answer = await self._call(http, order.team, "POST", "/v1/jobs", json=body, headers=headers)
        return str(answer.json()["id"])

    async def cancel(self, http: httpx.AsyncClient, team: int, job_id: str) -> None:
        path = f"/api/v1/tasks/{job_id}/cancel"
        await self._call(http, team, "POST", path, expected=(200, 400))

    async def find_final_status(
        self, http: httpx.AsyncClient, team: int, job_id: str
    ) -> str | None:
        answer = await self._call(http, team, "GET", f"/v1/jobs/{job_id}")
        status: str = answer.json()["status"]
        return status if status in FINAL else None

    async def fetch_pictures(
        self, http: httpx.AsyncClient, team: int, job_id: str
    ) -> tuple[bytes, ...]:
        answer = await self._call(http, team, "GET", f"/v1/jobs/{job_id}")
        urls = [picture["url"] for picture in answer.json()["pictures"] if picture.get("url")]
        return tuple([(await self._call(http, team, "GET", url)).content for url in urls])

    async def is_at_rest(self) -> bool:
        async def look(connection: Connection) -> bool:
            return bool(await connection.fetchval(_IS_AT_REST))

        return await self._read(look)

    async def list_standing(self) -> Sequence[Standing]:
        async def look(connection: Connection) -> Sequence[Standing]:
            return [Standing(**row) for row in await connection.fetch(_LIST_STANDING)]

        return await self._read(look)

    async def read_books(self) -> Books:
        return await self._read(read_books)

    async def tell_story(self, job_id: str) -> tuple[str, ...]:
        pool = await open_pool(self.database_url, max_size=2)
        try:
            story = tell_story(await load_facts(pool, UUID(job_id)))
        finally:
            await pool.close()
        return tuple(f"{line.at:%H:%M:%S.%f} {line.text}" for line in story.timeline)

    async def _call(
        self, http: httpx.AsyncClient, team: int, method: str, path: str, **options: Any
    ) -> httpx.Response:
        port = random.choice(self.ports)  # noqa: S311
        url = path if path.startswith("http") else f"http://{HOST}:{port}{path}"
        expected = options.pop("expected", (200, 202))
        headers = {"Authorization": f"Bearer {self.team_keys[team]}"}
        headers |= options.pop("headers", {})
        try:
            answer = await http.request(
                method, url, headers=headers, timeout=CALL_SECONDS, **options
            )
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise NotSent(str(error)) from error
        except httpx.TransportError as error:
            raise Lost(str(error)) from error
        if answer.status_code >= 500:
            raise Lost(answer.text)
        if answer.status_code not in expected:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
        return answer

    async def _read(self, read: Callable[[Connection], Awaitable[T]]) -> T:
        connection = await connect(self.database_url)
        try:
            return await read(connection)
        finally:
            await connection.close()


async def _make_account(
    sessions: Sessions, vault: Vault, name: str, base_url: str, api_keys: tuple[str, ...]
) -> None:
    """An account with a lane for each key."""
    limits = AccountLimits(
        max_running=SLOTS, submit_rate=Decimal(SUBMIT_RATE), query_rate=Decimal(100)
    )
    first, *others = map(SecretStr, api_keys)
    new = NewAccount(
        name=name, region="cn-beijing", base_url=base_url, api_key=first, limits=limits
    )
    async with sessions.begin() as session:
        account = await create_account(session, vault, new, actor=ACTOR)
        session.add_all(_make_lane(account, vault, api_key) for api_key in others)


def _make_lane(account: Account, vault: Vault, api_key: SecretStr) -> Lane:
    lane_id = make_uuid7()
    sealed = vault.seal(api_key.get_secret_value(), to_key_place(lane_id))
    return Lane(id=lane_id, account_id=account.id, api_key_sealed=sealed, api_key_hint="")


async def _make_team(sessions: Sessions, vault: Vault, name: str) -> str:
    """A team with a key, and that key."""
    async with sessions.begin() as session:
        team = await create_team(session, name, TeamSettings(), actor=ACTOR)
        settings = KeySettings(name=name)
        _, text = await create_key(
            session, vault, settings, owner=team, actor=ACTOR, now=utc_now()
        )
    return text


_IS_AT_REST = """
select not exists (select from jobs where status is null)
    and not exists (select from orphans where state = 'watched')
"""

_LIST_STANDING = """
select jobs.id::text as job_id, coalesce(runs.status, 'in no table') as status,
    runs.attention_code as code, runs.attention_since as since, runs.attention_detail as detail
from jobs left join job_runs as runs on runs.job_id = jobs.id
where jobs.status is null order by jobs.id
"""
