"""A request id on every request: in the answer's header, in errors, in logs."""

import time
from collections.abc import Awaitable, Callable
from uuid import uuid4

import structlog
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.kit.errors import shorten
from app.teams.keys import hide_keys
from app.web.connections import is_body_due
from app.web.traffic import note_answer

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

SERVER_ERROR = 500
_CLOSE = (b"connection", b"close")
"""A body that nobody reads to its end must not keep the connection."""
QUIET_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


AnswerBug = Callable[[Request, Exception], Awaitable[ASGIApp]]


class RequestIds:
    """ASGI middleware: gives each request an id, logs what changed or went wrong.

    An error that nobody has answered is answered by `answer_bug`. It goes no further: the server
    would close the connection under the client's next request.
    """

    def __init__(self, app: ASGIApp, *, answer_bug: AnswerBug) -> None:
        self._app = app
        self._answer_bug = answer_bug

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = str(uuid4())
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.bind_contextvars(request_id=request_id)
        answer = _Answer(scope, send, request_id)
        try:
            await self._app(scope, receive, answer.send)
        except Exception as error:
            if answer.is_whole:
                return
            if answer.is_begun:
                raise
            response = await self._answer_bug(Request(scope), error)
            await response(scope, receive, answer.send)


class _Answer:
    """What has been sent of one answer."""

    def __init__(self, scope: Scope, send: Send, request_id: str) -> None:
        self._scope = scope
        self._send = send
        self._request_id = request_id
        self._began_at = time.monotonic()
        self.is_begun = False
        self.is_whole = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.is_begun = True
            named = (b"x-request-id", self._request_id.encode())
            added = [named, _CLOSE] if is_body_due(self._scope) else [named]
            message["headers"] = [*message.get("headers", []), *added]
            seconds = time.monotonic() - self._began_at
            note_answer(self._scope, message["status"], seconds)
            _log_answer(self._scope, message["status"], seconds)
        elif not message.get("more_body", False):
            self.is_whole = True
        await self._send(message)


def request_id_of(request: Request) -> str:
    request_id: str = request.state.request_id
    return request_id


def path_for_log(scope: Scope) -> str:
    """Short, and without a key: other APIs have theirs there."""
    return shorten(hide_keys(scope["path"]))


def _log_answer(scope: Scope, status: int, seconds: float) -> None:
    if scope["method"] in QUIET_METHODS and status < SERVER_ERROR:
        return
    log.info(
        "request.answered",
        method=scope["method"],
        path=path_for_log(scope),
        status=status,
        client=(scope.get("client") or ("",))[0],
        milliseconds=round(seconds * 1000, 1),
    )
