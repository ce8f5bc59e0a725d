"""The options as text, and the emulator as a process."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError

from app.emulator import parse_key, parse_span
from app.emulator.disturb.faults import load_faults

_SERVE = """
import sys
from app.emulator import EmulatorOptions, serve_emulator
serve_emulator(EmulatorOptions(), port=int(sys.argv[1]))
"""


@pytest.mark.parametrize(
    ("text", "span"), [("30-75", (30, 75)), ("30", (30, 30)), ("0.5-1.5", (0.5, 1.5))]
)
def test_span_is_seconds_or_a_range(text: str, span: tuple[float, float]) -> None:
    assert parse_span(text) == span


@pytest.mark.parametrize("text", ["", "75-30", "-5", "soon"])
def test_no_span_is_refused_with_what_it_was(text: str) -> None:
    with pytest.raises(ValueError, match=f"not '{text}'"):
        parse_span(text)


def test_key_may_name_its_account() -> None:
    assert parse_key("sk-1=acme") == ("sk-1", "acme")
    assert parse_key("sk-1") == ("sk-1", "")
    with pytest.raises(ValueError, match="KEY is empty"):
        parse_key("=acme")


def test_faults_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "faults.json"

    path.write_text(json.dumps([{"on": "task", "do": "lost", "seconds": 5}]))
    [rule] = load_faults(path)
    path.write_text(json.dumps([{"on": "task", "do": "partial"}]))
    with pytest.raises(ValidationError, match="name at least one picture"):
        load_faults(path)

    assert rule.seconds == 5


def test_server_answers_until_it_is_told_to_stop() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with subprocess.Popen([sys.executable, "-c", _SERVE, str(port)]) as process:
        answer = _ask_until_answered(f"http://127.0.0.1:{port}/_emulator/stats")
        process.send_signal(signal.SIGTERM)
        process.wait(10)

    assert answer.status_code == 200
    assert process.returncode in {0, -signal.SIGTERM}


def test_command_line_sets_the_clock_and_where_events_go() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    flags = ("--clock-skew-seconds", "3600", "--events-url", "http://gate.example/hook")
    command = [sys.executable, "-m", "app", "emulator", "--port", port, *flags]
    environment = {**os.environ, "DASHGATE_NO_SETUP": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        answer = _ask_until_answered(f"http://127.0.0.1:{port}/_emulator/events")
        process.send_signal(signal.SIGTERM)
        process.wait(10)

    ahead = parsedate_to_datetime(answer.headers["date"]) - datetime.now(UTC)
    assert 3_500 < ahead.total_seconds() < 3_700
    assert answer.json()["target"]["url"] == "http://gate.example/hook"


def _ask_until_answered(url: str) -> httpx.Response:
    deadline = time.monotonic() + 20
    while True:
        try:
            return httpx.get(url, trust_env=False)
        except httpx.ConnectError:
            assert time.monotonic() < deadline
            time.sleep(0.02)
