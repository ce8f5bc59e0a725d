"""The upstream's clock, from the dates of its answers."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dashscope.outcomes import UpstreamTrouble
from app.dashscope.upstream_clock import Offset, UpstreamClock, find_lead, measure_offset
from app.kit.clock import elapsed_seconds
from tests.dashscope.upstreams import MODEL, TASK, calling
from tests.emulator.client import QUICK, HandClock, open_desk
from tests.media.wire import always, reply, serve

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
DATE = "Mon, 23 Nov 2026 12:00:00 GMT"
SECONDS = NOON.timestamp()
KEY = "sk-desk"


def test_the_date_is_of_a_moment_between_question_and_answer() -> None:
    clock = UpstreamClock()

    clock.note({"date": DATE}, 10.0, 12.0)

    assert clock.offset == Offset(SECONDS - 12.0, SECONDS + 1.0 - 10.0)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"date": ""},
        {"date": "yesterday"},
        {"date": "Mon, 99 Nov 2026 12:00:00 GMT"},
        {"date": "Mon, 23 Nov 99999999999 12:00:00 GMT"},
        {"date": DATE, "age": "0"},
    ],
)
def test_without_a_date_of_its_own_an_answer_says_nothing(headers: dict[str, str]) -> None:
    clock = UpstreamClock(Offset(1.0, 2.0))

    clock.note(headers, 10.0, 12.0)

    assert clock.offset == Offset(1.0, 2.0)


@given(
    ahead=st.floats(-900, 900),
    waits=st.tuples(*[st.floats(0, 10)] * 4),
    apart=st.floats(0, 60),
)
def test_the_lead_that_is_measured_holds_the_true_one(
    ahead: float, waits: tuple[float, ...], apart: float
) -> None:
    """Our clock is asked at some moment, the upstream's at another; each call takes its time."""
    before, after, out, back = waits
    asked = before
    ours = measure_offset(NOON + timedelta(seconds=asked), 0.0, before + after)
    began = before + after + apart
    upstream_time = SECONDS + began + out + ahead
    clock = UpstreamClock()
    date = datetime.fromtimestamp(int(upstream_time), UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
    clock.note({"date": date}, began, began + out + back)

    assert clock.offset is not None
    lead = find_lead(clock.offset, ours)
    assert lead is not None
    least, most = lead

    slack = timedelta(milliseconds=1)
    assert least - slack <= timedelta(seconds=ahead) <= most + slack
    assert most - least <= timedelta(seconds=sum(waits) + 1) + slack


@pytest.mark.parametrize("year", ["0001", "1970", "2099", "9999"])
def test_a_date_that_no_clock_in_use_shows_is_no_measure(year: str) -> None:
    clock = UpstreamClock()
    clock.note({"date": f"Fri, 31 Dec {year} 23:59:59 GMT"}, 10.0, 12.0)

    assert clock.offset is not None
    assert find_lead(clock.offset, measure_offset(NOON, 10.0, 12.0)) is None


def test_a_vaguer_answer_that_contradicts_nothing_leaves_what_is_known() -> None:
    clock = UpstreamClock()
    clock.note({"date": DATE}, 10.0, 10.5)
    known = clock.offset

    clock.note({"date": DATE}, 2.0, 30.0)
    assert clock.offset == known

    clock.note({"date": DATE}, 100.0, 130.0)
    assert clock.offset == Offset(SECONDS - 130.0, SECONDS + 1.0 - 100.0)


async def test_an_answer_to_a_create_is_dated_as_well() -> None:
    answer = always(reply("200 OK", TASK, f"Date: {DATE}"))
    async with serve(answer) as wire, calling(f"http://{wire.host}") as upstream:
        await upstream.create_task(MODEL, input_fields={}, parameters={}, timeout_seconds=5)

    assert upstream.clock.offset is not None


async def test_an_answer_of_trouble_is_dated_as_well() -> None:
    answer = always(reply("500 Internal Server Error", b"{}", f"Date: {DATE}"))
    async with serve(answer) as wire, calling(f"http://{wire.host}") as upstream:
        with pytest.raises(UpstreamTrouble, match="HTTP 500"):
            await upstream.get_task("t-1")

    assert upstream.clock.offset is not None


async def test_the_emulators_answers_tell_its_own_clock() -> None:
    clock = HandClock()
    async with open_desk(QUICK, clock=clock) as desk, calling(desk.base_url, KEY) as upstream:
        task_id = await desk.create()
        began = elapsed_seconds()
        await upstream.get_task(task_id)

    offset = upstream.clock.offset
    assert offset is not None
    assert offset.least <= clock.now.timestamp() - began <= offset.most
