"""DashScope's task API over HTTP: one attempt a call, a timeout and a size cap on each."""

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeAlias, TypeVar
from urllib.parse import quote

import httpx
import orjson
from pydantic import BaseModel, SecretStr

from app.dashscope.capped import read_capped
from app.dashscope.outcomes import (
    CallCounts,
    CreateOutcome,
    NotSent,
    OutcomeUnknown,
    UpstreamTrouble,
    read_create,
    status_of,
    to_trouble,
)
from app.dashscope.payloads import (
    ASYNC_HEADER,
    IMAGE_TO_IMAGE_PATH,
    OSS_RESOLVE_HEADER,
    TaskAnswer,
    TaskPage,
    UploadPolicyAnswer,
    make_create_body,
    to_list_time,
)
from app.dashscope.reading import load_json
from app.dashscope.sending import (
    HELD_BYTES,
    SLOWEST_BYTES_PER_SECOND,
    Body,
    Deadline,
    TooLateToSend,
    allow,
)
from app.dashscope.stores import is_store, to_form
from app.dashscope.upstream_clock import UpstreamClock
from app.kit.clock import elapsed_seconds

CONNECT_TIMEOUT_SECONDS = 5.0
QUERY_TIMEOUT_SECONDS = 10.0
UPLOAD_TIMEOUT_SECONDS = 60.0
"""And longer by the size."""
LIST_PAGE_SIZE = 100
HIDDEN_KEY = b"<the API key>"
ALMOST_A_SECOND = timedelta(microseconds=999_999)

UpstreamHttp: TypeAlias = httpx.AsyncClient

