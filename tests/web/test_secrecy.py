"""What the log and the errors keep to themselves, even when everything is logged."""

import re
from collections.abc import AsyncIterator
from uuid import UUID

import httpx
import pytest

from app.kit.postgres.database import Pool
from tests.gateway import Gateway, running_gateway
from tests.jobs.bodies import SMALL_PNG
from tests.media.images import make_uri

PROMPT = "a-private-prompt-of-our-marketing"
NEGATIVE = "what-marketing-does-not-want"
TAG = "private-campaign"
PNG_BASE64 = SMALL_PNG.partition(",")[2]
BODY = {
    "prompt": PROMPT,
    "negative_prompt": NEGATIVE,
    "images": [SMALL_PNG, "https://img.example/a.png?signature=private-signature"],
    "metadata": {"campaign": TAG},
}


@pytest.fixture
async def gateway(database: str) -> AsyncIterator[Gateway]:
    """One API process that logs all it can."""
    async with running_gateway(
        database, settings={"DASHGATE_LOG_LEVEL": "debug"}, members=("api",)
    ) as gateway:
        gateway.http.headers["Authorization"] = f"Bearer {gateway.key}"
        yield gateway


def read_log(gateway: Gateway) -> str:
    return gateway.members["api"].log.read_text()


def find_secrets(gateway: Gateway, text: str) -> list[str]:
    secrets = (
        gateway.key,
        gateway.key[20:],
        PROMPT,
        NEGATIVE,
        TAG,
        "private-signature",
        PNG_BASE64[:60],
        PNG_BASE64[40:100],
        gateway.environment["DASHGATE_SECRET_KEY"],
        "sk-0123456789abcdef",
    )
    return [secret for secret in secrets if secret in text]


async def test_the_log_holds_no_key_no_prompt_and_no_picture(gateway: Gateway) -> None:
    created = await gateway.http.post(f"{gateway.url}/v1/jobs", json=BODY)
    for body in (BODY | {"n": 9}, BODY | {"images": [make_uri(100, 100)]}, {"prompt": PROMPT}):
        await gateway.http.post(f"{gateway.url}/v1/jobs", json=body)
    await gateway.http.post(f"{gateway.url}/v1/jobs", content=f'{{"prompt": "{PROMPT}')
    await gateway.http.post(
        f"{gateway.base_url}/services/aigc/image2image/image-synthesis",
        json={"model": "wan2.5-i2i-preview", "input": BODY},
        headers={"X-DashScope-Async": "enable"},
    )
    await gateway.http.get(f"{gateway.url}/v1/jobs?metadata.campaign={TAG}&key={gateway.key}")
    await gateway.http.get(f"{gateway.url}/v1/jobs", headers={"X-API-Key": gateway.key[:-1]})
    await gateway.http.get(f"{gateway.url}/v1/jobs/{UUID(int=0)}/pictures/0?signature=0&expires=1")

    log = read_log(gateway)
    assert created.status_code == 202
    assert log.count("request.answered") >= 6
    assert created.headers["X-Request-Id"] in log
    assert find_secrets(gateway, log) == []


async def test_an_error_of_ours_tells_the_caller_nothing_but_its_id(
    gateway: Gateway, pool: Pool
) -> None:
    await pool.execute("alter table jobs rename to hidden")

    answers = [
        await gateway.http.post(f"{gateway.url}/v1/jobs", json=BODY),
        await gateway.http.get(f"{gateway.url}/v1/jobs"),
    ]

    for answer in answers:
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (500, "internal_error")
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert problem["request_id"] == answer.headers["X-Request-Id"]
        assert not re.search("relation|jobs\\b|Traceback|asyncpg", problem["detail"])
        assert problem["request_id"] in read_log(gateway)
    assert find_secrets(gateway, read_log(gateway)) == []


async def test_errors_do_not_repeat_what_was_sent(gateway: Gateway) -> None:
    wrong: list[httpx.Response] = [
        await gateway.http.post(f"{gateway.url}/v1/jobs", json=BODY | {"n": 9}),
        await gateway.http.post(f"{gateway.url}/v1/jobs", content=f'{{"prompt": "{PROMPT}'),
        await gateway.http.get(f"{gateway.url}/v1/jobs", headers={"X-API-Key": "x" * 40}),
    ]

    for answer in wrong:
        assert answer.is_client_error
        assert find_secrets(gateway, answer.text) == []


async def test_a_row_that_the_database_refuses_is_not_logged(gateway: Gateway, pool: Pool) -> None:
    """Postgres quotes the whole row, prompt and all, in its error."""
    await pool.execute("alter table jobs add constraint broken check (n > 10) not valid")

    answer = await gateway.http.post(f"{gateway.url}/v1/jobs", json=BODY)

    log = read_log(gateway)
    assert answer.status_code == 500
    assert "CheckViolationError" in log
    assert find_secrets(gateway, log) == []
