"""Connections of strangers: a bound on their heads, their time and their number.

The server's own protocol bounds none of them: a head without an end fills the memory, one that is
sent by the byte is waited for for ever, a body that nobody reads is swallowed whole.
Source of the statuses: RFC 9110, 15.5.9, 15.5.15 and 15.6.4; RFC 6585, 5.
"""

import asyncio
from http import HTTPStatus
from typing import Any, ClassVar
from uuid import uuid4

import orjson
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.web.crowd import Connections
from app.web.heads import names_one_host, without_upgrade

HEAD_BYTES_LIMIT = 64 * 1024
URL_BYTES_LIMIT = 16 * 1024
HEAD_SECONDS = 30.0
"""From the connection, or from its first byte after an answer, to the end of a head."""
LINGER_SECONDS = 10.0
LINGER_BYTES = 64 * 1024 * 1024
"""What is read of a body that nobody wants: many clients read no answer before all is sent."""
REFUSED_SECONDS = 1.0
"""For the sender of what was no request to see its answer."""
CONNECTIONS_LIMIT = 4_096

_EXTENSION = "dashgate.connection"


class BoundedProtocol(HttpToolsProtocol):
    """HTTP/1.1 whose heads and connections have an end."""

    registry: ClassVar[Connections]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._steps = 0  # of the parser: a head, a piece of a body, an end
        self._stuck_bytes = 0
        self._left_bytes = 0
        self._is_over = False
        self._is_deaf = False
        self._is_head_over = False
        self._wishes_upgrade = False
        self._running: RequestResponseCycle | None = None
        self._timer: asyncio.TimerHandle | None = None
        if self.registry.add(self, self.client[0] if self.client else ""):
            self._expect_head()
        else:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "connections_full", _FULL)

    def connection_lost(self, exc: Exception | None) -> None:
        self.registry.remove(self)
        self._end_timer()
        super().connection_lost(exc)

    @property
    def is_at_work(self) -> bool:
        """Whether a request has come whose answer is not complete."""
        return self.cycle is not None and not self.cycle.response_complete

    def data_received(self, data: bytes) -> None:
        if self._is_over or self._is_deaf:
            self._left_bytes -= len(data)
            if self._left_bytes < 0:
                self.transport.close()
        if self._is_deaf or self.transport.is_closing():
            return
        steps = self._steps
        self._unset_keepalive_if_required()
        self._parse(data)
        self._stuck_bytes = self._stuck_bytes + len(data) if self._steps == steps else 0
        if self._stuck_bytes > HEAD_BYTES_LIMIT:
            self._refuse_head()
        elif self._timer is None and not self.is_at_work:
            self._expect_head()

    def _parse(self, data: bytes) -> None:
        """Also what stands behind a wish for another protocol: none is granted here."""
        rest: memoryview | None = memoryview(data)
        try:
            while rest is not None and not self._is_deaf:
                rest = self._parse_up_to_wish(rest)
        except HttpParserError:
            self._refuse(HTTPStatus.BAD_REQUEST, "bad_request", _NO_REQUEST)

    def _parse_up_to_wish(self, data: memoryview) -> memoryview | None:
        """What stands behind the head that wishes for another protocol; None without one."""
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            if not self._wishes_upgrade:
                self._refuse(HTTPStatus.NOT_IMPLEMENTED, "no_tunnel", "no tunnels are made here")
                return None
            # The parser takes such a request for one without a body, so that the body would be
            # read as the next request. Without the wish it is a request as any other.
            self._wishes_upgrade = False
            head = without_upgrade(self.scope["method"].encode(), self.url, self.headers)
            self.parser = HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            self.parser.feed_data(head)
            return data[upgrade.args[0] :]
        return None

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_head_over = False
        self.scope["extensions"] = {_EXTENSION: self}  # type: ignore[dict-item]

    def on_header(self, name: bytes, value: bytes) -> None:
        """Not of a trailer: that comes after every check on the way (RFC 9110, 6.5.1)."""
        if not self._is_head_over:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._steps += 1
        self._is_head_over = True
        if self._is_over or self._is_deaf:
            return
        self._end_timer()
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if len(self.url) > URL_BYTES_LIMIT or size > HEAD_BYTES_LIMIT:
            self._refuse_head()
            return
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            self.scope["method"] = self.parser.get_method().decode("ascii")
            self._wishes_upgrade = True
            return
        if not names_one_host(self.headers, self.parser.get_http_version()):
            self._refuse(HTTPStatus.BAD_REQUEST, "bad_host", _NO_HOST)
            return
        super().on_headers_complete()
        self.cycle.transport = _Farewell(self, self.cycle)  # type: ignore[assignment]

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        self._steps += 1
        if not self._is_deaf and not self._wishes_upgrade:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._steps += 1
        if self._is_deaf or self._wishes_upgrade:
            return
        super().on_message_complete()
        if self._is_over:
            self.transport.close()

    def on_response_complete(self) -> None:
        if self.cycle.response_complete and self.cycle.more_body and not self.pipeline:
            self.close_gently()
        super().on_response_complete()

    def close_gently(
        self, *, after_bytes: int = LINGER_BYTES, after_seconds: float = LINGER_SECONDS
    ) -> None:
        """Once what is still being sent has come, or enough of it."""
        if not self._is_over:
            self._is_over = True
            self._left_bytes = after_bytes
            self._end_timer()
            self._timer = self.loop.call_later(after_seconds, self.transport.close)
            self.flow.resume_reading()

    def drop(self) -> None:
        self.transport.close()

    def _expect_head(self) -> None:
        self._timer = self.loop.call_later(HEAD_SECONDS, self._give_up_head)

    def _end_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up_head(self) -> None:
        if self._stuck_bytes:
            message = f"the head of the request was not complete within {HEAD_SECONDS:g} seconds"
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "head_too_slow", message)
        self.transport.close()

    def _refuse_head(self) -> None:
        url_bytes = len(getattr(self, "url", b""))
        if url_bytes > URL_BYTES_LIMIT:
            message = f"the URL may have {URL_BYTES_LIMIT} bytes; this one has {url_bytes} or more"
            self._refuse(HTTPStatus.REQUEST_URI_TOO_LONG, "url_too_long", message)
        else:
            message = f"the head of the request may have {HEAD_BYTES_LIMIT} bytes; it has more"
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "head_too_long", message)

    def _refuse(self, status: HTTPStatus, code: str, message: str) -> None:
        """Answer what is no request, in words that both doors have; nothing more is parsed."""
        self._is_deaf = True
        if self._is_over:
            self.transport.close()
        if self._is_over or not self._is_its_turn():
            return
        document = {
            "type": f"urn:dashgate:problem:{code}",
            "title": status.phrase,
            "status": status.value,
            "detail": message,
            "message": message,
            "code": code,
            "request_id": str(uuid4()),
        }
        body = orjson.dumps(document)
        self.transport.write(
            b"HTTP/1.1 %d %s\r\ncontent-type: application/problem+json\r\n"
            b"cache-control: no-store\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s"
            % (status.value, status.phrase.encode(), len(body), body)
        )
        self.close_gently(after_bytes=HEAD_BYTES_LIMIT, after_seconds=REFUSED_SECONDS)

    def _is_its_turn(self) -> bool:
        """Whether a refusal may be written now; nothing is answered out of turn, or twice.

        A whole request that is still being answered has its answer first; one that the refused
        bytes are a part of has no other.
        """
        running = self._running
        if running is None or running.response_complete:
            return True
        if running.more_body and not running.response_started:
            running.disconnected = True
            running.message_event.set()
            return True
        self.pipeline.clear()
        running.keep_alive = False
        self._left_bytes = HEAD_BYTES_LIMIT
        return False


