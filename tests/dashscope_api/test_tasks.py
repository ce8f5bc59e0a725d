"""Query, list and cancel: every state's answer, key by key."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from app.kit.clock import utc_now
from tests.dashscope_api.client import Client, open_client
from tests.dashscope_api.wire import check_request_id, is_recent, parse_wire_time
from tests.emulator.client import make_body
from tests.gateway import Gateway

PENDING = {"task_id", "task_status", "submit_time", "task_metrics"}
TIMES = {"scheduled_time", "end_time"}
CANNOT_CANCEL = {
    "code": "UnsupportedOperation",
    "message": "Failed to cancel the task, please confirm if the task is in PENDING status.",
}


async def test_pending_task_has_its_submit_time_and_zero_metrics(idle_client: Client) -> None:
    task_id = await idle_client.create(make_body(n=3))

    answer = await idle_client.http.get(f"/tasks/{task_id}")

    output = answer.json()["output"]
    assert set(answer.json()) == {"request_id", "output"}
    assert set(output) == PENDING
    assert (output["task_id"], output["task_status"]) == (task_id, "PENDING")
    assert output["task_metrics"] == {"TOTAL": 3, "SUCCEEDED": 0, "FAILED": 0}
    assert is_recent(parse_wire_time(output["submit_time"]))
    assert answer.headers["content-type"] == "application/json"
    check_request_id(answer)


async def test_succeeded_task_has_results_usage_and_times_in_order(client: Client) -> None:
    body = await client.run(make_body("a blue 服", n=2))

    output = body["output"]
    assert set(body) == {"request_id", "output", "usage"}
    assert set(output) == PENDING | TIMES | {"results"}
    assert body["usage"] == {"image_count": 2}
    assert output["task_metrics"] == {"TOTAL": 2, "SUCCEEDED": 2, "FAILED": 0}
    times = [output["submit_time"], output["scheduled_time"], output["end_time"]]
    assert times == sorted(times)
    for index, result in enumerate(output["results"]):
        assert set(result) == {"orig_prompt", "actual_prompt", "url"}
        assert result["orig_prompt"] == "a blue 服"
        assert f"{output['task_id']}-{index}.png?" in result["url"]


async def test_prompt_is_not_rewritten_when_that_was_not_wanted(client: Client) -> None:
    body = await client.run(make_body(prompt_extend=False))

    assert set(body["output"]["results"][0]) == {"orig_prompt", "url"}


async def test_lost_pictures_keep_their_place_and_the_task_succeeds(client: Client) -> None:
    await client.gateway.set_faults({"on": "task", "do": "partial", "indexes": [0]})

    body = await client.run(make_body(n=2))

    lost, kept = body["output"]["results"]
    assert set(lost) == {"code", "message"}
    assert lost["code"] == "InternalError.Timeout"
    assert "url" in kept
    assert body["usage"] == {"image_count": 1}
    assert body["output"]["task_metrics"] == {"TOTAL": 2, "SUCCEEDED": 1, "FAILED": 1}


async def test_failed_task_tells_its_code_inside_the_output(client: Client) -> None:
    await client.gateway.set_faults({"on": "task", "do": "moderation"})

    body = await client.run(make_body(n=2))

    output = body["output"]
    assert set(body) == {"request_id", "output"}
    assert set(output) - TIMES == PENDING | {"code", "message"}
    assert (output["task_status"], output["code"]) == ("FAILED", "DataInspectionFailed")
    assert output["message"] == "Input data may contain inappropriate content."
    assert output["task_metrics"] == {"TOTAL": 2, "SUCCEEDED": 0, "FAILED": 2}


@pytest.mark.parametrize("task_id", [str(UUID(int=1)), "1111", "no such task"])
async def test_unknown_task_is_no_error(client: Client, task_id: str) -> None:
    body = await client.query(task_id)

    assert body["output"] == {"task_id": task_id, "task_status": "UNKNOWN"}
    assert set(body) == {"request_id", "output"}


async def test_task_of_another_team_is_unknown_in_every_way(
    client: Client, gateway: Gateway
) -> None:
    task_id = await client.create()
    nothing = str(uuid4())

    async with open_client(gateway, await gateway.make_seat()) as stranger:
        asked = await stranger.query(task_id)
        listed = (await stranger.http.get("/tasks", params={"task_id": task_id})).json()
        refused = await stranger.http.post(f"/tasks/{task_id}/cancel")
        as_unknown = await stranger.http.post(f"/tasks/{nothing}/cancel")

    assert asked["output"] == {"task_id": task_id, "task_status": "UNKNOWN"}
    assert (listed["total"], listed["data"], listed["tasks"]) == (0, [], [])
    assert _without_id(refused.json()) == _without_id(as_unknown.json()) == CANNOT_CANCEL


async def test_queries_bear_slashes_leaked_parameters_and_other_methods_of_old_sdks(
    idle_client: Client,
) -> None:
    task_id = await idle_client.create()
    leaked = {"n": "1", "size": "1280*1280", "prompt_extend": "true", "status": "x"}

    queries = [
        await idle_client.http.get(f"/tasks/{task_id}{slash}", params=leaked)
        for slash in ("", "/")
    ]
    lists = [await idle_client.http.get(f"/tasks{slash}") for slash in ("", "/")]

    assert [query.json()["output"]["task_id"] for query in queries] == [task_id] * 2
    assert [answer.json()["total"] for answer in lists] == [1, 1]


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "cancel"), ("POST", "cancel/"), ("GET", "cancel/"), ("GET", "cancel")],
)
async def test_cancel_works_once_by_every_spelling(
    idle_client: Client, method: str, path: str
) -> None:
    task_id = await idle_client.create()
    body = {"model": "", "parameters": {}, "input": ""} if method == "POST" else None

    answers = [
        await idle_client.http.request(method, f"/tasks/{task_id}/{path}", json=body)
        for _ in range(2)
    ]

    canceled = (await idle_client.query(task_id))["output"]
    assert [answer.status_code for answer in answers] == [200, 400]
    assert set(answers[0].json()) == {"request_id"}
    assert _without_id(answers[1].json()) == CANNOT_CANCEL
    assert set(canceled) == PENDING | {"end_time"}
    assert canceled["task_status"] == "CANCELED"
    assert canceled["task_metrics"] == {"TOTAL": 1, "SUCCEEDED": 0, "FAILED": 0}


async def test_list_has_pages_and_rows_of_integers_and_no_prompts(client: Client) -> None:
    task_ids = [(await client.run())["output"]["task_id"] for _ in range(3)]

    answer = await client.http.get("/tasks", params={"page_no": 2, "page_size": 2})

    page = answer.json()
    (row,) = page["data"]
    assert (page["total"], page["total_page"], page["page_no"], page["page_size"]) == (3, 2, 2, 2)
    assert set(row) == {
        *("api_key_id", "caller_parent_id", "caller_uid", "gmt_create", "start_time", "end_time"),
        *("model_name", "request_id", "status", "task_id", "user_api_unique_key"),
    }
    assert row["task_id"] == task_ids[0]
    assert row["gmt_create"] <= row["start_time"] <= row["end_time"]
    assert abs(datetime.fromtimestamp(row["end_time"] / 1000, UTC) - utc_now()) < timedelta(
        minutes=2
    )
    assert row["user_api_unique_key"].endswith("image2image:image-synthesis:wan2.5-i2i-preview")
    assert "make it blue" not in answer.text
    check_request_id(answer)


async def test_listed_task_that_waits_has_neither_start_nor_end(idle_client: Client) -> None:
    await idle_client.create()

    (row,) = (await idle_client.http.get("/tasks")).json()["data"]

    assert row["status"] == "PENDING"
    assert not {"start_time", "end_time"} & set(row)


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"status": "PENDING"}, 1),
        ({"status": "CANCELED"}, 1),
        ({"status": "SUCCEEDED"}, 0),
        ({"status": "UNKNOWN"}, 0),
        ({"model_name": "wan2.5-i2i-preview"}, 2),
        ({"model_name": "wan2.6-image"}, 0),
        ({"task_id": "1111"}, 0),
        ({"api_key_id": "of nobody"}, 0),
        ({"region": "cn-beijing"}, 2),
        ({"end_time": "20200101000000"}, 0),
        ({"start_time": "20200101000000", "end_time": "20200101120000"}, 0),
    ],
)
async def test_list_filters(idle_client: Client, query: dict[str, str], count: int) -> None:
    await idle_client.create()
    await idle_client.http.post(f"/tasks/{await idle_client.create()}/cancel")

    listed = (await idle_client.http.get("/tasks", params=query)).json()

    assert listed["total"] == len(listed["data"]) == count


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"page_no": "0"}, "page_no: is '0'; it must be a number from 1"),
        ({"page_size": "1000"}, "page_size: is '1000'; it must be a number from 1 to 100"),
        ({"page_size": "x"}, "page_size"),
        ({"status": "DONE"}, "status: is 'DONE'; it must be one of PENDING, RUNNING"),
        ({"start_time": "yesterday"}, "start_time: is 'yesterday'; it must be YYYYMMDDhhmmss"),
        (
            {"start_time": "20261101000000", "end_time": "20261103000000"},
            "end_time: must come after start_time, by 24 hours at most",
        ),
        ({"start_time": "99991231235959"}, "start_time: is '99991231235959'; its year must be"),
        ({"end_time": "00010101080000"}, "end_time: is '00010101080000'; its year must be"),
        ({"start_time": "00010101000000"}, "start_time: is '00010101000000'; its year must be"),
        ({"model_name": "a\0b"}, "model_name: contains a NUL"),
        ({"api_key_id": "\0"}, "api_key_id: contains a NUL"),
        ({"task_id": "\0", "page_no": "x\0"}, "page_no"),
    ],
)
async def test_list_says_which_filter_is_wrong(
    client: Client, query: dict[str, str], words: str
) -> None:
    answer = await client.http.get("/tasks", params=query)

    assert (answer.status_code, answer.json()["code"]) == (400, "InvalidParameter")
    assert words in answer.json()["message"]


@pytest.mark.parametrize("path", ["/tasks", "/tasks/x", "/uploads?action=getPolicy"])
async def test_every_call_needs_a_key(client: Client, path: str) -> None:
    answer = await client.http.get(path, headers={"Authorization": "Bearer sk-wrong"})

    assert (answer.status_code, answer.json()["code"]) == (401, "InvalidApiKey")


def _without_id(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != "request_id"}


async def test_result_link_is_all_that_is_needed(client: Client) -> None:
    """By HEAD, with a credential of somebody else, with a parameter more."""
    url = (await client.run())["output"]["results"][0]["url"]

    async with httpx.AsyncClient(trust_env=False, verify=False) as http:
        answers: list[Any] = [
            await http.head(url),
            await http.get(url, headers={"Authorization": "Bearer sk-of-another-service"}),
            await http.get(f"{url}&x-oss-process=image/resize"),
        ]

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert answers[1].content == answers[2].content