Shape = TypeVar("Shape", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class TaskWindow:
    """Which tasks to list: made between two moments, at most 24 hours apart."""

    model: str
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class DashScope:
    """One account's view of the API: its base URL and one of its API keys."""

    base_url: str
    api_key: SecretStr
    queries: httpx.AsyncClient = field(repr=False)
    creates: httpx.AsyncClient = field(repr=False)
    slowest_bytes_per_second: float = SLOWEST_BYTES_PER_SECOND
    """How slow a line out is still waited for, while a create's body is written."""
    clock: UpstreamClock = field(default_factory=UpstreamClock, repr=False)
    """The upstream's, as its answers tell it."""
    calls: CallCounts = field(default_factory=CallCounts, repr=False)

    async def create_task(
        self,
        model: str,
        *,
        input_fields: Mapping[str, Any],
        parameters: Mapping[str, Any],
        timeout_seconds: float,
        send_before: float = math.inf,
    ) -> CreateOutcome:
        """Send one create, never twice; says what is known of its outcome.

        To connect and to write the body may take `timeout_seconds`, and longer by the body's size;
        the answer may take as long again once the body is sent. Raises TooLateToSend when
        `send_before` (by `elapsed_seconds`) has passed by the time the connection stands: a
        process may be stopped at any moment before.
        """
        body = Body(orjson.dumps(make_create_body(model, dict(input_fields), dict(parameters))))
        # Below the whole, so that an upstream out of reach is known to have been sent nothing.
        connect_seconds = min(CONNECT_TIMEOUT_SECONDS, timeout_seconds / 2)
        try:
            request = self._build_create(body, connect_seconds, Deadline(send_before))
        except (httpx.InvalidURL, ValueError) as error:
            return NotSent(f"no request can be made of base URL and key: {type(error).__name__}")
        outcome = await self._send_create(request, body, timeout_seconds)
        self.calls.note("create", status_of(outcome))
        if body.is_whole or not isinstance(outcome, OutcomeUnknown):
            return outcome
        reason = (
            f"a create of {len(body.content)} bytes could not be written whole in "
            f"{self._find_write_seconds(body, timeout_seconds):.0f} s at most "
            f"({body.sent_bytes} were): {outcome.reason}"
        )
        return NotSent(reason, is_body=body.is_at_fault and outcome.http_status is None)

    def _build_create(
        self, body: Body, connect_seconds: float, deadline: Deadline
    ) -> httpx.Request:
        return self.creates.build_request(
            "POST",
            self.base_url + IMAGE_TO_IMAGE_PATH,
            content=body,
            headers={
                **self._headers(),
                "Content-Type": "application/json",
                "Content-Length": str(len(body.content)),
                ASYNC_HEADER: "enable",
                OSS_RESOLVE_HEADER: "enable",
            },
            timeout=httpx.Timeout(None, connect=connect_seconds, pool=connect_seconds),
            extensions={"trace": deadline},
        )

    async def _send_create(
        self, request: httpx.Request, body: Body, timeout_seconds: float
    ) -> CreateOutcome:
        """What an answer says, or its absence while it is not asked how much was written."""
        unsent_seconds = self._find_sending_seconds(min(len(body.content), HELD_BYTES))
        began = elapsed_seconds()
        try:
            async with asyncio.timeout(self._find_write_seconds(body, timeout_seconds)) as limit:
                body.when_whole = partial(allow, limit, unsent_seconds, timeout_seconds)
                response = await self.creates.send(request, stream=True)
                self.clock.note(response.headers, began, elapsed_seconds())
                content = await read_capped(response)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            return NotSent(f"no connection to the upstream: {type(error).__name__}")
        except TooLateToSend:
            raise
        except Exception as error:
            # Whatever it is, the request may be upstream.
            return OutcomeUnknown(f"no answer to the create: {type(error).__name__}")
        return read_create(response.status_code, response.headers, self._without_key(content))

    def _find_write_seconds(self, body: Body, timeout_seconds: float) -> float:
        """How long it may take to connect and to write the body."""
        return timeout_seconds + self._find_sending_seconds(len(body.content))

    def _find_sending_seconds(self, size_bytes: int) -> float:
        return size_bytes / self.slowest_bytes_per_second

    async def get_task(self, task_id: str) -> TaskAnswer:
        """What the upstream knows of a task; raises UpstreamTrouble."""
        return await self._get("query", _to_path(task_id), {}, TaskAnswer)

    async def list_tasks(self, window: TaskWindow, *, page: int) -> TaskPage:
        """One page of the account's tasks, newest first; raises UpstreamTrouble."""
        return await self._get(
            "list",
            "/tasks",
            {
                "model_name": window.model,
                "start_time": to_list_time(window.since),
                # Both ends outward: the filter knows whole seconds.
                "end_time": to_list_time(window.until + ALMOST_A_SECOND),
                "page_no": str(page),
                "page_size": str(LIST_PAGE_SIZE),
            },
            TaskPage,
        )

    async def cancel_task(self, task_id: str) -> bool:
        """Ask for a cancel; False when the task is no longer pending. Raises UpstreamTrouble."""
        response, _ = await self._ask(
            "cancel", "POST", f"{self.base_url}{_to_path(task_id)}/cancel", headers=self._headers()
        )
        if response.status_code not in (200, 400):
            raise UpstreamTrouble(f"cancel: HTTP {response.status_code}")
        return response.status_code == 200

    async def upload(self, content: bytes, *, model: str, name: str) -> str:
        """Post a file to the upstream's own store; returns its oss:// URL. 48 h valid."""
        answer = await self._get(
            "policy", "/uploads", {"action": "getPolicy", "model": model}, UploadPolicyAnswer
        )
        policy = answer.data
        if not is_store(policy.upload_host, self.base_url):
            raise UpstreamTrouble("upload: its address is no store of the upstream's")
        key = f"{policy.upload_dir}/{name}"
        response, _ = await self._ask(
            "upload",
            "POST",
            policy.upload_host,
            timeout_seconds=UPLOAD_TIMEOUT_SECONDS + self._find_sending_seconds(len(content)),
            data=to_form(policy, key),
            files={"file": (name, content)},
        )
        if response.status_code != 200:
            raise UpstreamTrouble(f"upload: HTTP {response.status_code}")
        return f"oss://{key}"

    def _without_key(self, content: bytes) -> bytes:
        """An answer may repeat what it was asked with: it ends in errors, logs and tables."""
        return content.replace(self.api_key.get_secret_value().encode(), HIDDEN_KEY)

    def _headers(self) -> dict[str, str]:
        return {
            "Authorization": f"Bearer {self.api_key.get_secret_value()}",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
        }

    async def _get(
        self, call: str, path: str, params: Mapping[str, str], shape: type[Shape]
    ) -> Shape:
        response, content = await self._ask(
            call,
            "GET",
            self.base_url + path,
            params=dict(params),
            headers=self._headers(),
        )
        if response.status_code != 200:
            raise to_trouble(path, response.status_code, content)
        try:
            return shape.model_validate(load_json(content))
        except ValueError as error:
            raise UpstreamTrouble(
                f"GET {path}: an answer of another shape", http_status=response.status_code
            ) from error

    async def _ask(
        self,
        call: str,
        method: str,
        url: str,
        *,
        timeout_seconds: float = QUERY_TIMEOUT_SECONDS,
        **parts: Any,
    ) -> tuple[httpx.Response, bytes]:
        """An answer and its content, read to the limit; raises UpstreamTrouble, whatever fails.

        Neither transport keeps to its own errors.
        """
        phases = httpx.Timeout(timeout_seconds, connect=CONNECT_TIMEOUT_SECONDS)
        began = elapsed_seconds()
        status = None
        try:
            async with asyncio.timeout(timeout_seconds):
                request = self.queries.build_request(method, url, timeout=phases, **parts)
                response = await self.queries.send(request, stream=True)
                status = response.status_code
                self.clock.note(response.headers, began, elapsed_seconds())
                return response, self._without_key(await read_capped(response))
        except Exception as error:
            raise UpstreamTrouble(f"{call}: {type(error).__name__}") from error
        finally:
            self.calls.note(call, status)


def _to_path(task_id: str) -> str:
    return f"/tasks/{quote(task_id, safe='')}"
