"""Every trouble the emulator makes, as a client meets it."""

from dataclasses import replace
from random import Random
from typing import Any

import httpx
import pytest
from PIL import Image
from pydantic import ValidationError

from app.emulator.disturb.faults import RULES, Faults, Target
from tests.emulator.client import QUICK, SLOW, Desk, HandClock, make_body, open_desk

_THROTTLED = {"on": "create", "do": "status", "status": 429, "retry_after_seconds": 3}


async def test_status_fault_answers_in_upstreams_shape(desk: Desk) -> None:
    await desk.arm(_THROTTLED)

    answer = await desk.post(make_body())

    assert (answer.status_code, answer.headers["retry-after"]) == (429, "3")
    assert answer.json()["code"] == "Throttling.RateQuota"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert await desk.count_tasks() == 0


@pytest.mark.parametrize(
    ("rule", "status", "text"),
    [
        ({"do": "status"}, 500, '"code":"InternalError"'),
        ({"do": "status", "status": 503}, 503, '"code":"ModelUnavailable"'),
        ({"do": "status", "status": 504}, 504, "upstream request timeout"),
        ({"do": "status", "status": 400, "code": "X", "message": "Y"}, 400, '"code":"X"'),
        ({"do": "html"}, 200, "<title>502 Bad Gateway</title>"),
        ({"do": "arrearage"}, 400, '"code":"Arrearage"'),
        ({"do": "moderation"}, 400, "Input data may contain inappropriate content."),
        ({"do": "ip_suspicion"}, 400, '"code":"IPInfringementSuspect"'),
    ],
)
async def test_create_faults(desk: Desk, rule: dict[str, Any], status: int, text: str) -> None:
    await desk.arm({"on": "create"} | rule)

    answer = await desk.post(make_body())

    assert answer.status_code == status
    assert text in answer.text.replace('": "', '":"')
    assert await desk.count_tasks() == 0


@pytest.mark.parametrize(("when", "task_count"), [("before", 0), ("after", 1)])
async def test_reset_connection_leaves_a_task_only_when_it_comes_after(
    desk: Desk, when: str, task_count: int
) -> None:
    await desk.arm({"on": "create", "do": "reset", "when": when, "times": 1})

    with pytest.raises(httpx.ReadError):
        await desk.post(make_body())

    assert await desk.count_tasks() == task_count


async def test_status_after_the_effect_hides_a_created_task(desk: Desk) -> None:
    await desk.arm({"on": "create", "do": "status", "when": "after"})

    answer = await desk.post(make_body())

    assert answer.status_code == 500
    assert await desk.count_tasks() == 1


@pytest.mark.parametrize(("when", "task_count"), [("before", 0), ("after", 1)])
async def test_hanging_call_outlasts_the_client(desk: Desk, when: str, task_count: int) -> None:
    await desk.arm({"on": "create", "do": "hang", "when": when, "seconds": 1})

    impatient = Desk(desk.base_url, desk.http, timeout_seconds=0.3)
    with pytest.raises(httpx.ReadTimeout):
        await impatient.post(make_body())

    assert await desk.count_tasks() == task_count


async def test_call_that_hangs_before_creates_after_the_client_has_left(desk: Desk) -> None:
    await desk.arm({"on": "create", "do": "hang", "seconds": 0.3})

    impatient = Desk(desk.base_url, desk.http, timeout_seconds=0.1)
    with pytest.raises(httpx.ReadTimeout):
        await impatient.post(make_body())
    before = await desk.count_tasks()
    await desk.wait_for_count(1)

    assert before == 0


async def test_late_create_appears_after_its_answer_was_lost(desk: Desk) -> None:
    await desk.arm({"on": "create", "do": "late", "seconds": 0.1})

    with pytest.raises(httpx.ReadError):
        await desk.post(make_body())
    before = await desk.count_tasks()
    await desk.wait_for_count(1)

    assert before == 0


@pytest.mark.parametrize(
    ("on", "method", "path"),
    [
        ("query", "GET", "/tasks/1"),
        ("list", "GET", "/tasks"),
        ("cancel", "POST", "/tasks/1/cancel"),
        ("upload", "GET", "/uploads?action=getPolicy&model=wan2.5-i2i-preview"),
    ],
)
async def test_other_calls_fail_as_told(desk: Desk, on: str, method: str, path: str) -> None:
    await desk.arm({"on": on, "do": "status", "status": 503})

    assert (await desk.http.request(method, path)).status_code == 503


async def test_probability_decides_how_many_creates_lose_their_answer() -> None:
    async with open_desk(replace(SLOW, seed=3)) as desk:
        rule = {"on": "create", "do": "reset", "when": "after", "probability": 0.5}
        await desk.arm(rule)

        lost_count = 0
        for _ in range(20):
            try:
                await desk.post(make_body())
            except httpx.ReadError:
                lost_count += 1

        assert 0 < lost_count < 20
        assert await desk.count_tasks() == 20
        assert (await desk.control("faults"))[0]["fired_count"] == lost_count


