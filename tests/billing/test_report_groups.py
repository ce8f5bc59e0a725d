"""Reports for finance: cost centres, months, unit prices, zeros, the period and its end."""

import csv
import io
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from app.billing.report_csv import write_csv
from app.billing.report_rows import Report, to_totals
from app.billing.reports import ReportQuery, make_report
from app.kit.clock import utc_now
from app.kit.crypto import Vault
from app.kit.errors import InvalidRequest
from app.kit.postgres.database import Sessions, make_engine, make_sessions, open_pool
from app.teams.store import disable_team, get_team
from tests.billing.books import accept_job, end_job, make_payer
from tests.databases import cloned_database
from tests.factories import ACTOR, MODEL, make_price, make_team

FIRST, LAST = date(2026, 9, 1), date(2026, 11, 30)
QUERY = ReportQuery(FIRST, LAST)
SEPTEMBER, OCTOBER = datetime(2026, 9, 30, 20, tzinfo=UTC), datetime(2026, 10, 10, tzinfo=UTC)
CHANGE = datetime(2026, 10, 15, tzinfo=UTC)
NOVEMBER = datetime(2026, 11, 10, tzinfo=UTC)

ENDS = [
    # team, end, unit price, images, tags
    ("ads", SEPTEMBER, "0.20", 1, {"campaign": "spring"}),
    ("ads", OCTOBER, "0.20", 2, {"campaign": ""}),
    ("ads", CHANGE, "0.20", 1, {}),
    ("ads", CHANGE, "0.30", 1, {}),
    ("ads", NOVEMBER, "0.30", 0, {"campaign": "(empty)"}),
    ("web", SEPTEMBER, "0.20", 1, {}),
    ("web", NOVEMBER, "0.30", 2, {"campaign": "=cmd()"}),
]


@pytest.fixture(scope="module")
async def books(server_url: str, template: str, vault: Vault) -> AsyncIterator[Sessions]:
    """Two teams that worked, in two zones, and three that did not; a price that rose once.

    Before, it was 0.25, which is also the mean of the other two.
    """
    async with cloned_database(server_url, template) as url:
        engine, pool = make_engine(url), await open_pool(url, max_size=2)
        sessions = make_sessions(engine)
        for amount, begin in (
            ("0.25", CHANGE - timedelta(days=500)),
            ("0.20", CHANGE - timedelta(days=400)),
            ("0.30", CHANGE),
        ):
            await make_price(sessions, amount=amount, valid_from=begin)
        payers = {
            "ads": await make_payer(sessions, vault, name="ads", cost_center="=cmd()"),
            "web": await make_payer(sessions, vault, name="web", timezone="UTC"),
        }
        for name, centre in (("idle", "0815"), ("rest", "0815"), ("gone", None)):
            await make_team(sessions, name=name, cost_center=centre)
        async with sessions.begin() as session:
            await disable_team(session, await get_team(session, "gone"), actor=ACTOR)
        await pool.execute("update teams set disabled_at = '2026-10-05' where name = 'gone'")
        for name, at, unit_price, images, tags in ENDS:
            job = await accept_job(pool, payers[name], n=2, unit_price=unit_price, metadata=tags)
            status = "succeeded" if images else "failed"
            await end_job(pool, job, status=status, image_count=images, at=at)
        yield sessions
        await pool.close()
        await engine.dispose()


@pytest.fixture
async def session(books: Sessions) -> AsyncIterator[AsyncSession]:
    async with books() as session:
        yield session


async def _list(session: AsyncSession, *groups: str, **query: Any) -> list[tuple[Any, ...]]:
    """Groups, jobs and amount of each row."""
    report = await make_report(session, replace(QUERY, group_by=groups, **query))
    return [(*row.group.values(), row.sums.jobs, f"{row.sums.amount:.2f}") for row in report.rows]


async def test_a_month_is_that_of_the_teams_zone(session: AsyncSession) -> None:
    assert await _list(session, "month", "team") == [
        ("2026-09", "web", 1, "0.20"),
        ("2026-10", "ads", 4, "1.10"),
        ("2026-11", "ads", 1, "0.00"),
        ("2026-11", "web", 1, "0.60"),
    ]


