"""Answers are read row by row and field by field: nothing odd hides what can be read."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dashscope.outcomes import Accepted, OutcomeUnknown, read_create
from app.dashscope.payloads import TaskAnswer, TaskPage, TaskStatus
from app.dashscope.reading import TEXT_LIMIT, load_json

MADE = 1_795_406_400_000
ROW = {"task_id": "t-1", "status": "RUNNING", "gmt_create": MADE, "api_key_id": "17"}
OUTPUT = {
    "task_id": "t-1",
    "task_status": "SUCCEEDED",
    "submit_time": "2026-11-23 12:00:00.000",
    "scheduled_time": "2026-11-23 12:00:01.000",
    "end_time": "2026-11-23 12:00:02.000",
    "results": [{"url": "https://r/a", "orig_prompt": "p"}, {"code": "E", "message": "m"}],
    "task_metrics": {"TOTAL": 2, "SUCCEEDED": 1, "FAILED": 1},
}
ANSWER = {"request_id": "r-1", "output": OUTPUT, "usage": {"image_count": 1}}
AUXILIARY = sorted(OUTPUT.keys() - {"task_id", "task_status", "results"})

ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["", "-", "\0", "\ud800", 10**400, -(10**30), 1e400, "9999-12-31", 2**63]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def wire(body: object) -> Any:
    """As it comes over the wire; NaN and infinite numbers included."""
    return load_json(json.dumps(body).encode())


def page_of(*rows: object, **changes: object) -> TaskPage:
    body = {"total": len(rows), "total_page": 1, "data": list(rows)} | changes
    return TaskPage.model_validate(wire(body))


@given(ODD)
def test_a_row_that_cannot_be_read_is_counted_and_hides_no_neighbour(row: object) -> None:
    page = page_of(ROW, row, ROW | {"task_id": "t-2"})

    assert {task.task_id for task in page.data} >= {"t-1", "t-2"}
    assert len(page.data) + page.unreadable == 3


@given(st.sampled_from(sorted(ROW.keys() - {"task_id", "status"})), ODD)
def test_an_odd_field_of_a_row_leaves_the_row(name: str, value: object) -> None:
    (task,) = page_of(ROW | {name: value}).data

    assert task.gmt_create is None or task.gmt_create.tzinfo is not None
    assert (task.task_id, task.status) == ("t-1", TaskStatus.RUNNING)


@pytest.mark.parametrize("made", [str(MADE), "2026-11-23 12:00:00.000", "2026-11-23T04:00:00Z"])
def test_a_time_in_words_or_digits_is_that_time(made: str) -> None:
    (task,) = page_of(ROW | {"gmt_create": made}).data

    assert task.gmt_create == datetime.fromtimestamp(MADE / 1_000, UTC)


def test_a_row_without_its_time_is_of_any_time() -> None:
    (task,) = page_of({"task_id": "t-1", "status": "RUNNING"}).data

    assert task.gmt_create is None


@pytest.mark.parametrize("made", [0, -1, 1, MADE // 1_000, MADE * 1_000, "0", 9e15, False])
def test_a_time_from_before_or_long_after_the_api_is_none(made: object) -> None:
    """A zero, or another unit: as a time it would lie outside every create's."""
    (task,) = page_of(ROW | {"gmt_create": made}).data

    assert task.gmt_create is None


@pytest.mark.parametrize(
    ("changes", "unreadable"),
    [
        ({"data": None, "total": 3}, 3),
        ({"data": None, "total": 0}, 1),
        ({"data": {}, "total": 2}, 2),
        ({"total": None}, 1),
        ({"total_page": "many"}, 1),
    ],
)
def test_a_page_that_lacks_its_rows_or_counts_is_not_whole(
    changes: dict[str, object], unreadable: int
) -> None:
    assert page_of(ROW, **changes).unreadable == unreadable


def test_an_answer_with_neither_rows_nor_their_number_is_no_page() -> None:
    with pytest.raises(ValueError, match="neither rows"):
        TaskPage.model_validate(wire({"output": 1, "data": 1}))


