"""The object store's doors: form posts in, signed pictures out."""

from functools import partial

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.emulator.answers import make_request_id
from app.emulator.disturb.faults import Target
from app.emulator.doors import pass_faults
from app.emulator.storage.signing import StorageRefused, storage_error_xml
from app.emulator.tasks import Task
from app.emulator.upstream import Upstream


class ObjectStore:
    """The calls of the object store on one upstream."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    def routes(self) -> list[Route]:
        return [
            Route("/oss", self.store, methods=["POST"]),
            Route("/results/{path:path}", self.get),
        ]

    async def store(self, request: Request) -> Response:
        self._upstream.tally.count_call("form")
        rule = self._upstream.faults.find_strike("form", Target())
        return await pass_faults(rule, partial(self._store, request))

    async def _store(self, request: Request) -> Response:
        async with request.form(max_files=1, max_fields=20) as form:
            file = form.get("file")
            if not isinstance(file, UploadFile):
                message = "The body of your POST request is not well-formed multipart/form-data."
                return self._refuse("form", StorageRefused(400, "MalformedPOSTRequest", message))
            fields = {name: value for name, value in form.items() if isinstance(value, str)}
            try:
                self._upstream.shelf.store(fields, await file.read())
            except StorageRefused as refusal:
                return self._refuse("form", refusal)
        status = 200 if fields.get("success_action_status") == "200" else 204
        return Response(status_code=status, headers=_make_headers())

    async def get(self, request: Request) -> Response:
        self._upstream.tally.count_call("picture")
        task = self._upstream.results.find_task(request.url.path)
        rule = self._upstream.faults.find_strike("picture", _to_target(task))
        return await pass_faults(rule, partial(self._get, request))

    async def _get(self, request: Request) -> Response:
        try:
            png = await self._upstream.results.get(request.url.path, request.query_params)
        except StorageRefused as refusal:
            return self._refuse("picture", refusal)
        return Response(png, headers=_make_headers(), media_type="image/png")

    def _refuse(self, place: str, refusal: StorageRefused) -> Response:
        self._upstream.tally.count_refusal(place, refusal.code)
        headers = _make_headers()
        xml = storage_error_xml(refusal, headers["x-oss-request-id"])
        return Response(xml, refusal.status, headers, media_type="application/xml")


def _make_headers() -> dict[str, str]:
    oss_id = make_request_id().replace("-", "").upper()[:24]
    return {"server": "AliyunOSS", "x-oss-request-id": oss_id}


def _to_target(task: Task | None) -> Target:
    if task is None:
        return Target()
    return Target(
        key=task.caller.key,
        account=task.caller.account,
        model=task.order.model,
        prompt=task.order.prompt,
        task_id=task.task_id,
    )
