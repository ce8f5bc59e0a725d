"""The upstream's clock, from the dates of its answers."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dashscope.client import UpstreamTrouble
from app.dashscope.upstream_clock import (
    READINGS_LIMIT,
    REMEMBERED_SECONDS,
    ClockHistory,
    Offset,
    UpstreamClock,
    find_lead,
    measure_offset,
)
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

    assert clock.history.offsets == [Offset(SECONDS - 12.0, SECONDS + 1.0 - 10.0)]


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
    clock = UpstreamClock()

    clock.note(headers, 10.0, 12.0)

    assert clock.history.offsets == []


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

    assert clock.history.offsets
    lead = find_lead(clock.history.offsets[0], ours)
    assert lead is not None
    least, most = lead

    slack = timedelta(milliseconds=1)
    assert least - slack <= timedelta(seconds=ahead) <= most + slack
    assert most - least <= timedelta(seconds=sum(waits) + 1) + slack


@pytest.mark.parametrize("year", ["0001", "1970", "2099", "9999"])
def test_a_date_that_no_clock_in_use_shows_is_no_measure(year: str) -> None:
    clock = UpstreamClock()
    clock.note({"date": f"Fri, 31 Dec {year} 23:59:59 GMT"}, 10.0, 12.0)

    assert clock.history.offsets
    assert find_lead(clock.history.offsets[0], measure_offset(NOON, 10.0, 12.0)) is None


def test_a_vaguer_answer_that_contradicts_nothing_leaves_what_is_known() -> None:
    clock = UpstreamClock()
    clock.note({"date": DATE}, 10.0, 10.5)
    known = clock.history.offsets

    clock.note({"date": DATE}, 2.0, 30.0)

    assert clock.history.offsets == known


class TestSet:
    """A clock that is set: what it was before is remembered for as long as anything asks."""

    @pytest.mark.parametrize("before", [0.0, 600.0])
    def test_both_are_known_with_the_latest_last(self, before: float) -> None:
        history = ClockHistory()
        history.note(Offset(before, before + 0.1), 10.0)
        history.note(Offset(300.0, 300.1), 20.0)

        assert history.offsets == [Offset(before, before + 0.1), Offset(300.0, 300.1)]
        assert history.find_change() == timedelta(seconds=300)

    def test_one_reading_out_of_all_time_changes_nothing(self) -> None:
        history = ClockHistory()
        history.note(Offset(-6e10, -6e10), 10.0)
        history.note(Offset(300.0, 300.1), 20.0)

        assert history.find_change() == timedelta(0)

    def test_what_was_long_ago_is_forgotten(self) -> None:
        history = ClockHistory()
        history.note(Offset(0.0, 0.1), 10.0)
        history.note(Offset(300.0, 300.1), 11.0 + REMEMBERED_SECONDS)

        assert history.offsets == [Offset(300.0, 300.1)]

    def test_one_that_is_steered_is_one_clock(self) -> None:
        history = ClockHistory()
        for step in range(1_000):
            history.note(Offset(step * 0.05, step * 0.05 + 0.01), float(step))

        assert len(history.offsets) == 1
        assert history.find_change() == timedelta(0)

    def test_two_that_take_turns_are_two(self) -> None:
        """Behind one name there may be several servers."""
        history = ClockHistory()
        for step in range(1_000):
            history.note(Offset(step % 2 * 90.0, step % 2 * 90.0 + 1.0), float(step))

        assert len(history.offsets) == 2

    def test_one_that_says_anything_is_kept_in_bounds(self) -> None:
        history = ClockHistory()
        for step in range(1_000):
            history.note(Offset(step * 10.0, step * 10.0), float(step))

        assert len(history.offsets) == READINGS_LIMIT


async def test_an_answer_to_a_create_is_dated_as_well() -> None:
    answer = always(reply("200 OK", TASK, f"Date: {DATE}"))
    async with serve(answer) as wire, calling(f"http://{wire.host}") as upstream:
        await upstream.create_task(MODEL, input_fields={}, parameters={}, timeout_seconds=5)

    assert upstream.clock.history.offsets


async def test_an_answer_of_trouble_is_dated_as_well() -> None:
    answer = always(reply("500 Internal Server Error", b"{}", f"Date: {DATE}"))
    async with serve(answer) as wire, calling(f"http://{wire.host}") as upstream:
        with pytest.raises(UpstreamTrouble, match="HTTP 500"):
            await upstream.get_task("t-1")

    assert upstream.clock.history.offsets


async def test_the_emulators_answers_tell_its_own_clock() -> None:
    clock = HandClock()
    async with open_desk(QUICK, clock=clock) as desk, calling(desk.base_url, KEY) as upstream:
        task_id = await desk.create()
        began = elapsed_seconds()
        await upstream.get_task(task_id)

    (offset,) = upstream.clock.history.offsets
    assert offset.least <= clock.now.timestamp() - began <= offset.most
