"""One team asks for another's things by every operation: it is told what it is told of nothing."""

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.adversary.estate import GET_POLICY, OPEN, Ask, Estate, list_routes, open_estate, to_told
from tests.api.factories import edit
from tests.dashscope_api.client import (
    ASYNC,
    IMAGE_TO_IMAGE,
    TEXT_TO_IMAGE,
    open_client,
)
from tests.dashscope_api.test_resends import Sending, count_jobs, lose_a_create
from tests.emulator.client import make_body, make_picture
from tests.gateway import Gateway

JOB = "/v1/jobs/{job_id}"
PICTURE = JOB + "/pictures/{name}"
TASK = "/api/v1/tasks/{task_id}"
FORM = {"policy": "{own_policy}", "Signature": "{own_signature}", "key": "{folder}/b.png"}
LINK = "?expires={expires}&signature={signature}"
UPLOAD = "/api/v1/uploads/form"
ENDED = {"Prefer": "wait=30"}


def native(**fields: Any) -> dict[str, Any]:
    return edit(**fields)


def wire(image: str) -> dict[str, Any]:
    return make_body(images=[image])


def name_input(image: object, *, can_be: bool = False) -> list[Ask]:
    """A create that names an input, in earnest and dry; also beside a good one."""
    route = "POST /v1/jobs"
    one = native(images=[image])
    both = native(images=["https://img.example/a.png", image])
    return [
        Ask(route, "/v1/jobs", f"with {image}", one, changes=True),
        Ask(route, "/v1/jobs?dry_run=true", f"dry with {image}", one, changes=not can_be),
        Ask(route, "/v1/jobs?dry_run=true", f"dry beside {image}", both, changes=not can_be),
    ]


def create_on_the_wire(path: str, image: str) -> Ask:
    about = f"with {image}"
    return Ask(f"POST /api/v1{path}", f"/api/v1{path}", about, wire(image), ASYNC, changes=True)


STATES = ("queued", "running", "finalizing", "failed", "done")
SPELLINGS = {
    "plain": "{done}",
    "in braces": "{{{{{done}}}}}",
    "as a URN": "urn:uuid:{done}",
    "cut short": "{done}%00",
    "behind a slash": "%2F{done}",
    "behind dots": "..%2Ftasks%2F{done}",
}

