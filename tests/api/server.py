"""The API process's application on a socket of its own, without a worker."""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from app.kit.crypto import Vault
from app.main import create_app
from app.settings import Settings
from app.web.connections import CONNECTIONS_LIMIT, make_protocol

SECRET = "for-the-native-doors-tests-only-" * 2
START_SECONDS = 20.0


def make_vault() -> Vault:
    return Vault((SECRET,))


def make_settings(database_url: str, folder: Path, **changes: Any) -> Settings:
    values = {
        "database_url": database_url,
        "secret_key": SECRET,
        "store_url": (folder / "store").as_uri(),
        "database_pool_size": 4,
        "log_level": "warning",
        **changes,
    }
    return Settings(_env_file=None, **values)


@asynccontextmanager
async def running_api(
    settings: Settings, *, connections: int = CONNECTIONS_LIMIT
) -> AsyncIterator[str]:
    """Serve from a thread, as its own event loop; yields the address without a slash."""
    context = _api_in_thread(settings, connections)
    url = await asyncio.to_thread(context.__enter__)
    try:
        yield url
    finally:
        await asyncio.to_thread(context.__exit__, None, None, None)


def open_client(url: str, key: str | None = None, **headers: str) -> httpx.AsyncClient:
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    return httpx.AsyncClient(
        base_url=url, headers=headers, timeout=20, trust_env=False, verify=False
    )


@contextmanager
def _api_in_thread(settings: Settings, connections: int) -> Iterator[str]:
    config = uvicorn.Config(
        lambda: create_app(settings),
        factory=True,
        http=make_protocol(limit=connections),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],), name="api")
        thread.start()
        try:
            _wait_until_started(server, thread)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def _wait_until_started(server: uvicorn.Server, thread: threading.Thread) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not server.started:
        assert thread.is_alive(), "the API ended while it started"
        assert time.monotonic() < deadline, f"the API did not start within {START_SECONDS:.0f} s"
        time.sleep(0.005)
