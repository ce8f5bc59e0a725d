"""What is no key, or no longer one, or stands in the wrong place: nothing opens to it anywhere."""

import base64
import time
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from app.kit.clock import utc_now
from app.kit.crypto import Vault
from app.kit.postgres.database import Pool, open_pool
from app.teams.keys import make_key as make_text
from app.teams.rules import Role
from tests.adversary.estate import OPEN, list_routes
from tests.api.factories import edit
from tests.api.server import open_client
from tests.emulator.client import make_body
from tests.factories import make_key
from tests.gateway import SECRET, Gateway
from tests.waiting import wait_until

CREDENTIALS_OF_THEIR_OWN = {"POST /api/v1/uploads/form", "POST /hooks/eventbridge"}
PLACES = {
    "job_id": "0198c0f2-0000-7000-8000-000000000001",
    "task_id": "0198c0f2-0000-7000-8000-000000000001",
    "name": "0",
}
DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Wallet:
    """Good keys, of which the bad ones are made, and the rows behind them."""

    gateway: Gateway
    pool: Pool = field(repr=False)
    key: str = field(repr=False)
    other: str = field(repr=False)


@dataclass(frozen=True)
class Try:
    """Headers and a query; what the native door answers, and the DashScope door."""

    status: int
    code: str
    wire_code: str = "InvalidApiKey"
    headers: dict[str, str] = field(default_factory=dict)
    query: str = ""

    def by(self, **headers: str) -> "Try":
        return replace(self, headers={name.replace("_", "-"): v for name, v in headers.items()})


MISSING = Try(401, "missing_api_key")
MALFORMED = Try(401, "malformed_api_key")
UNKNOWN = Try(401, "invalid_api_key")
MISPLACED = Try(401, "bad_authorization")
AMBIGUOUS = Try(400, "two_api_keys", "InvalidParameter")


def bearer(kind: Try, text: str) -> Try:
    return kind.by(Authorization=f"Bearer {text}")


def seal(body: str) -> str:
    """Any text with the checksum of a whole key."""
    rest, digits = zlib.crc32(body.encode()), ""
    for _ in range(6):
        rest, digit = divmod(rest, 62)
        digits = DIGITS[digit] + digits
    return body + digits


def turn(text: str, place: int) -> str:
    """One character changed."""
    other = "b" if text[place] == "a" else "a"
    return text[:place] + other + (text[place + 1 :] if place != -1 else "")