ASKS = [
    *(Ask(f"GET {JOB}", f"/v1/jobs/{{{state}}}", state) for state in STATES),
    Ask(f"GET {JOB}", "/v1/jobs/{done}", "with its ETag", headers={"If-None-Match": "*"}),
    Ask(f"GET {JOB}", "/v1/jobs/{queued}", "in time", headers=ENDED, changes=True),
    *(
        Ask(f"POST {JOB}/cancel", f"/v1/jobs/{{{state}}}/cancel", state, changes=True)
        for state in STATES
    ),
    *(
        Ask(f"{method} {PICTURE}", f"/v1/jobs/{{done}}/pictures/{name}", name)
        for method in ("GET", "HEAD")
        for name in ("0", "1", "0.png", "{done}-0.png")
    ),
    Ask(f"GET {PICTURE}", "/v1/jobs/{done}/pictures/0", "known", headers={"If-None-Match": "*"}),
    Ask(
        f"GET {PICTURE}",
        "/v1/jobs/{done}/pictures/0",
        "by its hash",
        headers={"If-None-Match": '"{sha256}"'},
    ),
    Ask(f"GET {PICTURE}", "/v1/jobs/{done}/pictures/0?signature={signature}", "half a link"),
    Ask(f"GET {PICTURE}", "/v1/jobs/{done}/pictures/0?expires={expires}", "the other half"),
    *(
        Ask(
            f"{method} {PICTURE}",
            f"/v1/jobs/{{{job}}}/pictures/{{{job}}}-1.png{LINK}",
            f"by the link of another picture, {job}",
            changes=True,
        )
        for method in ("GET", "HEAD")
        for job in ("done", "finalizing")
    ),
    Ask("GET /v1/jobs", "/v1/jobs?key={key_name}"),
    Ask("GET /v1/jobs", "/v1/jobs?metadata.campaign={campaign}"),
    Ask("GET /v1/jobs", "/v1/jobs?metadata.campaign={campaign}&status=succeeded"),
    Ask("GET /v1/jobs", "/v1/jobs?key={key_name}&status=queued&limit=100"),
    *(
        Ask("GET /v1/jobs", f"/v1/jobs?{name}={{team}}", changes=True)
        for name in ("team", "team_id", "owner", "user")
    ),
    *name_input("file_{file}", can_be=True),
    *name_input("oss://{folder}/a.png"),
    *name_input({"job": "{done}", "index": 0}),
    *name_input("file:///{folder}/a.png"),
    Ask(
        "POST /v1/jobs",
        "/v1/jobs",
        "by its Idempotency-Key",
        native(),
        {"Idempotency-Key": "{native_key}"},
        changes=True,
    ),
    Ask(
        "POST /v1/jobs",
        "/v1/jobs",
        "by its Idempotency-Key, otherwise",
        native(prompt="another"),
        {"Idempotency-Key": "{native_key}"},
        changes=True,
    ),
    Ask(
        f"POST /api/v1{IMAGE_TO_IMAGE}",
        f"/api/v1{IMAGE_TO_IMAGE}",
        "by its Idempotency-Key",
        make_body(),
        ASYNC | {"Idempotency-Key": "{wire_key}"},
        changes=True,
    ),
    create_on_the_wire(IMAGE_TO_IMAGE, "oss://{folder}/a.png"),
    create_on_the_wire(TEXT_TO_IMAGE, "oss://{folder}/a.png"),
    *(
        create_on_the_wire(IMAGE_TO_IMAGE, image)
        for image in (
            "oss://{folder}//a.png",
            "oss://{folder}/./a.png",
            "oss://{folder}/%61.png",
            "oss://x/../{folder}/a.png",
            "OSS://{folder}/a.png",
            "file_{file}",
        )
    ),
    *(Ask(f"GET {TASK}", f"/api/v1/tasks/{{{state}}}", state) for state in STATES),
    *(
        Ask(f"GET {TASK}", f"/api/v1/tasks/{spelling}", name, changes=name != "plain")
        for name, spelling in SPELLINGS.items()
    ),
    Ask(f"GET {TASK}", "/api/v1/tasks/{task}", "by the upstream's id", changes=True),
    Ask(f"GET {TASK}/", "/api/v1/tasks/{done}/"),
    *(
        Ask(
            f"{method} {TASK}/cancel{slash}",
            f"/api/v1/tasks/{{{state}}}/cancel{slash}",
            state,
            changes=True,
        )
        for method in ("GET", "POST")
        for slash in ("", "/")
        for state in ("queued", "done")
    ),
    *(
        Ask(f"GET /api/v1/tasks{slash}", f"/api/v1/tasks{slash}?{query}")
        for slash in ("", "/")
        for query in ("task_id={done}", "api_key_id={key_name}", "task_id={queued}&status=PENDING")
    ),
    *(
        Ask("GET /api/v1/tasks", f"/api/v1/tasks?{name}={{team}}&page_size=1", changes=True)
        for name in ("caller_uid", "caller_parent_id", "team")
    ),
    Ask(f"POST {UPLOAD}", UPLOAD, "into its folder", form=FORM, changes=True),
    Ask(
        f"POST {UPLOAD}",
        UPLOAD,
        "by its policy and the own signature",
        form=FORM | {"policy": "{policy}"},
        changes=True,
    ),
    Ask(
        f"POST {UPLOAD}",
        UPLOAD,
        "by its signature and the own policy",
        form=FORM | {"Signature": "{policy_signature}"},
        changes=True,
    ),
    Ask(
        "POST /hooks/eventbridge",
        "/hooks/eventbridge",
        "about its task",
        {"source": "acs.dashscope", "data": {"task_id": "{task}", "task_status": "SUCCEEDED"}},
        changes=True,
    ),
]

OWN = {"GET /api/v1/uploads", "GET /api/v1/uploads/", "GET /api/v1/public-keys/latest"}
"""What names nothing: it has a test of its own."""


@pytest.fixture(scope="module")
async def shared_estate(shared_idle_gateway: Gateway) -> AsyncIterator[Estate]:
    async with open_estate(shared_idle_gateway) as estate:
        yield estate


@pytest.fixture
async def estate(target: Gateway, shared_estate: Estate) -> AsyncIterator[Estate]:
    yield shared_estate
    assert await shared_estate.digest() == shared_estate.before


def test_every_operation_of_every_door_is_tried() -> None:
    routes = list_routes()

    assert "GET /api/v1/tasks/{task_id}" in routes
    assert routes == {ask.route for ask in ASKS} | OPEN | OWN


@pytest.mark.parametrize("ask", ASKS, ids=str)
async def test_anothers_thing_is_not_told_from_none(estate: Estate, ask: Ask) -> None:
    theirs = await ask.send(estate.stranger.http, estate.owned)
    nothing = await ask.send(estate.stranger.http, estate.nobodys)

    assert to_told(theirs, estate.owned) == to_told(nothing, estate.nobodys)
    assert estate.find_traces(theirs.text, sent=ask.spell(estate.owned)) == []
    if ask.form:  # neither anothers' folder nor nobody's is open to an upload
        assert theirs.status_code == 403


@pytest.mark.parametrize("ask", [ask for ask in ASKS if not ask.changes], ids=str)
async def test_its_owner_is_told_otherwise(estate: Estate, ask: Ask) -> None:
    """Or else the table would prove nothing."""
    own = await ask.send(estate.owner.http, estate.owned)
    nothing = await ask.send(estate.owner.http, estate.nobodys)

    assert to_told(own, estate.owned) != to_told(nothing, estate.nobodys)


