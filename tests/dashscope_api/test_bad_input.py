"""Bad input is refused at once, says what is wrong, and costs nothing."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.kit.postgres.database import connect
from tests.dashscope_api.bad_input import BadInput, list_bad_input
from tests.dashscope_api.client import Client, open_client
from tests.dashscope_api.wire import check_request_id
from tests.gateway import Gateway

_TABLES = ("jobs", "job_runs", "job_events", "ledger_entries", "files", "idempotency_keys")


async def count_rows(gateway: Gateway) -> dict[str, int]:
    connection = await connect(gateway.database_url)
    try:
        return {
            table: await connection.fetchval(f"select count(*) from {table}") for table in _TABLES
        }
    finally:
        await connection.close()


@pytest.fixture(scope="module")
async def refused(shared_gateway: Gateway) -> AsyncIterator[Client]:
    """A caller whose requests must leave no trace: checked when all of them are through."""
    seat = await shared_gateway.make_seat()
    before = await count_rows(shared_gateway), await shared_gateway.bill()
    async with open_client(shared_gateway, seat) as client:
        yield client
        assert (await client.http.get("/tasks")).json()["total"] == 0
    bill: dict[str, Any] = await shared_gateway.bill()
    assert (await count_rows(shared_gateway), bill["tasks"]) == (before[0], before[1]["tasks"])


@pytest.mark.parametrize("bad", list_bad_input(), ids=lambda bad: bad.sent)
async def test_bad_input_is_refused_with_field_limit_and_value(
    refused: Client, bad: BadInput
) -> None:
    answer = await bad.send(refused.http)

    told = answer.json()
    assert (answer.status_code, told["code"]) == (bad.status, bad.code)
    assert [word for word in bad.words if word not in told["message"]] == [], told["message"]
    assert set(told) == {"code", "message", "request_id"}
    assert answer.headers["content-type"] == "application/json"
    check_request_id(answer)
