"""One create, one job: what SDKs send again by themselves, and what only looks so."""

import asyncio
import signal
import socket
import time
from contextlib import ExitStack
from copy import copy
from typing import Any
from uuid import uuid4

import httpx
import orjson

from app.kit.postgres.database import connect
from app.kit.postgres.presence import PRESENCE_SPACE
from tests.dashscope_api.client import ASYNC, IMAGE_TO_IMAGE, Client, open_client
from tests.dashscope_api.holds import holding_acceptance
from tests.emulator.client import make_body
from tests.gateway import running_gateway

SESSION = "x-dashscope-sdk-session-id"


class Sending:
    """One create as bytes, which can be sent again unchanged."""

    def __init__(self, client: Client, body: dict[str, Any] | None = None) -> None:
        self._client = client
        self._request = client.http.build_request(
            "POST",
            IMAGE_TO_IMAGE,
            content=orjson.dumps(body or make_body()),
            headers=ASYNC | {"Content-Type": "application/json", SESSION: uuid4().hex},
        )

    def to(self, url: str) -> "Sending":
        """The same bytes for another process."""
        other = copy(self)
        other._request = httpx.Request(
            "POST",
            f"{url}{self._request.url.path}",
            headers=self._request.headers,
            content=self._request.content,
        )
        return other

    def by(self, client: Client) -> "Sending":
        """The same bytes from another caller."""
        other = self.to(client.gateway.url)
        other._request.headers["Authorization"] = client.http.headers["Authorization"]
        return other

    async def send(self) -> str:
        """The task that answers."""
        answer = await self._client.http.send(self._request)
        assert answer.status_code == 200, answer.text
        task_id: str = answer.json()["output"]["task_id"]
        return task_id

    def open(self) -> socket.socket:
        """Send on a connection of its own, which nobody reads."""
        url = self._request.url
        lines = [f"{name}: {value}" for name, value in self._request.headers.items()]
        head = "\r\n".join([f"POST {url.raw_path.decode()} HTTP/1.1", *lines, "", ""])
        connection = socket.create_connection((url.host, url.port))
        connection.sendall(head.encode() + self._request.content)
        return connection


async def count_jobs(client: Client) -> int:
    total: int = (await client.http.get("/tasks")).json()["total"]
    return total


async def wait_for_jobs(client: Client, count: int) -> None:
    deadline = time.monotonic() + 10
    while await count_jobs(client) < count:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def lose_a_create(client: Client, sending: Sending) -> None:
    """Send a create whose client is gone before the gateway could answer."""
    async with holding_acceptance(client.gateway.database_url) as hold:
        with sending.open():
            await hold.wait_for_creates()
    await wait_for_jobs(client, 1)


async def let_it_arrive(client: Client) -> None:
    """Round trips, each after what was sent before: time for a request to get to the intake."""
    for _ in range(5):
        assert (await client.http.get(f"{client.gateway.url}/healthz")).status_code == 200


async def list_guards(client: Client) -> list[Any]:
    connection = await connect(client.gateway.database_url)
    try:
        return await connection.fetch(
            "select key from idempotency_keys where team_id = $1 and answered_at is null",
            client.seat.team_id,
        )
    finally:
        await connection.close()


async def wait_for_no_guards(client: Client) -> None:
    """The guard of a create stands for nothing more once its answer has been written."""
    deadline = time.monotonic() + 10
    while await list_guards(client):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_create_sent_again_after_a_lost_connection_is_the_same_job(
    idle_client: Client,
) -> None:
    sending = Sending(idle_client)
    await lose_a_create(idle_client, sending)

    task_id = await sending.send()

    listed = (await idle_client.http.get("/tasks")).json()["data"]
    assert [row["task_id"] for row in listed] == [task_id]


async def test_creates_sent_again_while_the_first_are_being_stored_are_the_same_jobs(
    idle_client: Client,
) -> None:
    # Many, for each would slip through only now and then if nothing held it back.
    sendings = [Sending(idle_client, make_body(f"edit {number}")) for number in range(8)]
    async with holding_acceptance(idle_client.gateway.database_url) as hold:
        with ExitStack() as lost:
            for sending in sendings:
                lost.enter_context(sending.open())
            await hold.wait_for_creates()
            await let_it_arrive(idle_client)
        again = [asyncio.create_task(sending.send()) for sending in sendings]
        await let_it_arrive(idle_client)

    task_ids = await asyncio.gather(*again)

    assert len(set(task_ids)) == await count_jobs(idle_client) == len(sendings)


