"""A request id on every request: in the answer's header, in errors, in logs."""

import time
from uuid import uuid4

import structlog
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

SERVER_ERROR = 500
QUIET_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class RequestIds:
    """ASGI middleware: gives each request an id and logs what changed or went wrong."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = str(uuid4())
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.bind_contextvars(request_id=request_id)
        began_at = time.monotonic()

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message.get("headers", []),
                    (b"x-request-id", request_id.encode()),
                ]
                _log_answer(scope, message["status"], began_at)
            await send(message)

        await self._app(scope, receive, send_with_id)


def request_id_of(request: Request) -> str:
    request_id: str = request.state.request_id
    return request_id


def _log_answer(scope: Scope, status: int, began_at: float) -> None:
    if scope["method"] in QUIET_METHODS and status < SERVER_ERROR:
        return
    log.info(
        "request.answered",
        method=scope["method"],
        path=scope["path"],
        status=status,
        milliseconds=round((time.monotonic() - began_at) * 1000, 1),
    )
