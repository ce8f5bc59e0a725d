"""Every parameter of both lists, with every nasty value: refused or answered, never 5xx."""

from urllib.parse import quote

import pytest

from tests.api.factories import Caller

NASTY = (
    "",
    "\0",
    "a\0b",
    "0",
    "-1",
    "9" * 5_000,
    "99999999999999999999",
    "1e400",
    "nan",
    "-inf",
    "1.5",
    "١٢",
    "²",
    "true",
    "null",
    "99991231235959",
    "00010101000000",
    "10000101000000",
    "99980101000000",
    "20261323000000",
    "20261123000000",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "9999-12-31T23:59:59Z",
    "2026-11-23",
    "-62135596800",
    "253402300800",
    "é" * 100,
    "\ud7ff\U0010ffff",
    "' or 1=1 --",
    "%",
    "x" * 20_000,
    "00000000-0000-0000-0000-000000000000",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
    "succeeded",
    "SUCCEEDED",
)
RAW = ("%", "%00", "%ff", "%ed%a0%80", "%u0000", "+", "&&", "=")
NATIVE = ("limit", "cursor", "status", "created_after", "created_before", "key", "metadata.a")
WIRE = ("page_no", "page_size", "start_time", "end_time", "status", "api_key_id", "model_name")
PARAMETERS = [
    *(("/v1/jobs", name) for name in (*NATIVE, "metadata.", "metadata.\0", "a\0", "x" * 5_000)),
    *(("/api/v1/tasks", name) for name in (*WIRE, "task_id", "region", "a\0")),
    ("/v1/jobs/00000000-0000-0000-0000-000000000000/pictures/0", "expires"),
    ("/v1/jobs/00000000-0000-0000-0000-000000000000/pictures/0", "expires=1&signature"),
]


@pytest.mark.parametrize(("path", "name"), PARAMETERS, ids=lambda part: str(part)[:40])
async def test_no_value_of_a_parameter_is_an_error_of_ours(
    caller: Caller, path: str, name: str
) -> None:
    written = name if "&" in name else quote(name)
    statuses = {}
    for value in (*map(quote, NASTY), *RAW):
        answer = await caller.http.get(f"{path}?{written}={value}")
        statuses[value[:60]] = answer.status_code
        assert answer.headers["content-type"].startswith("application/"), value[:60]

    assert {value: status for value, status in statuses.items() if status >= 500} == {}


TIMES = ("99991231235959", "00010101000000", "00010102080000", "20261123000000", "99981231235959")


@pytest.mark.parametrize("start", TIMES)
@pytest.mark.parametrize("end", TIMES)
async def test_no_two_times_of_a_window_are_an_error_of_ours(
    caller: Caller, start: str, end: str
) -> None:
    answer = await caller.http.get(f"/api/v1/tasks?start_time={start}&end_time={end}")

    assert answer.status_code in (200, 400), answer.text


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("start_time=99991231235959", "start_time: is '99991231235959'; its year must be from"),
        ("end_time=00010101000000", "end_time: is '00010101000000'; its year must be from"),
        ("model_name=a%00b", "model_name: contains a NUL character; remove it"),
        ("api_key_id=%00", "api_key_id: contains a NUL character; remove it"),
        ("page_no=" + "9" * 5_000, "page_no: is '9999"),
    ],
)
async def test_the_wires_list_says_which_parameter_and_why(
    caller: Caller, query: str, words: str
) -> None:
    answer = await caller.http.get(f"/api/v1/tasks?{query}")

    assert answer.status_code == 400
    assert words in answer.json()["message"]
    assert len(answer.json()["message"]) < 300
