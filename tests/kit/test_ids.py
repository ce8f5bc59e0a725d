"""Ids sort by when they were made, and are versions 7 of RFC 9562."""

from datetime import UTC, datetime, timedelta

import pytest

from app.kit.ids import find_lowest_id, make_uuid7

MOMENT = datetime(2026, 11, 28, 12, 0, 0, 123_000, tzinfo=UTC)


def test_ids_of_one_millisecond_sort_by_their_microsecond(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter(MOMENT + timedelta(microseconds=micros) for micros in range(1000))
    monkeypatch.setattr("app.kit.ids.utc_now", lambda: next(moments))

    made = [make_uuid7() for _ in range(1000)]

    assert made == sorted(made)
    assert {(made_id.version, made_id.variant) for made_id in made} == {
        (7, "specified in RFC 4122")
    }
    assert {made_id.int >> 80 for made_id in made} == {find_lowest_id(MOMENT).int >> 80}