TRIES: dict[str, Callable[[Wallet], Try]] = {
    "none": lambda _: MISSING,
    "an empty header": lambda _: MISSING.by(Authorization="", X_API_Key=""),
    "in the query": lambda w: replace(MISSING, query=f"api_key={w.key}&key={w.key}"),
    "in the query, as OAuth has it": lambda w: replace(MISSING, query=f"access_token={w.key}"),
    "in a cookie": lambda w: MISSING.by(Cookie=f"key={w.key}; Authorization=Bearer {w.key}"),
    "in a proxy's header": lambda w: MISSING.by(Proxy_Authorization=f"Bearer {w.key}"),
    "in a forwarded header": lambda w: MISSING.by(X_Forwarded_Authorization=f"Bearer {w.key}"),
    "in another API's header": lambda w: MISSING.by(X_DashScope_ApiKey=w.key, Api_Key=w.key),
    "without a scheme": lambda w: MISPLACED.by(Authorization=w.key),
    "as a password": lambda w: MISPLACED.by(
        Authorization=f"Basic {base64.b64encode(f'key:{w.key}'.encode()).decode()}"
    ),
    "as a token": lambda w: MISPLACED.by(Authorization=f"Token {w.key}"),
    "a scheme alone": lambda _: MISSING.by(Authorization="Bearer"),
    "two different ones": lambda w: AMBIGUOUS.by(
        Authorization=f"Bearer {w.key}", X_API_Key=w.other
    ),
    "twice in one header": lambda w: bearer(MALFORMED, f"{w.key}, Bearer {w.key}"),
    "two in one header": lambda w: MALFORMED.by(X_API_Key=f"{w.key},{w.other}"),
    "cut by one": lambda w: bearer(MALFORMED, w.key[:-1]),
    "longer by one": lambda w: bearer(MALFORMED, w.key + "0"),
    "another last character": lambda w: bearer(MALFORMED, turn(w.key, -1)),
    "another checksum": lambda w: bearer(MALFORMED, w.key[:-6] + "000000"),
    "another's checksum": lambda w: bearer(MALFORMED, w.key[:-6] + w.other[-6:]),
    "another secret": lambda w: bearer(MALFORMED, turn(w.key, 20)),
    "another public id": lambda w: bearer(MALFORMED, turn(w.key, 10)),
    "other letters": lambda w: bearer(UNKNOWN, w.key.swapcase()),
    "of a test": lambda w: bearer(UNKNOWN, seal(w.key[:-6].replace("live", "test"))[:54]),
    "another secret, sealed": lambda w: bearer(UNKNOWN, seal(turn(w.key[:-6], 20))),
    "another public id, sealed": lambda w: bearer(UNKNOWN, seal(turn(w.key[:-6], 10))),
    "the secret of another": lambda w: bearer(UNKNOWN, seal(w.key[:17] + w.other[17:-6])),
    "of another gateway": lambda _: bearer(UNKNOWN, make_text().text),
    "the deployment's secret": lambda _: bearer(UNKNOWN, SECRET),
    "an account's": lambda _: bearer(MALFORMED, "sk-0123456789abcdef"),
    "a pattern": lambda w: bearer(MALFORMED, w.key[:17] + "%" * 38),
    "a quote": lambda w: bearer(MALFORMED, f"{w.key[:20]}' or '1'='1"),
    "longer than any": lambda _: bearer(MALFORMED, "k" * 8_000),
    "no text": lambda w: bearer(MALFORMED, "dg_live_\xff"),
}


@pytest.fixture(scope="module")
async def shared_wallet(shared_idle_gateway: Gateway) -> AsyncIterator[Wallet]:
    pool = await open_pool(shared_idle_gateway.database_url, max_size=2)
    keys = [(await shared_idle_gateway.make_seat()).key for _ in range(2)]
    yield Wallet(shared_idle_gateway, pool, *keys)
    await pool.close()


@pytest.fixture
def wallet(target: Gateway, shared_wallet: Wallet) -> Wallet:
    return shared_wallet


@pytest.mark.parametrize("make", TRIES.values(), ids=TRIES)
async def test_what_is_no_key_opens_no_operation(
    wallet: Wallet, make: Callable[[Wallet], Try]
) -> None:
    chosen = make(wallet)

    answers = await try_all(wallet, chosen)

    assert_refused(answers, chosen)
    for answer in answers.values():
        assert wallet.key[20:-6] not in answer.text
        assert wallet.other[20:-6] not in answer.text


@pytest.mark.parametrize("name", ["revoked", "expired", "disabled", "elsewhere", "operator"])
async def test_a_key_that_may_no_longer_or_not_here_opens_no_operation(
    wallet: Wallet, name: str
) -> None:
    denied = Try(403, "", "AccessDenied")
    kinds = {
        "revoked": Try(401, "api_key_revoked"),
        "expired": Try(401, "api_key_expired"),
        "disabled": replace(denied, code="team_disabled"),
        "elsewhere": replace(denied, code="address_not_allowed"),
        "operator": replace(denied, code="team_key_required"),
    }
    chosen = bearer(kinds[name], await make_spent_key(wallet, name))

    assert_refused(await try_all(wallet, chosen), chosen)