async def test_teams_without_a_cost_centre_come_last(session: AsyncSession) -> None:
    assert await _list(session, "cost_center") == [("=cmd()", 5, "1.10"), (None, 2, "0.80")]


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        (("team",), [("ads", None), ("web", None)]),
        (("day",), [
            ("2026-09-30", "0.20"), ("2026-10-01", "0.20"), ("2026-10-10", "0.20"),
            ("2026-10-15", None), ("2026-11-10", "0.30"),
        ]),
        (("team", "month"), [
            ("ads", "2026-10", None), ("ads", "2026-11", None),
            ("web", "2026-09", "0.20"), ("web", "2026-11", "0.30"),
        ]),
        (("unit_price",), [("0.20", "0.20"), ("0.30", "0.30")]),
        (("tag:campaign",), [
            ("", "0.20"), ("(empty)", None), ("=cmd()", "0.30"), ("spring", "0.20"), (None, None),
        ]),
    ],
)  # fmt: skip
async def test_a_unit_price_is_that_of_every_image_of_the_row_or_none(
    session: AsyncSession, groups: tuple[str, ...], expected: list[tuple[str | None, ...]]
) -> None:
    report = await make_report(session, replace(QUERY, group_by=groups))

    shown = [row.to_dict() for row in report.rows]
    assert [
        (*row.group.values(), cells["unit_price"])
        for row, cells in zip(report.rows, shown, strict=True)
    ] == expected


async def test_jobs_of_two_prices_are_two_rows_when_asked(session: AsyncSession) -> None:
    assert await _list(session, "team", "unit_price") == [
        ("ads", "0.20", 3, "0.80"),
        ("ads", "0.30", 2, "0.30"),
        ("web", "0.20", 1, "0.20"),
        ("web", "0.30", 1, "0.60"),
    ]


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        (("team",), [("ads", 5), ("gone", 0), ("idle", 0), ("rest", 0), ("web", 2)]),
        (("cost_center",), [("0815", 0), ("=cmd()", 5), (None, 2)]),
        (("team", "model"), [
            ("ads", MODEL, 5), ("gone", None, 0), ("idle", None, 0), ("rest", None, 0),
            ("web", MODEL, 2),
        ]),
        (("month", "cost_center"), [
            ("2026-09", "0815", 0), ("2026-09", "=cmd()", 0), ("2026-09", None, 1),
            ("2026-10", "0815", 0), ("2026-10", "=cmd()", 4), ("2026-10", None, 0),
            ("2026-11", "0815", 0), ("2026-11", "=cmd()", 1), ("2026-11", None, 1),
        ]),
    ],
)  # fmt: skip
async def test_what_stood_still_is_there_as_zeros_when_asked(
    session: AsyncSession, groups: tuple[str, ...], expected: list[tuple[Any, ...]]
) -> None:
    listed = await _list(session, *groups, with_idle=True)

    assert [row[:-1] for row in listed] == expected
    assert all(row[-1] == "0.00" for row in listed if row[-2] == 0)


async def test_months_without_jobs_are_zeros_when_asked(session: AsyncSession) -> None:
    span = {"from_day": date(2026, 8, 20), "to_day": date(2026, 12, 3)}

    assert await _list(session, "month", with_idle=True, **span) == [
        ("2026-08", 0, "0.00"),
        ("2026-09", 1, "0.20"),
        ("2026-10", 4, "1.10"),
        ("2026-11", 2, "0.60"),
        ("2026-12", 0, "0.00"),
    ]
    assert len(await _list(session, "day", with_idle=True, **span)) == 106


async def test_a_team_counts_until_it_was_disabled(session: AsyncSession) -> None:
    october = await _list(session, "team", with_idle=True, from_day=date(2026, 10, 6))

    assert [row[0] for row in october] == ["ads", "idle", "rest", "web"]
    assert [
        row for row in await _list(session, "team", "month", with_idle=True) if row[0] == "gone"
    ] == [("gone", "2026-09", 0, "0.00"), ("gone", "2026-10", 0, "0.00")]


