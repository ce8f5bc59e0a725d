"""EventBridge as the door meets it: pushes that are signed rightly, or not."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import uuid4

import httpx
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from app.dashscope.eventbridge import (
    CERTIFICATE_HEADER,
    HASH_HEADER,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    TOKEN_HEADER,
    VERSION_HEADER,
    Push,
    sign_push,
)
from app.jobs.events import TASK_HINTED
from app.kit.clock import utc_now
from app.kit.postgres.database import Pool
from tests.api.factories import Backstage, Caller
from tests.api.server import open_client
from tests.waiting import wait_until

PATH = "/hooks/eventbridge"
PUBLIC_URL = "https://gate.example"
TOKEN = "a-token-of-the-target"


@dataclass(frozen=True, slots=True)
class Bridge:
    """The API under test, and the key that its events are signed with."""

    database_url: str
    url: str
    certificate_url: str
    key: RSAPrivateKey = field(repr=False)
    backstage: Backstage

    def sign(
        self, body: bytes, *, address: str = PUBLIC_URL + PATH, **changes: str
    ) -> dict[str, str]:
        """The headers of a push to that address; `changes` by the last word of their names."""
        headers = {
            TIMESTAMP_HEADER: changes.get("timestamp", make_millis()),
            HASH_HEADER: "SHA256",
            VERSION_HEADER: "1.0",
            CERTIFICATE_HEADER: changes.get("url", self.certificate_url),
            TOKEN_HEADER: changes.get("token", TOKEN),
        }
        return headers | {SIGNATURE_HEADER: sign_push(Push(address, headers, body), self.key)}

    async def push(
        self, body: bytes, headers: Mapping[str, str] | None = None, *, path: str = PATH
    ) -> httpx.Response:
        """Send a body, rightly signed unless other headers are given."""
        signed = self.sign(body) if headers is None else dict(headers)
        async with open_client(self.url) as http:
            return await http.post(path, content=body, headers=signed)

    async def start_task(self, caller: Caller) -> str:
        """A job that runs upstream; the id of its task."""
        fence = await self.backstage.start_job((await caller.create())["id"])
        task_id: str = await self.backstage.pool.fetchval(
            "select upstream_task_id from job_runs where job_id = $1", fence.job_id
        )
        return task_id

    async def account_of(self, task_id: str) -> str:
        """The account on which the task runs: what a hint carries."""
        account_id: str = await self.backstage.pool.fetchval(
            "select account_id::text from job_runs where upstream_task_id = $1", task_id
        )
        return account_id


@dataclass(slots=True)
class Hints:
    """The notifications of the channel, in the order in which they came."""

    pool: Pool = field(repr=False)
    heard: list[str] = field(default_factory=list)

    def note(self, _: object, __: int, ___: str, payload: object) -> None:
        self.heard.append(str(payload))

    async def collect(self) -> list[str]:
        """All hints so far: what was sent before this call has been heard at its return."""
        mark = str(uuid4())
        await self.pool.execute("select pg_notify($1, $2)", TASK_HINTED, mark)
        await wait_until(lambda: mark in self.heard)
        self.heard.remove(mark)
        return list(self.heard)


def make_millis(*, off_seconds: float = 0) -> str:
    return str(round((utc_now().timestamp() + off_seconds) * 1000))
