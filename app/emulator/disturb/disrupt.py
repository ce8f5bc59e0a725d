"""Trouble on the wire: late, wrong, cut and missing answers."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import suppress

from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from app.emulator.answers import error_body, make_request_id
from app.emulator.disturb.faults import FaultRule

TRANSPORT_EXTENSION = "emulator.transport"
"""The ASGI extension under which the server hands out the connection's transport."""

SLOW_LINE_BYTES = 32 * 1024
"""What the kernel takes in ahead of us on a slow line; by default it may be some megabytes."""
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_CHUNK_BYTES = 256 * 1024
_GARBAGE = (
    "<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head>"
    "<body><center><h1>502 Bad Gateway</h1></center><hr></body></html>"
)


class Dropped(Response):
    """No answer at all: the connection is reset."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        transport = _get_transport(scope)
        sock = transport.get_extra_info("socket")
        with suppress(ValueError, OSError):  # the caller has left by itself
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.abort()
        await _wait_until_gone(receive)


class CutShort(Response):
    """Half of the body that was announced, then the end of the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **start})
        half = bytes(self.body[: len(self.body) // 2])
        await send({"type": "http.response.body", "body": half, "more_body": True})
        _get_transport(scope).close()
        await _wait_until_gone(receive)


def narrow_line(scope: Scope) -> None:
    """Let the kernel take in little of the request's body before we do."""
    sock = _get_transport(scope).get_extra_info("socket")
    with suppress(ValueError, OSError):  # the caller has left by itself
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_LINE_BYTES)


async def disrupt_before(rule: FaultRule | None) -> Response | None:
    """The answer of a rule that strikes before the call has its effect, if it is one."""
    if rule is None or rule.when != "before":
        return None
    return await _answer(rule)


async def disrupt_after(rule: FaultRule | None, response: Response) -> Response:
    """What becomes of an answer when a rule strikes after the call had its effect."""
    if rule is None:
        return response
    if rule.do in {"truncate", "corrupt", "oversize"}:
        await asyncio.sleep(rule.seconds)
        return _damage(rule, response)
    if rule.when != "after":
        return response
    return await _answer(rule) or response


async def _answer(rule: FaultRule) -> Response | None:
    match rule.do:
        case "hang":
            await asyncio.sleep(rule.seconds)
            return None
        case "reset":
            return Dropped()
        case "html":
            return Response(_GARBAGE, media_type="text/html")
        case "redirect":
            return Response(status_code=302, headers={"location": rule.location or ""})
        case "status" | "arrearage" | "moderation" | "ip_suspicion":
            return _refuse(rule)
        case _:
            return None


def _refuse(rule: FaultRule) -> Response:
    headers = _retry_headers(rule)
    if rule.do == "status" and rule.status == 504 and rule.code is None:
        return PlainTextResponse("upstream request timeout", 504, headers)
    request_id = make_request_id()
    status = rule.status if rule.do == "status" else 400
    body = error_body(request_id, *rule.failure)
    return JSONResponse(body, status, headers | {"x-request-id": request_id})


def _retry_headers(rule: FaultRule) -> dict[str, str]:
    if rule.retry_after_seconds is None:
        return {}
    return {"retry-after": str(rule.retry_after_seconds)}


def _damage(rule: FaultRule, response: Response) -> Response:
    headers = {"content-type": response.headers["content-type"]}
    if rule.do == "truncate":
        return CutShort(response.body, response.status_code, headers)
    whole = bytes(response.body)
    if rule.do == "oversize":
        return StreamingResponse(_swell(whole, rule.size_bytes), response.status_code, headers)
    middle = len(whole) // 2
    noise = bytes(byte ^ 0x5A for byte in whole[middle : middle + 4096])
    body = whole[:middle] + noise + whole[middle + len(noise) :]
    return Response(body, response.status_code, headers)


async def _swell(whole: bytes, size_bytes: int) -> AsyncIterator[bytes]:
    """A body followed by zeros up to a size that no header announces."""
    yield whole[:size_bytes]
    padding_bytes = size_bytes - len(whole)
    while padding_bytes > 0:
        yield bytes(min(padding_bytes, _CHUNK_BYTES))
        padding_bytes -= _CHUNK_BYTES


def _get_transport(scope: Scope) -> asyncio.Transport:
    extensions: dict[str, asyncio.Transport] = scope.get("extensions", {})
    if TRANSPORT_EXTENSION not in extensions:
        raise RuntimeError("dropping a connection needs the server of serve_emulator")
    return extensions[TRANSPORT_EXTENSION]


async def _wait_until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
