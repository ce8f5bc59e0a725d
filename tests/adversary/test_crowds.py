"""Many connections that hold what they can: another team's large create goes through."""

import asyncio
import base64
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import httpx
import pytest

from tests.adversary.siege import Toll, stranger
from tests.api.server import open_client
from tests.gateway import Gateway
from tests.media.images import make_noise

CROWD = 300
ANNOUNCED_BYTES = 300_000
PICTURE = "data:image/png;base64," + base64.b64encode(make_noise(width=960, height=720)).decode()


@pytest.mark.parametrize("kind", ["a team's", "strangers'", "half a head"])
async def test_connections_that_drip_keep_no_large_body_out(
    target: Gateway, toll: Toll, kind: str
) -> None:
    heads = {
        "a team's": f"authorization: Bearer {target.key}\r\n"
        f"content-length: {ANNOUNCED_BYTES}\r\n\r\n",
        "strangers'": f"content-length: {ANNOUNCED_BYTES}\r\n\r\n",
        "half a head": "x-half: ",
    }
    head = f"POST /v1/jobs HTTP/1.1\r\nhost: {urlsplit(target.url).netloc}\r\n{heads[kind]}"
    other = await target.make_seat()
    answers: list[httpx.Response] = []
    async with AsyncExitStack() as stack, open_client(target.url, other.key) as http:
        crowd = [await stack.enter_async_context(stranger(target.url)) for _ in range(CROWD)]
        for piece in (head.encode(), b"a", b"a"):
            await asyncio.gather(*(one.send(piece) for one in crowd))
            answers.append(
                await http.post("/v1/jobs", json={"prompt": "make it blue", "images": [PICTURE]})
            )

    assert [answer.status_code for answer in answers] == [202] * 3
