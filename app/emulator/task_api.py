"""The task API: create, query, list, cancel and upload policies."""

import asyncio
from collections.abc import Mapping
from functools import partial

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from app.dashscope.payloads import (
    ASYNC_HEADER,
    IMAGE_TO_IMAGE_PATH,
    OSS_RESOLVE_HEADER,
    TEXT_TO_IMAGE_PATH,
)
from app.emulator import answers
from app.emulator.accounts import Caller
from app.emulator.checks import JsonObject, Refused, make_missing, read_order
from app.emulator.disturb.disrupt import Dropped, narrow_line
from app.emulator.disturb.faults import FaultRule, Place, Target
from app.emulator.disturb.lies import (
    blur_answer,
    blur_list,
    choose_shown,
    find_lie,
    to_misreading,
)
from app.emulator.doors import Handler, make_door, pass_faults, to_json
from app.emulator.listing import ListQuery
from app.emulator.upstream import CreateCall, Upstream, get_model

API_PATH = "/api/v1"

_BODY_BYTES_LIMIT = 64 * 1024 * 1024
_TASKS_TYPE = "application/json;charset=UTF-8"
_CREATE_HEADERS = {"x-dashscope-call-gateway": "true", "x-dashscope-timeout": "298"}
_NOT_PENDING = "Failed to cancel the task, please confirm if the task is in PENDING status."
_BAD_BODY = "Required body invalid, please check the request body format."