async def make_spent_key(wallet: Wallet, name: str) -> str:
    if name == "operator":
        key = await make_key(wallet.gateway.sessions, Vault((SECRET,)), owner=Role.ADMIN)
        return key.text
    soon = utc_now() + timedelta(hours=1)
    settings: dict[str, dict[str, Any]] = {
        "elsewhere": {"allow_ips": ("10.0.0.0/8",)},
        "expired": {"expires_at": soon},
    }
    seat = await wallet.gateway.make_seat(**settings.get(name, {}))
    changes = {
        "revoked": "update keys set revoked_at = now() where team_id = $1",
        "expired": "update keys set expires_at = now() where team_id = $1",
        "disabled": "update teams set disabled_at = now() where id = $1",
    }
    if name in changes:
        await wallet.pool.execute(changes[name], seat.team_id)
    return seat.key


@pytest.mark.parametrize(
    "scopes", [("usage:read",), ("jobs:read",), ("jobs:write",), ("jobs:read", "jobs:write")]
)
async def test_a_key_opens_what_its_scopes_say(wallet: Wallet, scopes: tuple[str, ...]) -> None:
    seat = await wallet.gateway.make_seat(scopes=scopes)

    answers = await try_all(wallet, bearer(UNKNOWN, seat.key))

    refused = {route for route, answer in answers.items() if answer.status_code == 403}
    assert refused == {route for route in answers if find_scope(route) not in scopes}


def find_scope(route: str) -> str:
    """Reading is for readers; an old SDK cancels by GET, and who asks for a policy will write."""
    writes = route.startswith("POST") or "/cancel" in route or "/uploads" in route
    return "jobs:write" if writes else "jobs:read"


async def test_a_revoked_key_ends_within_two_seconds_of_its_last_use(wallet: Wallet) -> None:
    seat = await wallet.gateway.make_seat()
    async with open_client(wallet.gateway.url, seat.key) as http:
        assert (await http.get("/v1/jobs")).status_code == 200
        await wallet.pool.execute(
            "update keys set revoked_at = now() where team_id = $1", seat.team_id
        )
        began = time.monotonic()

        async def is_refused() -> bool:
            return (await http.get("/v1/jobs")).status_code == 401

        await wait_until(is_refused)

    assert time.monotonic() - began < 2.5


@pytest.mark.parametrize("path", ["/v1/jobs/{}/cancel", "/api/v1/tasks/{}/cancel", "/{}"])
async def test_a_key_in_the_path_is_not_logged(wallet: Wallet, path: str) -> None:
    """Where some other APIs have theirs."""
    async with open_client(wallet.gateway.url, wallet.key) as http:
        answer = await http.post(path.format(wallet.key))

    assert answer.is_client_error
    assert wallet.key not in wallet.gateway.members["api"].log.read_text()


async def try_all(wallet: Wallet, chosen: Try) -> dict[str, httpx.Response]:
    """The answers of every operation that wants a key."""
    routes = sorted(list_routes() - OPEN - CREDENTIALS_OF_THEIR_OWN)
    async with open_client(wallet.gateway.url) as http:
        return {route: await send(http, route, chosen) for route in routes}


async def send(http: httpx.AsyncClient, route: str, chosen: Try) -> httpx.Response:
    method, _, place = route.partition(" ")
    is_wire = place.startswith("/api/")
    path = place.format_map(PLACES)
    if "/uploads" in path:
        path += "?action=getPolicy&model=wan2.5-i2i-preview"
    if chosen.query:
        path += ("&" if "?" in path else "?") + chosen.query
    creates = method == "POST" and "cancel" not in path
    body = (make_body() if is_wire else edit()) if creates else None
    headers = chosen.headers | ({"X-DashScope-Async": "enable"} if is_wire else {})
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    return await http.request(method, path, json=body, headers=encoded)


def assert_refused(answers: dict[str, httpx.Response], chosen: Try) -> None:
    assert len(answers) > 15
    told = {
        route: (answer.status_code, answer.json()["code"] if answer.content else None)
        for route, answer in answers.items()
    }
    assert told == {route: (chosen.status, find_code(route, chosen)) for route in told}


def find_code(route: str, chosen: Try) -> str | None:
    if route.startswith("HEAD"):
        return None
    return chosen.wire_code if " /api/" in route else chosen.code