async def test_equal_create_after_the_one_sent_again_is_meant(idle_client: Client) -> None:
    sending = Sending(idle_client)
    await lose_a_create(idle_client, sending)
    first = await sending.send()
    await wait_for_no_guards(idle_client)

    second = await sending.send()

    assert first != second


async def test_equal_creates_at_once_are_two_jobs_while_both_clients_stay(
    idle_client: Client,
) -> None:
    sending = Sending(idle_client)
    async with holding_acceptance(idle_client.gateway.database_url) as hold:
        both = [asyncio.create_task(sending.send()) for _ in range(2)]
        await hold.wait_for_creates()
        await let_it_arrive(idle_client)

    task_ids = await asyncio.gather(*both)

    assert len(set(task_ids)) == await count_jobs(idle_client) == 2


async def test_equal_creates_one_after_the_other_are_two_jobs(idle_client: Client) -> None:
    sending = Sending(idle_client)

    task_ids = [await sending.send() for _ in range(2)]

    assert len(set(task_ids)) == 2
    await wait_for_no_guards(idle_client)


async def test_another_process_with_the_same_body_is_no_second_sending(
    idle_client: Client,
) -> None:
    await lose_a_create(idle_client, Sending(idle_client))

    await Sending(idle_client).send()

    assert await count_jobs(idle_client) == 2


async def test_killed_process_leaves_creates_that_can_be_sent_again(database: str) -> None:
    async with (
        running_gateway(database, members=("api",)) as gateway,
        open_client(gateway, gateway.seat) as client,
    ):
        before_commit, after_commit = Sending(client), Sending(client)
        await lose_a_create(client, after_commit)
        await pretend_to_be_answering(client)
        async with holding_acceptance(database) as hold:
            with before_commit.open():
                await hold.wait_for_creates()
                await gateway.kill("api")
        await gateway.start("api")

        task_ids = [await sending.send() for sending in (before_commit, after_commit)]

        listed = (await client.http.get("/tasks")).json()["data"]
        assert {row["task_id"] for row in listed} == set(task_ids)


async def pretend_to_be_answering(client: Client) -> None:
    """Guards as they are between the commit and the answer: owned by the process that lives."""
    connection = await connect(client.gateway.database_url)
    try:
        await connection.execute(
            """
            update idempotency_keys set owner = (
                select objid::bigint::int from pg_locks
                where locktype = 'advisory' and classid::bigint = $1 and granted
                    and database = (select oid from pg_database where datname = current_database())
            )
            """,
            PRESENCE_SPACE,
        )
    finally:
        await connection.close()


async def test_create_sent_again_to_another_process_is_the_same_job(database: str) -> None:
    async with (
        running_gateway(database, members=("api", "api-2")) as gateway,
        open_client(gateway, gateway.seat) as client,
    ):
        sending = Sending(client)
        async with holding_acceptance(database) as hold:
            with sending.open():
                await hold.wait_for_creates()
            again = asyncio.create_task(sending.to(gateway.url_of("api-2")).send())
            await hold.wait_for_creates(2)

        await again

        assert await count_jobs(client) == 1


async def test_create_stored_after_the_one_sent_again_was_answered_is_the_same_job(
    database: str,
) -> None:
    async with (
        running_gateway(database, members=("api", "api-2")) as gateway,
        open_client(gateway, gateway.seat) as client,
    ):
        sending = Sending(client)
        async with holding_acceptance(database, "prices") as hold:
            with sending.open():
                await hold.wait_for_creates()
            gateway.send("api", signal.SIGSTOP)

        task_id = await sending.to(gateway.url_of("api-2")).send()
        gateway.send("api", signal.SIGCONT)
        await gateway.stop("api")

        listed = await client.http.get(f"{gateway.url_of('api-2')}/api/v1/tasks")
        assert [row["task_id"] for row in listed.json()["data"]] == [task_id]