class TaskApi:
    """The calls of the task API on one upstream."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._options = upstream.options

    def routes(self) -> list[Route]:
        """Paths below /api/v1; the asyncio SDK needs the trailing slashes, 1.25.2 the GET."""
        creates = (IMAGE_TO_IMAGE_PATH, TEXT_TO_IMAGE_PATH)
        return [
            *(self._route(path, "create", self.answer_create, "POST") for path in creates),
            *self._slashed("/tasks/{task_id}/cancel", "cancel", self.answer_cancel, "POST", "GET"),
            *self._slashed("/tasks/{task_id}", "query", self.answer_query, "GET"),
            *self._slashed("/tasks", "list", self.answer_list, "GET"),
            *self._slashed("/uploads", "upload", self.answer_upload, "GET"),
        ]

    async def answer_create(self, request: Request, request_id: str) -> Response:
        caller = self._identify(request)
        try:
            body = await self._take_in(request, caller)
        except ClientDisconnect:
            return Dropped()
        call = CreateCall(
            request_id=request_id,
            caller=caller,
            path=request.url.path.removeprefix(API_PATH),
            body=body,
            is_async=_is_enabled(request, ASYNC_HEADER),
            resolves_oss=_is_enabled(request, OSS_RESOLVE_HEADER),
        )
        rule = self._upstream.faults.find_strike("create", _to_target(call))
        if rule is not None and rule.do == "late":
            self._upstream.create_late(call, rule.seconds)
            return Dropped()
        return await pass_faults(rule, partial(self._create, call))

    async def _take_in(self, request: Request, caller: Caller) -> JsonObject:
        """The body, at the speed of the line it comes on."""
        length = request.headers.get("content-length", "")
        body_bytes = int(length) if length.isdecimal() else 0
        target = Target(key=caller.key, account=caller.account, body_bytes=body_bytes)
        rule = self._upstream.faults.find_strike("line", target)
        if rule is None:
            return await read_object(request)
        narrow_line(request.scope)
        return await read_object(request, bytes_per_second=rule.bytes_per_second)

    async def _create(self, call: CreateCall) -> Response:
        task = await self._upstream.create(call)
        response = to_json(answers.created_body(call.request_id, task.task_id))
        response.headers.update(_CREATE_HEADERS)
        return response

    async def answer_query(self, request: Request, request_id: str) -> Response:
        caller, target = self._read_target(request)
        rule = self._upstream.faults.find_strike("query", target)
        act = partial(self._query, request, caller, request_id, find_lie(rule))
        return await pass_faults(rule, act)

    async def _query(
        self, request: Request, caller: Caller, request_id: str, lie: FaultRule | None
    ) -> Response:
        await self._admit("query", caller)
        task_id = request.path_params["task_id"]
        root = self._upstream.find_root(str(request.base_url))
        task = self._upstream.board.find_visible(caller.account, task_id)
        if task is None:
            body = answers.unknown_body(request_id, task_id)
        else:
            urls = self._upstream.results.make_urls(task, root)
            body = answers.task_body(request_id, task, urls)
            if lie is not None or task.find_fault("unreadable"):
                body = blur_answer(body)
        return to_json(body, media_type=_TASKS_TYPE)

    async def answer_list(self, request: Request, request_id: str) -> Response:
        caller, target = self._read_target(request)
        rule = self._upstream.faults.find_strike("list", target)
        act = partial(self._list, caller, request_id, request.query_params, find_lie(rule))
        return await pass_faults(rule, act)

    async def _list(
        self, caller: Caller, request_id: str, query: Mapping[str, str], lie: FaultRule | None
    ) -> Response:
        await self._admit("list", caller)
        now, rng = self._upstream.clock(), self._upstream.rng
        tasks = self._upstream.board.list_visible(caller.account)
        wanted = ListQuery.parse(query, now, misread=to_misreading(lie))
        page = wanted.select(choose_shown(tasks, lie, now, rng))
        body = answers.list_body(request_id, page, self._options.region)
        return to_json(blur_list(body, lie, rng), media_type=_TASKS_TYPE)

    async def answer_cancel(self, request: Request, request_id: str) -> Response:
        caller, target = self._read_target(request)
        act = partial(self._cancel, caller, request_id, target.task_id)
        return await pass_faults(self._upstream.faults.find_strike("cancel", target), act)

    async def _cancel(self, caller: Caller, request_id: str, task_id: str) -> Response:
        await self._admit("cancel", caller)
        task = self._upstream.board.find_visible(caller.account, task_id)
        if task is None or not self._upstream.board.cancel(task):
            raise Refused(400, "UnsupportedOperation", _NOT_PENDING)
        return to_json({"request_id": request_id}, media_type=_TASKS_TYPE)

    async def answer_upload(self, request: Request, request_id: str) -> Response:
        caller = self._identify(request)
        model = request.query_params.get("model", "")
        target = Target(key=caller.key, account=caller.account, model=model)
        root = self._upstream.find_root(str(request.base_url))
        act = partial(self._upload, caller, request_id, request.query_params, root)
        return await pass_faults(self._upstream.faults.find_strike("upload", target), act)

    async def _upload(
        self, caller: Caller, request_id: str, query: Mapping[str, str], root: str
    ) -> Response:
        if query.get("action") != "getPolicy":
            raise Refused(400, *make_missing("action"))
        get_model(dict(query))
        lane = (caller.account, query["model"])
        self._upstream.gate.admit(("upload", *lane), self._options.policies_per_second)
        await self._upstream.pause(self._options.call_latency_seconds)
        policy = self._upstream.shelf.issue_policy(lane, request_id, f"{root}/oss")
        return to_json({"data": policy, "request_id": request_id})

    async def _admit(self, place: Place, caller: Caller) -> None:
        limit = self._options.calls_per_second
        self._upstream.gate.admit((place, caller.account), limit)
        await self._upstream.pause(self._options.call_latency_seconds)

    def _identify(self, request: Request) -> Caller:
        return self._upstream.keys.identify(request.headers.get("authorization", ""))

    def _read_target(self, request: Request) -> tuple[Caller, Target]:
        """Who calls about which task; with its model and prompt when the caller may see it."""
        caller = self._identify(request)
        task_id = request.path_params.get("task_id", "")
        task = self._upstream.board.find_visible(caller.account, task_id)
        order = task.order if task else None
        target = Target(
            key=caller.key,
            account=caller.account,
            model=order.model if order else "",
            prompt=order.prompt if order else "",
            task_id=task_id,
        )
        return caller, target

    def _slashed(self, path: str, place: Place, handler: Handler, *methods: str) -> list[Route]:
        return [self._route(end, place, handler, *methods) for end in (path, path + "/")]

    def _route(self, path: str, place: Place, handler: Handler, *methods: str) -> Route:
        return Route(path, make_door(self._upstream, place, handler), methods=list(methods))


async def read_object(request: Request, *, bytes_per_second: float | None = None) -> JsonObject:
    """The JSON object in the body; Refused with 400, or 413 when it is too long.

    Raises ClientDisconnect when the caller leaves before the end of it.
    """
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if bytes_per_second is not None:
            await asyncio.sleep(len(chunk) / bytes_per_second)
        if len(content) > _BODY_BYTES_LIMIT:
            raise Refused(413, "BadRequest.TooLarge", "Payload Too Large")
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError as broken:
        raise Refused(400, "InvalidParameter", _BAD_BODY) from broken
    if not isinstance(body, dict):
        raise Refused(400, "InvalidParameter", _BAD_BODY)
    return body


def _to_target(call: CreateCall) -> Target:
    order = read_order(call.body)
    return Target(
        key=call.caller.key,
        account=call.caller.account,
        model=order.model,
        prompt=order.prompt,
        images=order.images,
    )


def _is_enabled(request: Request, header: str) -> bool:
    return request.headers.get(header, "").lower() == "enable"