async def test_zeros_of_one_team_only(session: AsyncSession) -> None:
    idle = await get_team(session, "idle")

    assert await _list(session, "team", team_id=idle.id) == []
    assert await _list(session, "team", team_id=idle.id, with_idle=True) == [("idle", 0, "0.00")]


async def test_zeros_change_no_total_and_have_the_currency_of_the_others(
    session: AsyncSession,
) -> None:
    asked = replace(QUERY, group_by=("team", "month"))
    plain, full = [
        await make_report(session, replace(asked, with_idle=with_idle))
        for with_idle in (False, True)
    ]

    assert to_totals(plain) == to_totals(full)
    assert len(full.rows) > len(plain.rows)


@pytest.mark.parametrize("groups", [("model",), ("tag:campaign", "unit_price")])
async def test_zeros_of_what_nobody_can_list_are_refused(
    session: AsyncSession, groups: tuple[str, ...]
) -> None:
    with pytest.raises(InvalidRequest, match="name one of them"):
        await _list(session, *groups, with_idle=True)


async def test_a_period_of_too_many_zeros_is_refused(session: AsyncSession) -> None:
    with pytest.raises(InvalidRequest, match="ask for fewer days"):
        await _list(session, "day", with_idle=True, from_day=date(1700, 1, 1))


async def test_a_report_is_of_its_days_and_zones(session: AsyncSession) -> None:
    report = await make_report(session, QUERY)
    web = await get_team(session, "web")
    one = await make_report(session, replace(QUERY, team_id=web.id))

    assert report.to_dict()["period"] == {
        "from": FIRST,
        "to": LAST,
        "timezones": ("Asia/Shanghai", "UTC"),
        "is_open": utc_now().date() <= LAST,
    }
    assert one.period.timezones == ("UTC",)
    assert [row.timezones for row in report.rows] == [("Asia/Shanghai",), ("UTC",)]


async def test_a_period_is_open_until_its_last_day_has_ended_for_every_team(
    session: AsyncSession,
) -> None:
    today = utc_now().date()
    zones = [date.fromisoformat(str(day)) for day in (today, today - timedelta(days=2))]

    openings = [
        (await make_report(session, replace(QUERY, to_day=day))).period.is_open for day in zones
    ]

    assert openings == [True, False]


def _read(report: Report) -> list[dict[str, str]]:
    stream = io.StringIO(newline="")
    write_csv(report, stream)
    return list(csv.DictReader(io.StringIO(stream.getvalue(), newline="")))


async def test_each_line_of_the_csv_says_its_own_month_and_whether_it_is_open(
    session: AsyncSession,
) -> None:
    last = utc_now().date() + timedelta(days=40)
    asked = replace(QUERY, group_by=("month",), from_day=date(2026, 9, 5), to_day=last)

    september, *_, newest, total = _read(
        await make_report(session, replace(asked, with_idle=True))
    )

    assert (september["period_from"], september["period_to"]) == ("2026-09-05", "2026-09-30")
    assert (september["period_state"], september["timezone"]) == ("closed", "UTC")
    assert (newest["period_to"], newest["period_state"]) == (str(last), "open")
    assert (total["period_from"], total["period_to"]) == ("2026-09-05", str(last))
    assert total["timezone"] == "Asia/Shanghai, UTC"
    assert datetime.fromisoformat(total["as_of"]) <= utc_now()


async def test_a_missing_tag_is_not_an_empty_one_and_neither_is_its_word(
    session: AsyncSession,
) -> None:
    report = await make_report(session, replace(QUERY, group_by=("tag:campaign",)))

    assert [row.group["tag:campaign"] for row in report.rows] == [
        "",
        "(empty)",
        "=cmd()",
        "spring",
        None,
    ]
    assert [line["tag:campaign"] for line in _read(report) if line["line"] == "usage"] == [
        "(empty)",
        '"(empty)"',
        "'=cmd()",
        "spring",
        "(none)",
    ]


async def test_a_cost_centre_is_no_formula_either(session: AsyncSession) -> None:
    first, *_ = _read(await make_report(session, replace(QUERY, group_by=("cost_center",))))

    assert first["cost_center"] == "'=cmd()"
    assert Decimal(first["amount"]) == Decimal("1.10")
