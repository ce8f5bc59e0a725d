"""An account's keys are believed when the upstream took them, not before."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from app.cli.local.upstream import EMULATOR, choose_upstream
from app.kit.crypto import Vault
from app.kit.ports import find_free_port
from app.settings import Settings
from tests.cli.conftest import SECRET, Run
from tests.cli.test_verbs import ask

KEY = "sk-invented-0123456789"
EMPTY_PAGE = b'{"request_id":"r","data":[],"total":0,"total_page":0,"page_no":1,"page_size":100}'
REFUSAL = b'{"code":"InvalidApiKey","message":"Invalid API-key provided.","request_id":"r-9"}'


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """An upstream that says this to everything; yields its base URL."""

    class Upstream(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Standard error is the command's."""

    with HTTPServer(("127.0.0.1", 0), Upstream) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/api/v1"
        finally:
            server.shutdown()
            thread.join()


def add(run: Run, base_url: str, *, code: int = 0) -> str:
    flags = ("--region", "cn-beijing", "--api-key-stdin", "--base-url", base_url)
    added = run("account", "add", "main", *flags, stdin=KEY)
    assert added.code == code
    assert ("takes work" in added.out) == (code == 0)
    assert KEY not in added.out + added.err
    return added.err


@pytest.mark.parametrize(
    ("status", "body", "verdict", "told", "listed"),
    [
        (200, EMPTY_PAGE, "works", "...6789 works.", "works"),
        (401, REFUSAL, "refused", "is refused by the upstream", "refused by the upstream"),
        (403, REFUSAL, "refused", "InvalidApiKey", "refused by the upstream"),
        (404, b"<html>", "odd", "not as DashScope does", "answers, but not as DashScope"),
        (200, b"<html>", "odd", "an answer of another shape", "answers, but not as DashScope"),
    ],
)
def test_a_key_is_tried_when_its_account_is_added_and_by_a_command(
    run: Run, status: int, body: bytes, verdict: str, told: str, listed: str
) -> None:
    with answering(status, body) as base_url:
        assert told in add(run, base_url, code=1 if verdict == "refused" else 0)
        tried = run("account", "test", "main", "--json")

    assert tried.code == (0 if verdict == "works" else 1)
    assert f'"verdict": "{verdict}"' in tried.out
    assert listed in run("account", "list").out
    (document,) = run("account", "list", "--json").document
    assert document["last_tried"]["verdict"] == verdict


def test_an_upstream_out_of_reach_is_told_and_the_account_stays(run: Run) -> None:
    nobody = f"http://127.0.0.1:{find_free_port('127.0.0.1')}/api/v1"

    assert "not reachable" in add(run, nobody)
    assert "not reachable" in run("account", "list").out


def test_a_key_that_was_not_tried_is_not_called_healthy(run: Run, database: str) -> None:
    """As the one that the environment makes is not."""
    with answering(200, EMPTY_PAGE) as base_url:
        add(run, base_url)
    ask(database, lambda pool: pool.execute("delete from account_events"))

    assert "not tried yet" in run("account", "list").out


def test_another_key_is_tried_as_the_first_was(run: Run) -> None:
    with answering(200, EMPTY_PAGE) as base_url:
        add(run, base_url)
        changed = run("account", "set", "main", "--api-key-stdin", stdin="sk-another-0123456abc")

    assert "...6abc works." in changed.err


def test_an_account_that_is_not_there_is_named(run: Run) -> None:
    refused = run("account", "test", "nobody")

    assert refused.code == 1
    assert "no account 'nobody'" in refused.err


def test_a_removed_account_has_no_key_to_try(run: Run) -> None:
    with answering(200, EMPTY_PAGE) as base_url:
        add(run, base_url)
    run("account", "remove", "main", "--yes")

    tried = run("account", "test", "main")

    assert tried.code == 1
    assert "was removed" in tried.err


def test_the_stand_in_stays_until_a_key_may_work(run: Run, database: str) -> None:
    async def start(_: object) -> object:
        return await choose_upstream(Settings(), database, Vault((SECRET,)))

    ask(database, start)
    with answering(401, REFUSAL) as base_url:
        add(run, base_url, code=1)
    assert find_state(run, EMULATOR) == "active"
    assert find_state(run, "main") == "draining"

    with answering(200, EMPTY_PAGE) as base_url:
        ask(database, lambda pool: pool.execute("update accounts set base_url = $1", base_url))
        run("account", "set", "main", "--api-key-stdin", stdin="sk-another-0123456789")

    assert find_state(run, EMULATOR) == "removed"


def find_state(run: Run, name: str) -> str:
    accounts = run("account", "list", "--json").document
    states: dict[str, str] = {account["name"]: account["state"] for account in accounts}
    return states[name]
