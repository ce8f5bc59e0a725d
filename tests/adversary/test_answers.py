"""Answers and logs that would grow with what was sent."""

import httpx
import pytest

from app.kit.errors import PROBLEMS_TOLD
from tests.adversary.siege import Toll
from tests.gateway import Gateway

ANSWER_LIMIT = 16_000
LONG = "a" * 15_000
JOB = {"prompt": "p", "images": ["https://example.com/a.png"]}
WIRE = {"model": "wan2.5-i2i-preview", "input": JOB}
IMAGE_TO_IMAGE = "/api/v1/services/aigc/image2image/image-synthesis"


@pytest.mark.parametrize("path", [f"/{LONG}", f"/api/v1/{LONG}", f"/v1/jobs/{LONG}"])
async def test_a_long_path_is_repeated_in_short(target: Gateway, toll: Toll, path: str) -> None:
    headers = {"Authorization": f"Bearer {target.key}"}
    shown_bytes = target.members["api"].log.stat().st_size
    async with httpx.AsyncClient(base_url=target.url, trust_env=False, headers=headers) as http:
        answer = await http.post(path)

    assert answer.status_code in (400, 404, 405)
    assert len(answer.content) < 2_000
    assert LONG not in target.members["api"].tail(since_bytes=shown_bytes)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/jobs", JOB | {f"unknown_{number}": 1 for number in range(5_000)}),
        ("/v1/jobs", JOB | {LONG * 20: 1}),
        ("/v1/jobs", JOB | {"images": ["x"] * 5_000}),
        ("/v1/jobs", JOB | {"metadata": {f"k{number}": 1 for number in range(5_000)}}),
        (IMAGE_TO_IMAGE, WIRE | {"input": {"prompt": "p", "images": ["x"] * 5_000}}),
        (IMAGE_TO_IMAGE, WIRE | {"model": LONG * 20}),
    ],
    ids=["names", "a name", "images", "labels", "wire: images", "wire: a model"],
)
async def test_not_every_fault_of_thousands_is_told(
    target: Gateway, toll: Toll, path: str, body: dict[str, object]
) -> None:
    headers = {"Authorization": f"Bearer {target.key}", "X-DashScope-Async": "enable"}
    async with httpx.AsyncClient(
        base_url=target.url, trust_env=False, headers=headers, timeout=20
    ) as http:
        answer = await http.post(path, json=body)

    assert answer.status_code in (400, 422), answer.text[:500]
    assert len(answer.content) < ANSWER_LIMIT
    assert len(answer.json().get("errors", [])) <= PROBLEMS_TOLD


async def test_parameters_of_a_list_are_told_in_short(target: Gateway, toll: Toll) -> None:
    headers = {"Authorization": f"Bearer {target.key}"}
    async with httpx.AsyncClient(base_url=target.url, trust_env=False, headers=headers) as http:
        for query in (f"status={LONG}", f"limit={LONG}", "&".join(["status=x"] * 1_500)):
            answer = await http.get(f"/v1/jobs?{query}")

            assert answer.status_code in (400, 422), answer.text[:500]
            assert len(answer.content) < ANSWER_LIMIT