@given(st.sampled_from(AUXILIARY), ODD)
def test_an_odd_time_or_figure_leaves_the_answer(name: str, value: object) -> None:
    answer = TaskAnswer.model_validate(wire(ANSWER | {"output": OUTPUT | {name: value}}))

    assert answer.output.task_status is TaskStatus.SUCCEEDED
    assert [item.url for item in answer.output.results] == ["https://r/a", None]
    assert answer.image_count == 1


def test_an_empty_time_is_no_time() -> None:
    answer = TaskAnswer.model_validate(wire(ANSWER | {"output": OUTPUT | {"scheduled_time": ""}}))

    assert answer.output.scheduled_time is None
    assert answer.output.submit_time == datetime(2026, 11, 23, 4, tzinfo=UTC)


@given(ODD)
def test_an_odd_result_keeps_its_place_among_the_others(result: object) -> None:
    results = [result, {"url": "https://r/b"}]
    answer = TaskAnswer.model_validate(wire(ANSWER | {"output": OUTPUT | {"results": results}}))

    assert [item.url for item in answer.output.results][1:] == ["https://r/b"]


@given(ODD)
def test_odd_usage_counts_the_pictures_instead(usage: object) -> None:
    for odd in (usage, {"image_count": usage}):
        count = TaskAnswer.model_validate(wire(ANSWER | {"usage": odd})).image_count
        assert 0 <= count <= 10_000


@pytest.mark.parametrize("usage", [None, "x", {}, {"image_count": None}, {"image_count": -1}])
def test_without_usage_as_many_are_billed_as_there_are_pictures(usage: object) -> None:
    assert TaskAnswer.model_validate(wire(ANSWER | {"usage": usage})).image_count == 1


@given(st.dictionaries(st.sampled_from(["request_id", "usage", "extra"]), ODD), ODD)
def test_a_create_that_names_its_task_is_accepted_whatever_else_it_says(
    around: dict[str, object], beside: object
) -> None:
    body = around | {"output": {"task_id": "t-1", "task_status": beside, "more": beside}}

    outcome = read_create(200, {}, json.dumps(body).encode())

    assert isinstance(outcome, Accepted)
    assert outcome.task_id == "t-1"


@given(st.binary())
def test_no_bytes_raise_anything_but_that_they_are_no_answer(content: bytes) -> None:
    for status in (200, 400, 500):
        read_create(status, {}, content)


@pytest.mark.parametrize("task_id", [".", "..", "", " ", "x" * 201, None, True, 1.5, ["t"]])
def test_what_can_be_no_name_of_a_task_is_none(task_id: object) -> None:
    body = json.dumps({"output": {"task_id": task_id}}).encode()

    assert isinstance(read_create(200, {}, body), OutcomeUnknown)


def test_an_answer_that_is_nested_without_end_is_none() -> None:
    deep = b'{"output":' + b"[" * 200_000

    assert isinstance(read_create(200, {}, deep), OutcomeUnknown)


def test_texts_hold_what_postgres_can_keep() -> None:
    told = (
        '{"output":{"task_id":"t-1","task_status":"FAILED","message":"a\\u0000b\\ud800\\\\u0000"}}'
    )

    message = TaskAnswer.model_validate(load_json(told.encode())).output.message

    assert message == "a\ufffdb?\\u0000"


@pytest.mark.parametrize("name", ["actual_prompt", "message", "code", "url"])
def test_a_text_without_an_end_is_cut_with_a_mark(name: str) -> None:
    item = {"url": "https://r/a", name: "a" * 3_000_000}
    output = OUTPUT | {"results": [item], "message": "m" * 500_000, "code": "c" * 500_000}

    told = TaskAnswer.model_validate(wire({"output": output})).model_dump_json()

    assert len(told) < TEXT_LIMIT * 6
    assert "[cut from 3000000 characters]" in told
