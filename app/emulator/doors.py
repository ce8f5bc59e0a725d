"""What every call goes through: it is counted, disrupted, refused and stamped."""

import time
from collections.abc import Awaitable, Callable

import orjson
from starlette.requests import Request
from starlette.responses import Response

from app.emulator.answers import error_body, make_request_id
from app.emulator.checks import Refused
from app.emulator.disturb.disrupt import disrupt_after, disrupt_before
from app.emulator.disturb.faults import FaultRule, Place
from app.emulator.upstream import Upstream

Handler = Callable[[Request, str], Awaitable[Response]]
"""Answers a request, given the request_id of the answer."""


def make_door(
    upstream: Upstream, place: Place, handler: Handler
) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint around a handler: refusals become answers, headers are the upstream's."""

    async def answer(request: Request) -> Response:
        arrived_at = time.time()
        request_id = make_request_id()
        upstream.tally.count_call(place)
        try:
            response = await handler(request, request_id)
        except Refused as refusal:
            upstream.tally.count_refusal(place, refusal.failure.code)
            response = _to_error(refusal, request_id)
        _stamp(response, request_id, arrived_at)
        return response

    return answer


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


def _stamp(response: Response, request_id: str, arrived_at: float) -> None:
    now = time.time()
    cost_millis = round((now - arrived_at) * 1000)
    stamps = {
        "x-request-id": request_id,
        "req-cost-time": str(cost_millis),
        "req-arrive-time": str(round(arrived_at * 1000)),
        "resp-start-time": str(round(now * 1000)),
        "x-envoy-upstream-service-time": str(cost_millis),
        "server": "istio-envoy",
    }
    for name, value in stamps.items():
        response.headers.setdefault(name, value)