@pytest.mark.parametrize("path", sorted({path.partition(" ")[2] for path in OPEN}))
async def test_what_is_open_to_all_names_nobody(estate: Estate, path: str) -> None:
    answer = await estate.stranger.http.get(path)

    assert estate.find_traces(answer.text) == []


@pytest.mark.parametrize("path", ["/v1/jobs?limit={size}", "/v1/jobs?limit={size}&status=queued"])
@pytest.mark.parametrize("size", [1, 2, 100])
async def test_all_pages_together_are_the_own_jobs(estate: Estate, path: str, size: int) -> None:
    url: str | None = path.format(size=size)
    found = []
    while url:
        answer = await estate.stranger.http.get(url)
        found += answer.json()["data"]
        url = answer.links.get("next", {}).get("url")

    assert len(found) == await estate.backstage.count_jobs(estate.stranger.team)
    assert {job["team"] for job in found} == {estate.stranger.team.name}


@pytest.mark.parametrize("page", [1, 2, 3, 50])
async def test_pages_and_totals_of_the_wire_are_the_own(estate: Estate, page: int) -> None:
    answer = await estate.stranger.http.get(f"/api/v1/tasks?page_size=1&page_no={page}")

    body = answer.json()
    assert body["total"] == await estate.backstage.count_jobs(estate.stranger.team)
    assert {row["caller_uid"] for row in body["data"]} <= {estate.stranger.team.name}


async def test_anothers_cursor_is_a_place_among_the_own_jobs(estate: Estate) -> None:
    """It is signed by the gateway and stands for a moment: what it shows is still one's own."""
    page = await estate.stranger.http.get("/v1/jobs", params={"cursor": estate.owned["cursor"]})

    assert page.status_code == 200
    assert {job["team"] for job in page.json()["data"]} <= {estate.stranger.team.name}
    assert estate.find_traces(page.text) == []


async def test_a_key_of_the_same_name_chooses_among_the_own_jobs(
    estate: Estate, target: Gateway
) -> None:
    namesake = await target.make_seat(name=estate.owned["key_name"])
    async with open_client(target, namesake) as other:
        task_id = await other.create()
        listed = (await other.http.get(f"/tasks?api_key_id={estate.owned['key_name']}")).json()
        page = await other.http.get(f"{target.url}/v1/jobs?key={estate.owned['key_name']}")

    assert [row["task_id"] for row in listed["data"]] == [task_id]
    assert [job["id"] for job in page.json()["data"]] == [task_id]


async def test_nobody_waits_for_the_end_of_anothers_job(estate: Estate) -> None:
    began = time.monotonic()

    answer = await estate.stranger.http.get(f"/v1/jobs/{estate.owned['running']}", headers=ENDED)

    assert answer.status_code == 404
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("slash", ["", "/"])
async def test_a_policy_is_for_the_own_folder(estate: Estate, slash: str) -> None:
    path = GET_POLICY.replace("?", f"{slash}?") + "&team={team_id}&upload_dir={folder}"

    answer = await estate.stranger.http.get(path.format_map(estate.owned))

    folder = answer.json()["data"]["upload_dir"]
    assert f"/{estate.stranger.team.id.hex}/" in folder
    assert estate.find_traces(answer.text) == []


@pytest.mark.parametrize("colour", ["orange", "green"], ids=["the owner's content", "other"])
async def test_equal_content_is_taken_as_any_other(estate: Estate, colour: str) -> None:
    policy = (await estate.stranger.http.get(GET_POLICY)).json()["data"]
    form = {"policy": policy["policy"], "Signature": policy["signature"]}

    answer = await estate.stranger.http.post(
        "/api/v1/uploads/form",
        data=form | {"key": f"{policy['upload_dir']}/{colour}.png"},
        files={"file": ("a.png", make_picture(colour=colour))},
    )

    assert (answer.status_code, answer.content) == (200, b"")
    rows = await estate.backstage.pool.fetch(
        "select store_key from files where upload_key ~ '/(orange|a).png$'"
    )
    assert len({row["store_key"] for row in rows}) == len(rows)


async def test_the_bytes_of_a_lost_create_are_a_job_of_their_own_for_another_team(
    target: Gateway,
) -> None:
    async with (
        open_client(target, await target.make_seat()) as owner,
        open_client(target, await target.make_seat()) as stranger,
    ):
        sending = Sending(owner)
        await lose_a_create(owner, sending)
        task_id = await sending.by(stranger).send()

        assert (await count_jobs(owner), await count_jobs(stranger)) == (1, 1)
        assert (await owner.query(task_id))["output"]["task_status"] == "UNKNOWN"
        assert await count_jobs(owner) == 1
        assert await sending.send() != task_id
        assert await count_jobs(owner) == 1
