"""What is found wrong with an order, and when it shows."""

from dataclasses import replace
from typing import Any

import pytest

from app.dashscope.payloads import DATA_URI_BYTES_LIMIT
from app.emulator.checks import MODELS, find_field_failure, read_order
from tests.emulator.client import MODEL, QUICK, SMALL_PICTURE, Desk, make_body, open_desk

_SIZE = "Required parameter(parameters.size) missing or invalid, please check the request "
_LONG = f"data:image/png;base64,{'A' * DATA_URI_BYTES_LIMIT}"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"model": MODEL}, "Field required: input.prompt"),
        ({"model": MODEL, "input": {"prompt": "p"}}, "Field required: input.images"),
        (make_body(images=[]), "Required parameter(input.images) missing or invalid"),
        (make_body(images=[SMALL_PICTURE] * 4), "Required parameter(input.images) missing"),
        (make_body(images=["/nope.png"]), "The request URL is invalid, please check"),
        (make_body(images=[_LONG]), "Exceeded limit on max bytes per data-uri item : 10485760"),
        (make_body(n=5), "Range of n should be [1, 4]"),
        (make_body(n="two"), "Range of n should be [1, 4]"),
        (make_body(seed=-1), "Range of seed should be [0, 2147483647]"),
        (make_body(size="1024x1024"), _SIZE),
        (make_body(size="512*512"), _SIZE),
        (make_body(size="2560*600"), _SIZE),
        (make_body(watermark="perhaps"), "Required parameter(parameters.watermark) missing"),
    ],
)
def test_faulty_field_is_told_in_upstreams_words(body: dict[str, Any], message: str) -> None:
    failure = find_field_failure(body, MODELS[MODEL])

    assert failure is not None
    assert failure.message.startswith(message)


@pytest.mark.parametrize(
    "body",
    [
        make_body(n="2", seed="12345", watermark="true"),
        make_body(n=None, seed=None, size=None),
        make_body("p" * 3_000, size="1344*576"),
        make_body(images=["https://a.example/1.png", "oss://folder/2.png"]),
        make_body() | {"parameters": None},
    ],
)
def test_what_sdks_send_is_accepted(body: dict[str, Any]) -> None:
    assert find_field_failure(body, MODELS[MODEL]) is None


def test_numbers_as_text_are_read() -> None:
    order = read_order(make_body(n="2", seed="12345"))

    assert (order.n, order.seed) == (2, 12_345)


async def test_bad_field_fails_the_task_not_the_call(desk: Desk) -> None:
    output = (await desk.run(make_body(n=9)))["output"]

    assert list(output) == [
        "task_id",
        "task_status",
        "submit_time",
        "scheduled_time",
        "end_time",
        "code",
        "message",
        "task_metrics",
    ]
    assert (output["task_status"], output["code"]) == ("FAILED", "InvalidParameter")
    assert output["task_metrics"] == {"TOTAL": 4, "SUCCEEDED": 0, "FAILED": 4}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (make_body(n=9), "Range of n should be [1, 4]"),
        (
            make_body(images=["data:image/png;base64,AAAA"]),
            "Invalid image format or corrupted file",
        ),
    ],
)
async def test_strict_create_refuses_at_once(body: dict[str, Any], message: str) -> None:
    async with open_desk(replace(QUICK, strict_create=True)) as desk:
        answer = await desk.post(body)

        assert (answer.status_code, answer.json()["message"]) == (400, message)
        assert (await desk.control("bill"))["tasks"] == []
        assert (await desk.run())["output"]["task_status"] == "SUCCEEDED"
