"""GET /v1/jobs: a team's jobs, newest first, page by page, filtered."""

from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.api.factories import Caller, new_caller
from tests.api.server import open_client
from tests.factories import make_key


async def list_ids(caller: Caller, **query: Any) -> list[str]:
    answer = await caller.http.get("/v1/jobs", params=query)
    assert answer.status_code == 200, answer.text
    return [job["id"] for job in answer.json()["data"]]


async def test_a_list_shows_the_newest_first(caller: Caller) -> None:
    ids = [(await caller.create())["id"] for _ in range(3)]

    answer = await caller.http.get("/v1/jobs")

    page = answer.json()
    assert [job["id"] for job in page.pop("data")] == ids[::-1]
    assert page == {"object": "list", "has_more": False, "next_cursor": None, "limit": 20}
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Link" not in answer.headers


async def test_a_list_shows_jobs_as_they_are_read_alone(caller: Caller) -> None:
    job = await caller.create(n=2)
    await caller.backstage.finish_job(job["id"])

    (listed,) = (await caller.http.get("/v1/jobs")).json()["data"]

    assert listed == await caller.read(job["id"])


async def test_a_team_sees_none_of_another_s(caller: Caller, stranger: Caller) -> None:
    await stranger.create(metadata={"campaign": "x"})

    assert await list_ids(caller) == []
    assert await list_ids(caller, **{"metadata.campaign": "x"}) == []


async def test_cursors_lead_through_all_pages_once(caller: Caller) -> None:
    ids = [(await caller.create())["id"] for _ in range(5)]
    seen: list[str] = []
    cursor: dict[str, Any] = {}
    while True:
        page = (await caller.http.get("/v1/jobs", params={"limit": 2, **cursor})).json()
        seen += [job["id"] for job in page["data"]]
        if not page["has_more"]:
            break
        await caller.create()
        cursor = {"cursor": page["next_cursor"]}

    assert seen == ids[::-1]
    assert page["next_cursor"] is None


async def test_the_link_of_a_page_leads_to_the_next_with_the_same_filter(caller: Caller) -> None:
    for campaign in ("x", "y", "x"):
        await caller.create(metadata={"campaign": campaign})
    first = await caller.http.get("/v1/jobs?limit=1&metadata.campaign=x")

    link = first.headers["Link"]
    url = link.removeprefix("<").partition(">")[0]
    second = await caller.http.get(url)

    assert link.endswith('; rel="next"')
    assert urlsplit(url).netloc == urlsplit(caller.backstage.url).netloc
    assert len(second.json()["data"]) == 1
    assert second.json()["has_more"] is False


async def test_a_cursor_of_another_team_shows_only_one_s_own(
    caller: Caller, stranger: Caller
) -> None:
    mine = await caller.create()
    for _ in range(2):
        await stranger.create()
    page = (await stranger.http.get("/v1/jobs", params={"limit": 1})).json()

    assert await list_ids(caller, cursor=page["next_cursor"]) == [mine["id"]]


@pytest.mark.parametrize("cursor", ["", "x", "caf\xe9", "%00", "A" * 300])
async def test_a_made_up_cursor_is_refused(caller: Caller, cursor: str) -> None:
    answer = await caller.http.get("/v1/jobs", params={"cursor": cursor})

    assert (answer.status_code, answer.json()["code"]) == (400, "bad_cursor")


async def test_an_altered_cursor_is_refused(caller: Caller) -> None:
    for _ in range(2):
        await caller.create()
    cursor = (await caller.http.get("/v1/jobs?limit=1")).json()["next_cursor"]
    altered = cursor[:-3] + ("AAA" if cursor[-3:] != "AAA" else "BBB")

    answer = await caller.http.get("/v1/jobs", params={"cursor": altered})

    assert (answer.status_code, answer.json()["code"]) == (400, "bad_cursor")


async def test_a_limit_above_the_highest_is_cut_and_told(caller: Caller) -> None:
    answer = await caller.http.get("/v1/jobs?limit=100000")

    assert answer.json()["limit"] == 100


async def test_a_status_chooses(caller: Caller) -> None:
    waiting = await caller.create()
    done = await caller.create(n=2)
    await caller.backstage.finish_job(done["id"])

    assert await list_ids(caller, status="queued") == [waiting["id"]]
    assert await list_ids(caller, status="succeeded") == [done["id"]]
    assert await list_ids(caller, status="canceled") == []


async def test_times_choose(caller: Caller) -> None:
    first, second = await caller.create(), await caller.create()

    assert await list_ids(caller, created_before=second["created_at"]) == [first["id"]]
    assert await list_ids(caller, created_after="2031-01-01T00:00:00+08:00") == []


async def test_metadata_choose(caller: Caller) -> None:
    wanted = await caller.create(metadata={"campaign": "x", "shop": "1"})
    await caller.create(metadata={"campaign": "x", "shop": "2"})

    assert await list_ids(caller, **{"metadata.campaign": "x", "metadata.shop": "1"}) == [
        wanted["id"]
    ]


async def test_the_key_s_name_chooses(caller: Caller) -> None:
    backstage = caller.backstage
    other = await make_key(backstage.sessions, backstage.vault, owner=caller.team, name="ci")
    await caller.create()
    async with open_client(backstage.url, other.text) as http:
        job = (await http.post("/v1/jobs", json={"prompt": "x", "images": ["http://a/b"]})).json()

    assert await list_ids(caller, key="ci") == [job["id"]]
    assert job["key"] == "ci"


@pytest.mark.parametrize(
    ("query", "loc"),
    [
        ("limit=0", ["query", "limit"]),
        ("limit=ten", ["query", "limit"]),
        ("status=done", ["query", "status"]),
        ("created_after=yesterday", ["query", "created_after"]),
        ("created_after=2026-01-01T00:00:00", ["query", "created_after"]),
        ("created_before=0001-01-01T00:00:00%2B14:00", ["query", "created_before"]),
        ("created_after=9999-12-31T23:59:59-14:00", ["query", "created_after"]),
        ("key=%00", ["query", "key"]),
        ("metadata.a=%00", ["query", "metadata.a"]),
        ("stauts=queued", ["query", "stauts"]),
    ],
)
async def test_a_wrong_filter_is_named(caller: Caller, query: str, loc: list[str]) -> None:
    answer = await caller.http.get(f"/v1/jobs?{query}")

    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["loc"] == loc
    assert error["msg"] in answer.json()["detail"]


async def test_a_wrong_filter_is_shown(caller: Caller) -> None:
    answer = await caller.http.get("/v1/jobs?status=done")

    (error,) = answer.json()["errors"]
    assert error["ctx"]["actual"] == "done"


async def test_only_reading_is_needed(caller: Caller) -> None:
    async with new_caller(caller.backstage, scopes=("jobs:read",)) as reader:
        assert await list_ids(reader) == []