class _Farewell:
    """A connection as the server's answer sees it: closing it loses no answer."""

    __slots__ = ("_cycle", "_protocol")

    def __init__(self, protocol: BoundedProtocol, cycle: RequestResponseCycle) -> None:
        self._protocol = protocol
        self._cycle = cycle

    def write(self, data: bytes) -> None:
        self._protocol.transport.write(data)

    def is_closing(self) -> bool:
        return self._protocol.transport.is_closing()

    def close(self) -> None:
        if self._cycle.more_body:
            self._protocol.close_gently()
        else:
            self._protocol.transport.close()


def make_protocol(limit: int = CONNECTIONS_LIMIT) -> type[BoundedProtocol]:
    """The protocol of one server, with its own count of connections."""
    return type("Protocol", (BoundedProtocol,), {"registry": Connections(limit)})


def is_body_due(scope: Scope) -> bool:
    """Whether the client still sends the body of this request: after the answer it must go."""
    protocol: Any = scope.get("extensions", {}).get(_EXTENSION)
    if protocol is None:
        return False
    cycle = protocol.cycle
    return cycle is not None and cycle.scope is scope and cycle.more_body


_NO_REQUEST = "this is no HTTP request, or not a whole one"
_NO_HOST = "a request names one host: send one Host header, as host or host:port"
_FULL = "the gateway has as many connections as it may: try again in a moment"
