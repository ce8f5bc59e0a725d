"""Every answer carries the id under which the log knows its request."""

from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from app.web.request_ids import RequestIds, request_id_of


class Bug(Exception):
    """What nobody has foreseen."""


async def tell_id(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request_id_of(request))


async def fail(_: Request) -> PlainTextResponse:
    raise Bug


async def fail_midway(_: Request) -> StreamingResponse:
    async def write() -> AsyncIterator[bytes]:
        yield b"half"
        raise Bug

    return StreamingResponse(write())


async def answer_bug(request: Request, error: Exception) -> PlainTextResponse:
    assert isinstance(error, Bug)
    return PlainTextResponse(request_id_of(request), 500)


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    routes = [Route("/id", tell_id), Route("/fail", fail), Route("/midway", fail_midway)]
    application = Starlette(
        routes=routes, middleware=[Middleware(RequestIds, answer_bug=answer_bug)]
    )
    transport = httpx.ASGITransport(application)
    async with httpx.AsyncClient(transport=transport, base_url="http://a") as http:
        yield http


@pytest.mark.parametrize(("path", "status"), [("/id", 200), ("/fail", 500)])
async def test_a_handler_and_the_answer_name_the_same_id(
    http: httpx.AsyncClient, path: str, status: int
) -> None:
    answer = await http.get(path)

    assert (answer.status_code, answer.text) == (status, answer.headers["X-Request-Id"])


async def test_each_request_has_its_own_id(http: httpx.AsyncClient) -> None:
    ids = {(await http.get("/id")).text for _ in range(3)}

    assert len(ids) == 3


async def test_an_answer_that_breaks_off_is_not_passed_off_as_whole(
    http: httpx.AsyncClient,
) -> None:
    with pytest.raises(Bug):
        await http.get("/midway")