async def test_partial_failure_keeps_the_task_succeeded(desk: Desk) -> None:
    await desk.arm({"on": "task", "do": "partial", "indexes": [1]})

    answer = await desk.run(make_body(n=2))

    results = answer["output"]["results"]
    assert answer["output"]["task_status"] == "SUCCEEDED"
    assert [list(item) for item in results] == [
        ["orig_prompt", "actual_prompt", "url"],
        ["code", "message"],
    ]
    assert results[1] == {
        "code": "InternalError.Timeout",
        "message": "An internal timeout error has occured during execution, please try "
        "again later or contact service support.",
    }
    assert answer["output"]["task_metrics"] == {"TOTAL": 2, "SUCCEEDED": 1, "FAILED": 1}
    assert answer["usage"] == {"image_count": 1}
    assert (await desk.get_picture(answer)).size == (768, 768)


@pytest.mark.parametrize(
    ("rule", "code", "message"),
    [
        ({"do": "fail"}, "InternalError", "An internal error has occured"),
        ({"do": "fail", "code": "InternalError.Algo", "message": "x"}, "InternalError.Algo", "x"),
        ({"do": "moderation"}, "DataInspectionFailed", "Input data may contain"),
        ({"do": "moderation", "stage": "output"}, "DataInspectionFailed", "Output data may"),
        ({"do": "ip_suspicion"}, "IPInfringementSuspect", "Input data is suspected"),
        ({"do": "fetch_failure"}, "InvalidParameter", "Failed to download data:image"),
        ({"do": "partial", "indexes": [0, 1]}, "InternalError.Timeout", "An internal timeout"),
    ],
)
async def test_task_faults_fail_the_task(
    desk: Desk, rule: dict[str, Any], code: str, message: str
) -> None:
    await desk.arm({"on": "task"} | rule)

    answer = await desk.run(make_body(n=2))

    output = answer["output"]
    assert (output["task_status"], output["code"]) == ("FAILED", code)
    assert output["message"].startswith(message)
    assert "usage" not in answer


async def test_lost_task_is_unknown_early(desk: Desk) -> None:
    await desk.arm({"on": "task", "do": "lost"})

    answer = await desk.run()

    assert answer["output"]["task_status"] == "UNKNOWN"


async def test_task_lost_for_a_while_is_known_again() -> None:
    clock = HandClock()
    async with open_desk(clock=clock) as desk:
        await desk.arm({"on": "task", "do": "lost", "seconds": 10, "for_seconds": 20})
        task_id = (await desk.run())["output"]["task_id"]

        seen = []
        for step_seconds in (9, 1, 19, 1):
            clock.advance(step_seconds)
            answer = await desk.query(task_id)
            seen.append((answer["output"]["task_status"], await desk.count_tasks()))

        known, unknown = ("SUCCEEDED", 1), ("UNKNOWN", 0)
        assert seen == [known, unknown, unknown, known]


async def test_duplicate_url_repeats_the_first_link(desk: Desk) -> None:
    await desk.arm({"on": "task", "do": "duplicate_url"})

    results = (await desk.run(make_body(n=3)))["output"]["results"]

    assert len({item["url"] for item in results}) == 1


async def test_stuck_task_runs_until_the_hard_timeout() -> None:
    async with open_desk(replace(QUICK, hard_timeout_seconds=0.3)) as desk:
        await desk.arm({"on": "task", "do": "stuck"})

        answer = await desk.run()

        assert answer["output"]["code"] == "InternalError.Timeout"


@pytest.mark.parametrize(
    ("rule", "error"),
    [({"do": "truncate"}, httpx.RemoteProtocolError), ({"do": "reset"}, httpx.ReadError)],
)
async def test_cut_downloads_break_off(
    desk: Desk, rule: dict[str, Any], error: type[Exception]
) -> None:
    await desk.arm({"on": "picture"} | rule)
    url = (await desk.run())["output"]["results"][0]["url"]

    with pytest.raises(error):
        await desk.http.get(url)


async def test_corrupt_download_is_no_picture(desk: Desk) -> None:
    await desk.arm({"on": "picture", "do": "corrupt", "times": 1})
    answer = await desk.run()

    broken = await desk.get_picture(answer)
    with pytest.raises((OSError, SyntaxError)):
        broken.load()

    assert isinstance(await desk.get_picture(answer), Image.Image)


