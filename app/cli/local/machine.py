"""One machine's whole gateway: folder, secret, database, upstream, processes."""

import asyncio
import fcntl
import os
import secrets
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from app.cli.bootstrap import bootstrap_account, bootstrap_owner, prepare_database
from app.cli.context import (
    DATABASE_URL_FILE,
    GATEWAY_URL_FILE,
    SECRET_KEY_FILE,
    explaining_database_trouble,
)
from app.cli.local.supervisor import Child, Supervisor
from app.cli.local.upstream import choose_upstream, make_first_operator_key
from app.cli.output import say
from app.embedded import EmbeddedPostgres
from app.kit.crypto import Vault
from app.kit.errors import Conflict, Unavailable
from app.kit.ports import check_listening
from app.kit.postgres.database import open_pool
from app.settings import Settings

ROOT = Path(__file__).parents[3]
READY_SECONDS = 60.0
READY_STEP_SECONDS = 0.05
READY_CALL_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class MachineOptions:
    """What `up` and `demo` want differently."""

    port: int
    emulator_running_seconds: str
    logs_to_files: bool


@dataclass(frozen=True, slots=True)
class Machine:
    """A gateway that runs: where it answers, and what was made for its first start."""

    url: str
    database_url: str
    vault: Vault
    supervisor: Supervisor
    first_operator_key: SecretStr | None
    uses_emulator: bool


@contextmanager
def running_machine(settings: Settings, options: MachineOptions) -> Iterator[Machine]:
    """Everything started and ready; all of it stopped in reverse at the end.

    Raises GatewayError, SettingMissing or EmbeddedPostgresError with what to do.
    """
    folder = settings.data_dir.resolve()
    with ExitStack() as stack:
        stack.enter_context(only_one(folder))
        check_listening(settings.host, options.port)
        secret = _keep_secret(settings, folder)
        vault = Vault(tuple(part.strip() for part in secret.split(",") if part.strip()))
        postgres, database_url = _open_database(settings, folder, stack)
        with explaining_database_trouble(database_url):
            asyncio.run(prepare_database(database_url))
            emulator_url = asyncio.run(choose_upstream(settings, database_url, vault))
            asyncio.run(_bootstrap(settings, database_url, vault))
        url = f"http://{settings.host}:{options.port}"
        supervisor = Supervisor(
            _make_environment(settings, options, secret=secret, database_url=database_url),
            grace_seconds=settings.stop_grace_seconds,
        )
        stack.callback(supervisor.stop)
        if postgres is not None:
            supervisor.add_chore(_Revival(postgres, supervisor, database_url))
        for child in _make_children(options, folder, emulator_url):
            supervisor.add(child)
        _wait_until_ready(url, supervisor)
        _leave_note(folder / GATEWAY_URL_FILE, url, stack)
        # Last, because it is shown but once: a start that fails must not swallow it.
        operator_key = asyncio.run(make_first_operator_key(settings, database_url, vault))
        yield Machine(
            url=url,
            database_url=database_url,
            vault=vault,
            supervisor=supervisor,
            first_operator_key=operator_key,
            uses_emulator=emulator_url is not None,
        )


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """The folder is this process's alone; raises Conflict when another runs in it."""
    try:
        (folder / "run").mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(folder / "run" / "up.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise Unavailable(
            f"the data folder {folder} cannot be written ({error.strerror}): set "
            "DASHGATE_DATA_DIR to one that can"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Conflict(
            f"a gateway runs in the data folder {folder} already: stop it, or set "
            "DASHGATE_DATA_DIR to another folder"
        ) from None
    try:
        yield
    finally:
        os.close(lock)


def _keep_secret(settings: Settings, folder: Path) -> str:
    if settings.secret_key is not None:
        return settings.secret_key.get_secret_value()
    path = folder / SECRET_KEY_FILE
    if not path.exists():
        _write_private(path, secrets.token_urlsafe(48))
    return path.read_text().strip()


def _leave_note(path: Path, text: str, stack: ExitStack) -> None:
    """Tell the other commands of this machine, for as long as it is true."""
    _write_private(path, text)
    stack.callback(path.unlink, missing_ok=True)


def _write_private(path: Path, text: str) -> None:
    with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(text)


def _open_database(
    settings: Settings, folder: Path, stack: ExitStack
) -> tuple[EmbeddedPostgres | None, str]:
    if settings.database_url is not None:
        return None, settings.database_url.get_secret_value()
    postgres = EmbeddedPostgres(folder / "postgres", pg_bin=settings.pg_bin)
    url = postgres.start()
    stack.callback(postgres.stop)
    _leave_note(folder / DATABASE_URL_FILE, url, stack)
    return postgres, url


async def _bootstrap(settings: Settings, url: str, vault: Vault) -> None:
    await bootstrap_account(url, settings, vault)
    pool = await open_pool(url, max_size=1)
    try:
        await bootstrap_owner(pool, settings, vault)
    finally:
        await pool.close()


class _Revival:
    """Brings a killed database back; the others find it again by themselves."""

    def __init__(self, postgres: EmbeddedPostgres, supervisor: Supervisor, url: str) -> None:
        self._postgres = postgres
        self._supervisor = supervisor
        self._url = url

    def __call__(self) -> None:
        if self._postgres.is_alive():
            return
        say("the embedded Postgres has ended; it starts again")
        url = self._postgres.ensure()
        if url != self._url:
            self._url = url
            self._supervisor.restart_with({"DATABASE_URL": url})


def _make_environment(
    settings: Settings, options: MachineOptions, *, secret: str, database_url: str
) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "DATABASE_URL": database_url,
        "DASHGATE_NO_SETUP": "1",
        "DASHGATE_SECRET_KEY": secret,
        "DASHGATE_DATA_DIR": str(settings.data_dir.resolve()),
        "DASHGATE_HOST": settings.host,
        "DASHGATE_PORT": str(options.port),
        "DASHGATE_LOG_FORMAT": _choose_log_format(settings, options),
    }


def _choose_log_format(settings: Settings, options: MachineOptions) -> str:
    """For people where people look on, unless the environment says otherwise."""
    if "log_format" in settings.model_fields_set or options.logs_to_files:
        return settings.log_format
    return "text" if sys.stderr.isatty() else settings.log_format


def _make_children(
    options: MachineOptions, folder: Path, emulator_url: str | None
) -> Iterator[Child]:
    def output(name: str) -> int | None:
        if not options.logs_to_files:
            return None
        (folder / "logs").mkdir(exist_ok=True, mode=0o700)
        return os.open(
            folder / "logs" / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600
        )

    if emulator_url is not None:
        port = str(urlsplit(emulator_url).port)
        running = options.emulator_running_seconds
        arguments = ("emulator", "--port", port, "--running-seconds", running)
        yield Child("the emulator", arguments, output=output("emulator"))
    yield Child("the API", ("serve",), output=output("serve"))
    yield Child("the worker", ("work",), output=output("work"))


def _wait_until_ready(url: str, supervisor: Supervisor) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and not supervisor.stopping.is_set():
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=READY_CALL_SECONDS):  # noqa: S310
                return
        except (OSError, urllib.error.URLError):
            supervisor.look()
            time.sleep(READY_STEP_SECONDS)
    raise Unavailable(f"the API was not ready at {url} within {READY_SECONDS:.0f} s: see its log")
