"""The life of a task, as queries see it."""

import hashlib
import re
from dataclasses import replace
from datetime import timedelta
from email.utils import parsedate_to_datetime

import pytest

from app.dashscope.payloads import to_wire_time
from tests.emulator.client import (
    CREATE,
    MODEL,
    QUICK,
    SLOW,
    Desk,
    HandClock,
    make_body,
    open_desk,
    open_http,
)

_REQUEST_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-9[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


async def test_created_task_is_answered_as_pending_with_upstream_headers(desk: Desk) -> None:
    answer = await desk.post(make_body())

    body = answer.json()
    assert list(body) == ["request_id", "output"]
    assert list(body["output"]) == ["task_id", "task_status"]
    assert body["output"]["task_status"] == "PENDING"
    assert _REQUEST_ID.fullmatch(body["request_id"])
    assert answer.headers["x-request-id"] == body["request_id"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-encoding"] == "gzip"
    assert {"req-cost-time", "req-arrive-time", "resp-start-time"} <= set(answer.headers)


async def test_succeeded_task_shows_times_results_metrics_and_usage(desk: Desk) -> None:
    task_id = await desk.create(make_body("夜景, please", n=2))
    await desk.wait_for(task_id)

    answer = await desk.http.get(f"/tasks/{task_id}")

    output = answer.json()["output"]
    assert answer.headers["content-type"] == "application/json;charset=UTF-8"
    assert "夜景".encode() in answer.content
    assert list(answer.json()) == ["request_id", "output", "usage"]
    assert list(output) == [
        "task_id",
        "task_status",
        "submit_time",
        "scheduled_time",
        "end_time",
        "results",
        "task_metrics",
    ]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}", output["end_time"])
    assert [list(item) for item in output["results"]] == [
        ["orig_prompt", "actual_prompt", "url"]
    ] * 2
    assert output["task_metrics"] == {"TOTAL": 2, "SUCCEEDED": 2, "FAILED": 0}
    assert answer.json()["usage"] == {"image_count": 2}


async def test_times_are_wall_clock_of_utc_plus_8() -> None:
    async with open_desk(clock=HandClock()) as desk:
        answer = await desk.run()

        assert answer["output"]["submit_time"] == "2026-11-23 12:00:00.000"


async def test_actual_prompt_is_absent_when_prompt_extend_is_off(desk: Desk) -> None:
    answer = await desk.run(make_body(prompt_extend=False))

    assert list(answer["output"]["results"][0]) == ["orig_prompt", "url"]


async def test_n_defaults_to_four_and_long_prompts_are_cut(desk: Desk) -> None:
    answer = await desk.run(make_body("长" * 2_500, n=None))

    assert answer["usage"] == {"image_count": 4}
    assert answer["output"]["results"][0]["orig_prompt"] == "长" * 2_000


async def test_sixth_task_stays_pending() -> None:
    async with open_desk(SLOW) as desk:
        running = [await desk.create() for _ in range(5)]
        sixth = await desk.create()
        await desk.wait_for(running[4], "RUNNING")

        waiting = (await desk.query(sixth))["output"]

        assert waiting["task_status"] == "PENDING"
        assert "scheduled_time" not in waiting
        assert (await desk.control("stats"))["running_peak"][0]["count"] == 5


async def test_queued_tasks_start_in_the_order_they_came() -> None:
    async with open_desk(replace(QUICK, running_slots=1)) as desk:
        task_ids = [await desk.create() for _ in range(4)]
        await desk.wait_for(task_ids[-1])

        starts = [(await desk.query(task_id))["output"]["scheduled_time"] for task_id in task_ids]

        assert starts == sorted(set(starts))


async def test_queue_cap_refuses_with_concurrency() -> None:
    async with open_desk(replace(SLOW, running_slots=1, queue_limit=1)) as desk:
        await desk.create()
        await desk.create()

        answer = await desk.post(make_body())

        assert (answer.status_code, answer.json()["code"]) == (429, "Throttling.Concurrency")


async def test_cancelled_task_never_runs() -> None:
    async with open_desk(replace(QUICK, running_slots=1, running_seconds=(0.2, 0.2))) as desk:
        await desk.wait_for(await desk.create(), "RUNNING")
        pending, behind = await desk.create(), await desk.create()

        answer = await desk.http.post(f"/tasks/{pending}/cancel")
        await desk.wait_for(behind)

        canceled = (await desk.query(pending))["output"]
        assert (answer.status_code, list(answer.json())) == (200, ["request_id"])
        assert canceled["task_status"] == "CANCELED"
        assert canceled["task_metrics"] == {"TOTAL": 1, "SUCCEEDED": 0, "FAILED": 0}
        assert "scheduled_time" not in canceled
        assert canceled["end_time"] >= canceled["submit_time"]


@pytest.mark.parametrize(("method", "slash"), [("POST", ""), ("POST", "/"), ("GET", "/")])
async def test_running_task_cannot_be_cancelled(method: str, slash: str) -> None:
    async with open_desk(SLOW) as desk:
        task_id = await desk.create()
        await desk.wait_for(task_id, "RUNNING")

        answer = await desk.http.request(method, f"/tasks/{task_id}/cancel{slash}")

        assert answer.status_code == 400
        assert answer.text == (
            f'{{"request_id":"{answer.headers["x-request-id"]}","code":"UnsupportedOperation",'
            '"message":"Failed to cancel the task, please confirm if the task is in PENDING '
            'status."}'
        )


async def test_task_without_result_times_out() -> None:
    async with open_desk(replace(SLOW, hard_timeout_seconds=0.05)) as desk:
        output = (await desk.run())["output"]

        assert output["task_status"] == "FAILED"
        assert output["code"] == "InternalError.Timeout"


async def test_unknown_id_is_200_and_unknown(desk: Desk) -> None:
    answer = await desk.query("1111")

    assert answer["output"] == {"task_id": "1111", "task_status": "UNKNOWN"}


async def test_task_is_seen_by_all_keys_of_its_account_and_nobody_else() -> None:
    keys = {"sk-desk": "one", "sk-sister": "one", "sk-stranger": "two"}
    async with open_desk(replace(SLOW, keys=keys)) as desk:
        task_id = await desk.create()
        async with (
            open_http(desk.base_url, "sk-sister") as sister,
            open_http(desk.base_url, "sk-stranger") as stranger,
        ):
            seen = (await sister.get(f"/tasks/{task_id}")).json()
            hidden = (await stranger.get(f"/tasks/{task_id}")).json()

        assert seen["output"]["task_status"] != "UNKNOWN"
        assert hidden["output"]["task_status"] == "UNKNOWN"


async def test_ended_task_is_forgotten_after_its_time_but_stays_on_the_bill() -> None:
    clock = HandClock()
    async with open_desk(clock=clock) as desk:
        task_id = (await desk.run())["output"]["task_id"]

        clock.advance(86_399)
        before = await desk.query(task_id)
        clock.advance(1)
        after = await desk.query(task_id)

        assert before["output"]["task_status"] == "SUCCEEDED"
        assert after["output"]["task_status"] == "UNKNOWN"
        assert (await desk.control("bill"))["image_count"] == 1


async def test_bill_counts_every_creation_and_only_delivered_pictures() -> None:
    async with open_desk() as desk:
        await desk.run(make_body(n=3))
        await desk.run(make_body(n=3))
        await desk.run(make_body(n=9))

        bill = await desk.control("bill")

        assert bill["image_count"] == 6
        assert [task["image_count"] for task in bill["tasks"]] == [3, 3, 0]
        assert bill["tasks"][2]["status"] == "FAILED"
        assert [entry["image_count"] for entry in bill["accounts"].values()] == [6]
        assert bill["calls"]["create"] == 3


async def test_bill_names_the_bytes_of_every_picture_that_was_fetched() -> None:
    async with open_desk() as desk:
        answer = await desk.run(make_body("a red bicycle", n=3))
        url = answer["output"]["results"][1]["url"]
        content = (await desk.http.get(url)).content

        [line] = (await desk.control("bill"))["tasks"]

        assert (line["prompt"], line["n"], line["image_count"]) == ("a red bicycle", 3, 3)
        assert line["picture_sha256"] == [None, hashlib.sha256(content).hexdigest(), None]


async def test_damaged_download_does_not_change_the_bytes_on_the_bill() -> None:
    async with open_desk() as desk:
        await desk.arm({"on": "picture", "do": "corrupt", "times": 1})
        url = (await desk.run())["output"]["results"][0]["url"]
        corrupt, whole = [(await desk.http.get(url)).content for _ in range(2)]

        [line] = (await desk.control("bill"))["tasks"]

        assert line["picture_sha256"] == [hashlib.sha256(whole).hexdigest()]
        assert corrupt != whole


@pytest.mark.parametrize("skew_seconds", [300.0, -300.0])
async def test_skewed_clock_shows_in_every_time_on_the_wire(skew_seconds: float) -> None:
    clock = HandClock()
    options = replace(QUICK, clock_skew_seconds=skew_seconds)
    async with open_desk(options, clock=clock) as desk:
        answer = await desk.http.get(f"/tasks/{await desk.create()}")
        ended = await desk.wait_for(answer.json()["output"]["task_id"])
        listed = await desk.http.get("/tasks")
        link = ended["output"]["results"][0]["url"]
        picture = await desk.http.get(link)

        expected = clock.now + timedelta(seconds=skew_seconds)
        wire_time = to_wire_time(expected)
        [row] = listed.json()["data"]
        for name in ("submit_time", "scheduled_time", "end_time"):
            assert ended["output"][name] == wire_time
        assert {row["gmt_create"], row["end_time"]} == {expected.timestamp() * 1000}
        assert answer.headers["req-arrive-time"] == str(round(expected.timestamp() * 1000))
        for response in (answer, listed, picture):
            assert parsedate_to_datetime(response.headers["date"]) == expected
        assert picture.status_code == 200


async def test_date_header_is_sent_once(desk: Desk) -> None:
    answer = await desk.http.get("/tasks")

    assert len(answer.headers.get_list("date")) == 1


async def test_text_to_image_model_lives_on_its_own_path(desk: Desk) -> None:
    path = CREATE.replace("image2image", "text2image")
    body = make_body(model="wan2.5-t2i-preview", images=[], size="1280*1280")

    created = await desk.post(body, path=path)
    mixed_up = await desk.post(make_body(model=MODEL), path=path)

    ended = await desk.wait_for(created.json()["output"]["task_id"])
    assert ended["usage"] == {"image_count": 1}
    assert mixed_up.status_code == 400
    assert mixed_up.json()["message"] == "url error, please check url!"
