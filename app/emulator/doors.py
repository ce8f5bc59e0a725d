"""What every call goes through: it is counted, disrupted, refused and stamped."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from email.utils import format_datetime

import orjson
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.emulator.answers import error_body, make_request_id
from app.emulator.checks import Refused
from app.emulator.disturb.disrupt import disrupt_after, disrupt_before
from app.emulator.disturb.faults import FaultRule, Place
from app.emulator.upstream import Upstream
from app.kit.clock import Clock

Handler = Callable[[Request, str], Awaitable[Response]]
"""Answers a request, given the request_id of the answer."""


def make_door(
    upstream: Upstream, place: Place, handler: Handler
) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint around a handler: refusals become answers, headers are the upstream's."""

    async def answer(request: Request) -> Response:
        arrived_at = upstream.clock()
        request_id = make_request_id()
        upstream.tally.count_call(place)
        try:
            response = await handler(request, request_id)
        except Refused as refusal:
            upstream.tally.count_refusal(place, refusal.failure.code)
            response = _to_error(refusal, request_id)
        _stamp(response, request_id, arrived_at, upstream.clock())
        return response

    return answer


class Dated:
    """Answers bear the emulator's own time, which need not be the machine's."""

    def __init__(self, app: ASGIApp, clock: Clock) -> None:
        self._app = app
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_dated(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["date"] = format_datetime(self._clock(), usegmt=True)
            await send(message)

        await self._app(scope, receive, send_dated)


async def pass_faults(rule: FaultRule | None, act: Callable[[], Awaitable[Response]]) -> Response:
    """Act, unless trouble comes first; the answer, unless trouble comes after."""
    early = await disrupt_before(rule)
    return early or await disrupt_after(rule, await act())


def to_json(body: object, status: int = 200, media_type: str = "application/json") -> Response:
    """Compact JSON in raw UTF-8, as the upstream writes it."""
    headers = {"content-type": media_type}
    return Response(orjson.dumps(body), status, headers)


def _to_error(refusal: Refused, request_id: str) -> Response:
    response = to_json(error_body(request_id, *refusal.failure), refusal.status)
    if refusal.status == 401:
        del response.headers["content-type"]
    return response


def _stamp(response: Response, request_id: str, arrived_at: datetime, now: datetime) -> None:
    cost_millis = round((now - arrived_at).total_seconds() * 1000)
    stamps = {
        "x-request-id": request_id,
        "req-cost-time": str(cost_millis),
        "req-arrive-time": str(round(arrived_at.timestamp() * 1000)),
        "resp-start-time": str(round(now.timestamp() * 1000)),
        "x-envoy-upstream-service-time": str(cost_millis),
        "server": "istio-envoy",
    }
    for name, value in stamps.items():
        response.headers.setdefault(name, value)
