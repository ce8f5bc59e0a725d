"""Queries, lists, cancels and uploads: repeated without harm, bounded in time and size."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from pydantic import SecretStr

from app.dashscope.capped import ANSWER_BYTES_LIMIT
from app.dashscope.client import DashScope, TaskWindow
from app.dashscope.outcomes import NotSent, OutcomeUnknown, UpstreamTrouble
from app.dashscope.payloads import TaskStatus
from app.kit.ports import find_free_port
from tests.dashscope.upstreams import MODEL, TASK, calling, close, reset
from tests.emulator.client import QUICK, SLOW, make_picture, open_desk
from tests.media.wire import Answer, always, reply, serve

NOON = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
WINDOW = TaskWindow(MODEL, NOON - timedelta(hours=1), NOON)
TROUBLES = [
    pytest.param(reset, id="reset"),
    pytest.param(close, id="closed"),
    pytest.param(always(reply("500 Internal Server Error", b"{}")), id="500"),
    pytest.param(always(reply("429 Too Many", b'{"code":"Throttling"}')), id="429"),
    pytest.param(always(reply("200 OK", b"<html>")), id="a page"),
    pytest.param(always(reply("200 OK", TASK.ljust(ANSWER_BYTES_LIMIT + 1))), id="too long"),
    pytest.param(always(reply("200 OK", b'{"output":1,"data":1}')), id="another shape"),
]


@pytest.mark.parametrize("answer", TROUBLES)
async def test_a_query_without_a_usable_answer_is_trouble_for_later(answer: Answer) -> None:
    async with serve(answer) as wire, calling(f"http://{wire.host}") as upstream:
        with pytest.raises(UpstreamTrouble):
            await upstream.get_task("t-1")


@pytest.mark.parametrize("answer", TROUBLES)
async def test_a_list_without_a_usable_answer_is_trouble_for_later(answer: Answer) -> None:
    async with serve(answer) as wire, calling(f"http://{wire.host}") as upstream:
        with pytest.raises(UpstreamTrouble):
            await upstream.list_tasks(WINDOW, page=1)


async def test_an_upstream_that_is_away_is_trouble_for_later() -> None:
    async with calling(f"http://127.0.0.1:{find_free_port('127.0.0.1')}") as upstream:
        for call in (
            upstream.get_task("t-1"),
            upstream.list_tasks(WINDOW, page=1),
            upstream.cancel_task("t-1"),
            upstream.upload(b"x", model=MODEL, name="a.png"),
        ):
            with pytest.raises(UpstreamTrouble):
                await call


async def test_a_list_asks_for_its_window_in_the_upstreams_time() -> None:
    nothing = always(reply("200 OK", b'{"data":[]}'))
    async with serve(nothing) as wire, calling(f"http://{wire.host}") as upstream:
        await upstream.list_tasks(WINDOW, page=3)

    assert wire.requests[0].target == (
        f"/tasks?model_name={MODEL}&start_time=20261123110000&end_time=20261123120000"
        "&page_no=3&page_size=100"
    )


async def test_a_list_asks_outward_to_whole_seconds() -> None:
    nothing = always(reply("200 OK", b'{"data":[]}'))
    moment = NOON + timedelta(microseconds=1)
    async with serve(nothing) as wire, calling(f"http://{wire.host}") as upstream:
        await upstream.list_tasks(TaskWindow(MODEL, moment, moment), page=1)

    assert "start_time=20261123120000&end_time=20261123120001&" in wire.requests[0].target


@pytest.mark.parametrize(
    "task_id", ["a/b", "../b", "a?b", "a#b", "a%2Fb", "a b", "a\nb", "\ufffd"]
)
async def test_a_task_is_asked_for_by_its_whole_id_whatever_that_holds(task_id: str) -> None:
    async with (
        serve(
            always(reply("200 OK", b'{"output":{"task_id":"a","task_status":"RUNNING"}}'))
        ) as wire,
        calling(f"http://{wire.host}/api/v1") as upstream,
    ):
        await upstream.get_task(task_id)
        await upstream.cancel_task(task_id)

    asked = [request.target for request in wire.requests]
    assert asked == [f"/api/v1/tasks/{quote(task_id, safe='')}{end}" for end in ("", "/cancel")]


@pytest.mark.parametrize("changes", [{"upload_host": "http://a\nb"}, {"policy": "\ud800"}])
async def test_a_place_to_upload_that_is_none_is_trouble_for_later(
    changes: dict[str, str],
) -> None:
    named = ("policy", "signature", "upload_dir", "upload_host", "oss_access_key_id")
    policy = dict.fromkeys(named, "x") | changes
    answer = always(reply("200 OK", json.dumps({"data": policy}).encode()))
    async with serve(answer) as wire, calling(f"http://{wire.host}") as upstream:
        with pytest.raises(UpstreamTrouble):
            await upstream.upload(b"x", model=MODEL, name="a.png")


@pytest.mark.parametrize("error", [RuntimeError, KeyError, RecursionError, httpx.InvalidURL])
async def test_what_nobody_foresaw_is_trouble_for_later_and_a_create_in_doubt(
    error: Callable[[str], Exception],
) -> None:
    def fail(_: httpx.Request) -> httpx.Response:
        raise error("odd")

    async with httpx.AsyncClient(transport=httpx.MockTransport(fail)) as http:
        upstream = DashScope("http://upstream", SecretStr("sk-odd"), http, http)
        with pytest.raises(UpstreamTrouble):
            await upstream.get_task("t-1")
        outcome = await upstream.create_task(
            MODEL, input_fields={}, parameters={}, timeout_seconds=1
        )

    assert isinstance(outcome, OutcomeUnknown)


async def test_a_key_that_no_header_takes_has_sent_nothing() -> None:
    async with calling("http://upstream.invalid", "sk-\u00e9\u4e2d") as upstream:
        with pytest.raises(UpstreamTrouble):
            await upstream.get_task("t-1")
        outcome = await upstream.create_task(
            MODEL, input_fields={}, parameters={}, timeout_seconds=1
        )

    assert isinstance(outcome, NotSent)


async def test_a_listed_task_of_a_status_that_nobody_knows_does_not_hide_the_others() -> None:
    body = (
        b'{"total":2,"total_page":1,"data":['
        b'{"task_id":"a","status":"SUSPENDED","gmt_create":1795406400000},'
        b'{"task_id":"b","status":"SUCCEEDED","gmt_create":1795406400000}]}'
    )
    answer = always(reply("200 OK", body))
    async with serve(answer) as wire, calling(f"http://{wire.host}") as upstream:
        page = await upstream.list_tasks(WINDOW, page=1)

    assert {task.task_id: task.status.is_final for task in page.data} == {"a": False, "b": True}


async def test_a_task_of_a_status_that_nobody_knows_goes_on() -> None:
    body = b'{"output":{"task_id":"a","task_status":"SUSPENDED"}}'
    running = always(reply("200 OK", body))
    async with serve(running) as wire, calling(f"http://{wire.host}") as upstream:
        answer = await upstream.get_task("a")

    assert not answer.output.task_status.is_final


async def test_only_a_pending_task_can_be_canceled() -> None:
    async with open_desk(SLOW) as desk, calling(desk.base_url, "sk-desk") as upstream:
        running = await desk.create()
        await desk.wait_for(running, "RUNNING")
        rest = [await desk.create() for _ in range(SLOW.running_slots)]

        assert await upstream.cancel_task(rest[-1]) is True
        assert await upstream.cancel_task(running) is False


async def test_an_upload_is_an_input_that_the_upstream_reads() -> None:
    picture = make_picture(colour="teal")
    async with open_desk(QUICK) as desk, calling(desk.base_url, "sk-desk") as upstream:
        url = await upstream.upload(picture, model=MODEL, name="a.png")
        created = await upstream.create_task(
            MODEL,
            input_fields={"prompt": "make it blue", "images": [url]},
            parameters={"n": 1},
            timeout_seconds=5,
        )
        answer = await desk.wait_for(created.task_id)  # type: ignore[union-attr]

    assert Path(url).name == "a.png"
    assert answer["output"]["task_status"] == TaskStatus.SUCCEEDED


@pytest.mark.parametrize("place", ["upload", "form"])
@pytest.mark.parametrize("deed", [{"do": "status", "status": 500}, {"do": "reset"}])
async def test_an_upload_that_fails_is_trouble_for_later(
    place: str, deed: dict[str, object]
) -> None:
    async with open_desk(QUICK) as desk, calling(desk.base_url, "sk-desk") as upstream:
        await desk.arm({"on": place, **deed})
        with pytest.raises(UpstreamTrouble):
            await upstream.upload(b"x" * 1000, model=MODEL, name="a.png")


async def test_a_nul_in_an_answer_does_not_come_in_and_no_results_are_an_empty_list() -> None:
    """Postgres keeps no NUL; the upstream has been seen to answer `results: null`."""
    failed = (
        b'{"output":{"task_id":"a","task_status":"FAILED","results":null,'
        b'"code":"InternalError","message":"a\\u0000b"}}'
    )
    failing = always(reply("200 OK", failed))
    async with serve(failing) as wire, calling(f"http://{wire.host}") as upstream:
        answer = await upstream.get_task("a")

    assert answer.output.message == "a\ufffdb"
    assert answer.output.results == ()