async def test_oversize_download_goes_on_past_the_picture(desk: Desk) -> None:
    await desk.arm({"on": "picture", "do": "oversize", "size_bytes": 4_000_000})
    url = (await desk.run())["output"]["results"][0]["url"]

    swollen = await desk.http.get(url)
    await desk.arm()
    picture = (await desk.http.get(url)).content

    assert "content-length" not in swollen.headers
    assert len(swollen.content) == 4_000_000 > len(picture)
    assert swollen.content.startswith(picture)


async def test_oversize_download_ends_when_the_client_leaves(desk: Desk) -> None:
    await desk.arm({"on": "picture", "do": "oversize", "size_bytes": 2**31})
    url = (await desk.run())["output"]["results"][0]["url"]

    async with desk.http.stream("GET", url) as answer:
        await anext(answer.aiter_raw())

    assert (await desk.http.get("/tasks")).status_code == 200


async def test_redirected_download_names_the_place_given(desk: Desk) -> None:
    place = "http://169.254.169.254/latest/meta-data"
    await desk.arm({"on": "picture", "do": "redirect", "location": place})
    url = (await desk.run())["output"]["results"][0]["url"]

    answer = await desk.http.get(url)

    assert (answer.status_code, answer.headers["location"]) == (302, place)


async def test_html_download_says_so(desk: Desk) -> None:
    await desk.arm({"on": "picture", "do": "html"})
    url = (await desk.run())["output"]["results"][0]["url"]

    answer = await desk.http.get(url)

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")


async def test_rules_hit_only_what_they_match() -> None:
    async with open_desk(SLOW) as desk:
        await desk.arm({"on": "query", "do": "status", "match": {"prompt": "cursed"}})
        blessed = await desk.create(make_body("a blessed picture"))
        cursed = await desk.create(make_body("a cursed picture"))

        statuses = [
            (await desk.http.get(f"/tasks/{task_id}")).status_code for task_id in (blessed, cursed)
        ]

        assert statuses == [200, 500]


def test_times_every_and_probability_decide_how_often() -> None:
    rules = RULES.validate_python(
        [
            {"on": "list", "do": "status", "times": 2},
            {"on": "query", "do": "status", "every": 3},
            {"on": "cancel", "do": "status", "probability": 0.3},
        ]
    )
    faults = Faults(rules, Random(1), HandClock())

    def strike(on: Any, count: int) -> list[bool]:
        return [faults.find_strike(on, Target()) is not None for _ in range(count)]

    assert strike("list", 4) == [True, True, False, False]
    assert strike("query", 6) == [False, False, True] * 2
    assert 200 < sum(strike("cancel", 1_000)) < 400
    assert [entry["seen_count"] for entry in faults.report()] == [4, 6, 1_000]


def test_a_rule_is_in_force_in_its_own_time_only() -> None:
    clock = HandClock()
    rule = {"on": "list", "do": "empty", "from_seconds": 10, "until_seconds": 30}
    faults = Faults(RULES.validate_python([rule]), Random(1), clock)

    struck = []
    for step_seconds in (9, 1, 19, 1):
        clock.advance(step_seconds)
        struck.append(faults.find_strike("list", Target()) is not None)

    assert struck == [False, True, True, False]
    assert faults.report()[0]["seen_count"] == 2


def test_same_seed_gives_the_same_faults() -> None:
    rules = RULES.validate_python([{"on": "list", "do": "status", "probability": 0.5}])

    def strike(seed: int) -> list[bool]:
        faults = Faults(rules, Random(seed), HandClock())
        return [faults.find_strike("list", Target()) is not None for _ in range(64)]

    assert strike(5) == strike(5) != strike(6)


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ({"on": "task", "do": "partial"}, "indexes: name at least one picture"),
        ({"on": "picture", "do": "redirect"}, "location: name the address"),
        ({"on": "list", "do": "stale"}, "seconds: say how far behind"),
        (
            {"on": "list", "do": "empty", "from_seconds": 9, "until_seconds": 9},
            "until_seconds: must be later than from_seconds",
        ),
        (
            {"on": "create", "do": "status", "match": {"over_bytes": 9}},
            "match.over_bytes: only rules on 'line'",
        ),
    ],
)
def test_rules_that_miss_what_they_need_are_refused(rule: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        RULES.validate_python([rule])


async def test_unusable_rules_are_refused_by_name_and_change_nothing(desk: Desk) -> None:
    await desk.arm(_THROTTLED)

    answer = await desk.arm({"on": "list", "do": "truncate"}, {"on": "x", "do": "html"})

    assert answer.status_code == 422
    first, second = answer.json()["problems"]
    assert (
        "it is one of empty, hang, html, omit, reset, stale, status, unreadable, wrong_zone; not"
        in first
    )
    assert second.startswith("1.on: Input should be 'line', 'create', 'query'")
    assert second.endswith("(it was 'x')")
    assert (await desk.control("faults"))[0]["status"] == 429
