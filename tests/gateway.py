"""A whole gateway for tests: API and worker as real processes, the stand-in as their upstream."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

from app.billing.price_store import ensure_default_prices
from app.emulator import EmulatorOptions, running_emulator
from app.kit.crypto import Vault
from app.kit.ports import find_free_port
from app.kit.postgres.database import Sessions, make_engine, make_sessions
from tests.emulator.client import QUICK
from tests.factories import make_account, make_key, make_team

ROOT = Path(__file__).resolve().parents[1]
SECRET = "for-the-gateways-of-tests-only-" * 2
START_SECONDS = 30.0
STOP_SECONDS = 15.0
LOG_TAIL_LINES = 60
COMMANDS = {"api": "serve", "worker": "work"}


@dataclass(slots=True)
class Member:
    """One process of the gateway, and its log over all its lives."""

    name: str
    log: Path
    port: int
    process: subprocess.Popen[bytes] | None = None
    shown_bytes: int = 0

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self, environment: Mapping[str, str], folder: Path) -> None:
        """Start the command that the name begins with; `api-2` is a second API process."""
        command = COMMANDS[self.name.partition("-")[0]]
        flags = ("--port", str(self.port)) if command == "serve" else ()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "app", command, *flags],
                env=dict(environment),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def tail(self, *, since_bytes: int = 0) -> str:
        """The last lines of the log."""
        lines = self.log.read_bytes()[since_bytes:].decode(errors="replace").splitlines()
        return "\n".join(lines[-LOG_TAIL_LINES:])

    def show_log(self) -> None:
        """Write what is new to standard error, which pytest shows of a test that fails."""
        sys.stderr.write(f"log of {self.name}:\n{self.tail(since_bytes=self.shown_bytes)}\n")
        self.shown_bytes = self.log.stat().st_size


@dataclass(frozen=True, slots=True)
class Seat:
    """A team of the gateway and the key it calls with."""

    team_id: UUID
    team: str
    key: str = field(repr=False)


@dataclass(slots=True)
class Gateway:
    """A running gateway; `url` and `key` are all that its clients know."""

    database_url: str
    upstream_url: str
    folder: Path
    seat: Seat
    environment: dict[str, str] = field(repr=False)
    sessions: Sessions = field(repr=False)
    http: httpx.AsyncClient = field(repr=False)
    members: dict[str, Member] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return self.seat.key

    @property
    def url(self) -> str:
        return self.url_of("api")

    @property
    def base_url(self) -> str:
        """What DashScope SDKs are given."""
        return f"{self.url}/api/v1"

    def url_of(self, name: str) -> str:
        return f"http://127.0.0.1:{self.members[name].port}"

    async def start(self, name: str) -> None:
        """Start a process, a known one again on its old port; an API is ready on return."""
        member = self.members.get(name)
        if member is None:
            member = Member(name, self.folder / f"{name}.log", find_free_port("127.0.0.1"))
            self.members[name] = member
        assert not member.is_running, f"{name} runs already"
        member.start(self.environment, self.folder)
        if name.startswith("api"):
            await self._wait_until_ready(member)

    async def kill(self, name: str) -> None:
        """SIGKILL; returns when the process is gone."""
        await self._end(name, signal.SIGKILL)

    async def stop(self, name: str) -> None:
        """SIGTERM; returns when the process has ended, AssertionError unless in good order."""
        assert await self._end(name, signal.SIGTERM) in {0, -signal.SIGTERM}

    async def restart(self, name: str) -> None:
        await self.stop(name)
        await self.start(name)

    def send(self, name: str, number: signal.Signals) -> None:
        """Any signal, such as SIGSTOP and SIGCONT."""
        process = self.members[name].process
        assert process is not None
        process.send_signal(number)

    async def bill(self) -> dict[str, Any]:
        """What the stand-in would charge, line by line."""
        bill: dict[str, Any] = await self._ask_upstream("GET", "bill")
        return bill

    async def stats(self) -> dict[str, Any]:
        """Calls, refusals and peaks as the stand-in saw them."""
        stats: dict[str, Any] = await self._ask_upstream("GET", "stats")
        return stats

    async def set_faults(self, *rules: Mapping[str, Any]) -> None:
        """Replace the stand-in's faults; without rules nothing goes wrong any more."""
        await self._ask_upstream("PUT", "faults", json=rules)

    async def make_seat(self, **key_settings: Any) -> Seat:
        """A new team with a key: what a test that counts things needs for itself."""
        vault = Vault((SECRET,))
        team = await make_team(self.sessions)
        key = await make_key(self.sessions, vault, owner=team, **key_settings)
        return Seat(team.id, team.name, key.text)

    def check_health(self) -> None:
        """AssertionError when a process has ended by itself."""
        for member in self.members.values():
            assert member.is_running, f"{member.name} has ended: {member.tail()}"

    def show_logs(self) -> None:
        for member in self.members.values():
            member.show_log()

    async def close(self) -> None:
        running = [name for name, member in self.members.items() if member.is_running]
        for name in running:
            self.send(name, signal.SIGCONT)
        await asyncio.gather(*(self._end(name, signal.SIGTERM) for name in running))
        self.show_logs()

    async def _end(self, name: str, number: signal.Signals) -> int:
        process = self.members[name].process
        assert process is not None, f"{name} was never started"
        process.send_signal(number)
        try:
            return await asyncio.to_thread(process.wait, STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            return await asyncio.to_thread(process.wait)

    async def _wait_until_ready(self, member: Member) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            assert member.is_running, f"{member.name} has ended: {member.tail()}"
            assert time.monotonic() < deadline, f"{member.name} is not ready"
            try:
                answer = await self.http.get(f"{self.url_of(member.name)}/readyz")
            except httpx.TransportError:
                await asyncio.sleep(0.05)
            else:
                assert answer.status_code == 200, answer.text
                return

    async def _ask_upstream(self, method: str, name: str, **options: Any) -> Any:
        root = self.upstream_url.removesuffix("/api/v1")
        answer = await self.http.request(method, f"{root}/_emulator/{name}", **options)
        assert answer.status_code == 200, answer.text
        return answer.json()


@asynccontextmanager
async def running_gateway(
    database_url: str,
    *,
    emulator: EmulatorOptions = QUICK,
    settings: Mapping[str, str] | None = None,
    members: tuple[str, ...] = ("api", "worker"),
) -> AsyncIterator[Gateway]:
    """A gateway over an empty migrated database, with one account, one team and one key.

    `settings` are environment variables on top of the usual ones. Its logs go to standard error
    at the end.
    """
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dashgate-test-")))
        upstream_url = await stack.enter_async_context(running_emulator(emulator))
        http = await stack.enter_async_context(
            httpx.AsyncClient(timeout=20, trust_env=False, verify=False)
        )
        engine = make_engine(database_url)
        stack.push_async_callback(engine.dispose)
        sessions = make_sessions(engine)
        gateway = Gateway(
            database_url=database_url,
            upstream_url=upstream_url,
            folder=folder,
            seat=await _furnish(sessions, upstream_url, emulator.running_slots),
            environment=_make_environment(database_url, folder) | dict(settings or {}),
            sessions=sessions,
            http=http,
        )
        stack.push_async_callback(gateway.close)
        await asyncio.gather(*(gateway.start(name) for name in members))
        yield gateway


async def _furnish(sessions: Sessions, upstream_url: str, slots: int) -> Seat:
    vault = Vault((SECRET,))
    await ensure_default_prices(sessions)
    await make_account(
        sessions,
        vault,
        name="default",
        base_url=upstream_url,
        max_running=slots,
        submit_rate=Decimal(100),
        query_rate=Decimal(100),
    )
    team = await make_team(sessions, name="first")
    key = await make_key(sessions, vault, owner=team)
    return Seat(team.id, team.name, key.text)


def _make_environment(database_url: str, folder: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "DATABASE_URL": database_url,
        "DASHGATE_NO_SETUP": "1",
        "DASHGATE_SECRET_KEY": SECRET,
        "DASHGATE_DATA_DIR": str(folder),
        "DASHGATE_STORE_URL": (folder / "store").as_uri(),
        "DASHGATE_SETTLE_SECONDS": "0.5",
        "DASHGATE_STALE_LIST_SECONDS": "0.5",
        "DASHGATE_SLOWEST_UPLOAD_KBPS": "1000000",
        "DASHGATE_WATCH_INTERVAL_SECONDS": "0.1",
        "DASHGATE_STOP_GRACE_SECONDS": "5",
    }
