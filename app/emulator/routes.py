"""The emulator as one ASGI application: the task API, the object store, the controls."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount

from app.emulator.answers import error_body, make_request_id
from app.emulator.disturb.control import Controls
from app.emulator.doors import Dated, to_json
from app.emulator.options import EmulatorOptions
from app.emulator.storage.routes import ObjectStore
from app.emulator.task_api import API_PATH, TaskApi
from app.emulator.upstream import Upstream
from app.kit.clock import Clock, utc_now


def make_emulator(options: EmulatorOptions, *, clock: Clock = utc_now) -> Starlette:
    """The ASGI application; faults that drop connections need the server of serve_emulator."""
    skewed = make_skewed(clock, options.clock_skew_seconds)
    upstream = Upstream(options, skewed)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await upstream.close()

    gzip = Middleware(GZipMiddleware, minimum_size=1, compresslevel=1)
    app = Starlette(
        routes=[
            Mount(API_PATH, routes=TaskApi(upstream).routes(), middleware=[gzip]),
            Mount("/_emulator", routes=Controls(upstream).routes()),
            *ObjectStore(upstream).routes(),
        ],
        middleware=[Middleware(Dated, clock=skewed)],
        exception_handlers={HTTPException: _refuse_route},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


def make_skewed(clock: Clock, skew_seconds: float) -> Clock:
    """A clock that far ahead of another."""
    skew = timedelta(seconds=skew_seconds)
    return lambda: clock() + skew


async def _refuse_route(request: Request, error: Exception) -> Response:
    """Paths and methods nobody answers, in the upstream's error shape."""
    assert isinstance(error, HTTPException)
    request_id = make_request_id()
    if error.status_code == 405:
        message = f"Request method '{request.method}' is not supported."
        return to_json(error_body(request_id, "InvalidParameter", message), 400)
    return to_json(error_body(request_id, "NotFound", error.detail), error.status_code)
