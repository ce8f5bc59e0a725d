"""A team that fills the store is refused at every door, and others are not."""

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from app.kit.postgres.database import Sessions
from tests.api.factories import edit
from tests.api.server import make_settings, make_vault, open_client, running_api
from tests.dashscope_api.client import ASYNC, IMAGE_TO_IMAGE
from tests.dashscope_api.test_uploads import GET_POLICY, post_form
from tests.emulator.client import make_body
from tests.factories import make_key, make_price, make_team
from tests.media.images import make_noise

PICTURES = [make_noise(seed=seed) for seed in range(3)]
ROOM_GB = 1.5 * len(PICTURES[0]) / 1000**3


@dataclass(frozen=True)
class Scene:
    """Two teams of a gateway that gives each room for one picture."""

    team: httpx.AsyncClient
    other: httpx.AsyncClient


@pytest.fixture
async def scene(database: str, sessions: Sessions, tmp_path: Path) -> AsyncIterator[Scene]:
    await make_price(sessions)
    keys = [
        (await make_key(sessions, make_vault(), owner=await make_team(sessions))).text
        for _ in range(2)
    ]
    settings = make_settings(database, tmp_path, team_input_gb=ROOM_GB)
    async with (
        running_api(settings) as url,
        open_client(url, keys[0]) as team,
        open_client(url, keys[1]) as other,
    ):
        yield Scene(team, other)


def inline(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()


async def create(http: httpx.AsyncClient, content: bytes) -> httpx.Response:
    return await http.post("/v1/jobs", json=edit(images=[inline(content)]))


async def test_every_door_refuses_what_is_beyond_a_teams_room(scene: Scene) -> None:
    assert (await create(scene.team, PICTURES[0])).status_code == 202

    native = await create(scene.team, PICTURES[1])
    dashscope = await scene.team.post(
        f"/api/v1{IMAGE_TO_IMAGE}",
        json=make_body(images=[inline(PICTURES[1])], size=None),
        headers=ASYNC,
    )
    policy = (await scene.team.get("/api/v1/uploads", params=GET_POLICY)).json()["data"]
    upload = await post_form(policy, PICTURES[1])

    assert native.status_code == dashscope.status_code == 429
    assert native.json()["code"] == "input_quota_exceeded"
    assert dashscope.json()["code"] == "Throttling.AllocationQuota"
    assert upload.status_code == 403
    assert upload.json()["code"] == "QuotaExceeded"
    assert (await create(scene.team, PICTURES[0])).status_code == 202
    assert (await create(scene.other, PICTURES[2])).status_code == 202
