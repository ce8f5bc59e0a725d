"""`up` on a real terminal, as a person types it: what it prints there, and that it runs."""

import asyncio
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from app.kit.ports import find_free_port
from tests.house.sources import ROOT
from tests.waiting import wait_until

STOP_SECONDS = 30.0


async def test_up_starts_on_a_terminal_and_ends_at_ctrl_c(tmp_path: Path) -> None:
    """Its processes write for people there, and must be able to."""
    port = find_free_port("127.0.0.1")
    ours = ("DASHGATE_", "DASHSCOPE_", "DATABASE_URL")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environment |= {"DASHGATE_NO_SETUP": "1", "PYTHONPATH": str(ROOT), "TERM": "xterm"}
    terminal, end = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app", "up", "--port", str(port),
        cwd=tmp_path, env=environment, stdin=end, stdout=end, stderr=end, start_new_session=True,
    )  # fmt: skip
    os.close(end)
    shown = bytearray()
    reading = asyncio.create_task(asyncio.to_thread(_read_all, terminal, shown))
    try:
        await wait_until(lambda: _is_ready(port), seconds=90)
        assert b"a setting is wrong" not in shown
        assert b"exit code" not in shown
    finally:
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(STOP_SECONDS):
            code = await process.wait()
        await reading
        os.close(terminal)
    assert code in (0, 128 + signal.SIGINT), shown.decode(errors="replace")


async def _is_ready(port: int) -> bool:
    async with httpx.AsyncClient(trust_env=False) as http:
        try:
            answer = await http.get(f"http://127.0.0.1:{port}/readyz")
        except httpx.TransportError:
            return False
    return answer.status_code == 200


def _read_all(terminal: int, shown: bytearray) -> None:
    try:
        while chunk := os.read(terminal, 65_536):
            shown.extend(chunk)
    except OSError:  # the last process that had the terminal has gone
        return


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        (
            "DASHGATE_SLOWEST_UPLOAD_KBPS",
            "1",
            "DASHGATE_SLOWEST_UPLOAD_KBPS: Input should be greater than or equal to 100",
        ),
        ("DASHGATE_LOG_FORMAT", "xml", "DASHGATE_LOG_FORMAT: Input should be 'json' or 'text'"),
    ],
)
def test_a_setting_that_is_wrong_is_named_as_it_is_typed_with_its_limit(
    tmp_path: Path, name: str, value: str, told: str
) -> None:
    environment = {**os.environ, name: value, "DASHGATE_NO_SETUP": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "app", "job", "list"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 1
    assert told in done.stderr


@pytest.mark.parametrize("seconds", ["0.1", "0.2", "0.35", "0.6"])
def test_a_command_that_is_interrupted_while_it_begins_shows_no_traceback(
    seconds: str, tmp_path: Path
) -> None:
    ended = subprocess.run(
        ["timeout", "--signal", "INT", seconds, sys.executable, "-m", "app", "job", "list"],
        cwd=tmp_path,
        env=os.environ | {"DASHGATE_NO_SETUP": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert "Traceback" not in ended.stderr
    assert len(ended.stderr.splitlines()) <= 2
