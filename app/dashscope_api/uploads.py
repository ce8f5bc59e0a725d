"""Local files of SDKs: the upload policy, and the form post that follows it to us."""

from datetime import timedelta
from functools import partial

from fastapi import APIRouter, Request, Response

from app.dashscope_api.answers import WireResponse
from app.dashscope_api.errors import WireError
from app.dashscope_api.forms import find_boundary, parse_form, read_form_head
from app.dashscope_api.policy import (
    ACCESS_KEY_ID,
    POLICY_TTL_SECONDS,
    Permission,
    PolicyRefused,
    check_policy,
    make_policy,
)
from app.jobs.requests.image_rules import check_input_image
from app.jobs.requests.models import DEFAULT_MODEL, MODELS
from app.kit.errors import NAME_CHARACTERS_TOLD, GatewayError, shorten
from app.media.files.keeping import FileOrigin, UploadExists, keep_upload
from app.media.files.quota import InputsFull
from app.media.inspect import UnreadableImage, inspect_image
from app.web.bodies import find_announced_bytes, parse_body, with_head
from app.web.context import Bodies, DoorsHere, LinksHere, Writer
from app.web.request_ids import request_id_of
from app.wiring import Doors

UPLOAD_PATH = "/uploads/form"
FORM_OVERHEAD_BYTES = 16 * 1024
MEGABYTE = 1024 * 1024
POLICY_FIELDS = ("policy", "Signature", "key")
"""In front of the file, as OSS asks for it."""

router = APIRouter()


@router.get("/uploads")
@router.get("/uploads/")
async def get_policy(
    request: Request, doors: DoorsHere, links: LinksHere, caller: Writer
) -> WireResponse:
    """Where and how to post a local file; numbers are numbers, flags are strings."""
    action, model = request.query_params.get("action"), request.query_params.get("model")
    if action != "getPolicy":
        message = f"action is {_show(action)}; the only one is 'getPolicy'"
        raise WireError(400, "InvalidParameter", message)
    if model not in MODELS:
        known = ", ".join(MODELS)
        message = f"Model not exist. model is {_show(model)}; it must be one of {known}"
        raise WireError(400, "InvalidParameter", message)
    assert caller.team_id is not None
    request_id = request_id_of(request)
    policy = make_policy(
        doors.base.vault, team_id=caller.team_id, request_id=request_id, now=doors.base.clock()
    )
    return WireResponse(
        {
            "data": {
                **policy,
                "upload_host": f"{links.base_url}{request.scope['root_path']}{UPLOAD_PATH}",
                "expire_in_seconds": POLICY_TTL_SECONDS,
                "max_file_size_mb": DEFAULT_MODEL.image_bytes // MEGABYTE,
                "capacity_limit_mb": 999_999_999,
                "oss_access_key_id": ACCESS_KEY_ID,
                "x_oss_object_acl": "private",
                "x_oss_forbid_overwrite": "true",
            },
            "request_id": request_id,
        }
    )


@router.post(UPLOAD_PATH)
async def post_form(request: Request, doors: DoorsHere, bodies: Bodies) -> Response:
    """Take one file. No Authorization comes with it: the signed policy is the credential."""
    longest = DEFAULT_MODEL.image_bytes + FORM_OVERHEAD_BYTES
    announced = find_announced_bytes(request)
    if announced is None or announced > longest:
        message = (
            f"the form has {announced or 'an untold number of'} bytes; a file may have "
            f"{DEFAULT_MODEL.image_bytes}"
        )
        return _refuse(request, 400, "EntityTooLarge", message)
    boundary = find_boundary(request.headers.get("content-type", ""))
    if boundary is None:
        message = "the form must be multipart/form-data with a boundary"
        return _refuse(request, 400, "MalformedPOSTRequest", message)
    # Who posts is known before the file is read: strangers get no memory.
    head = await read_form_head(request, boundary, limit_bytes=FORM_OVERHEAD_BYTES)
    try:
        permission = _check(doors, head.form.fields)
    except PolicyRefused as refusal:
        return _refuse(request, 403, "AccessDenied", str(refusal))
    whole = with_head(request, head.content, is_whole=head.is_whole)
    async with bodies.read(whole, permission.team_id) as body:
        form = await parse_body(body, partial(parse_form, boundary=boundary))
        if form.file is None or not form.is_file_whole:
            return _refuse(request, 400, "InvalidArgument", "the form has no whole part `file`")
        return await _keep(request, doors, permission, head.form.fields["key"], form.file)


def _show(given: str | None) -> str:
    return repr(given if given is None else shorten(given, NAME_CHARACTERS_TOLD))


def _check(doors: Doors, fields: dict[str, str]) -> Permission:
    """Raises PolicyRefused, also where the fields do not come in front of the file."""
    policy, signature, key = (fields.get(name, "") for name in POLICY_FIELDS)
    return check_policy(
        doors.base.vault,
        policy=policy,
        signature=signature,
        key=key,
        now=doors.base.clock(),
    )


async def _keep(
    request: Request, doors: Doors, permission: Permission, key: str, content: bytes
) -> Response:
    try:
        facts = await parse_body(content, inspect_image)
    except UnreadableImage as error:
        return _refuse(request, 400, "InvalidImageFormat", error.message)
    problems = check_input_image(facts, (key.rpartition("/")[2],))
    if problems:
        told = "; ".join(f"{problem.path}: {problem.message}" for problem in problems)
        return _refuse(request, 400, "InvalidImageResolution", told)
    base = doors.base
    origin = FileOrigin(
        team_id=permission.team_id,
        expires_at=base.clock() + timedelta(seconds=base.settings.file_ttl_seconds),
        upload_key=key,
        name=key.rpartition("/")[2],
    )
    try:
        await keep_upload(base.pool, base.store, origin, content, facts, doors.accept.quota)
    except UploadExists:
        message = "The object you specified already exists and can not be overwritten."
        return _refuse(request, 409, "FileAlreadyExists", message)
    except InputsFull as error:
        return _refuse(request, 403, "QuotaExceeded", error.message)
    except GatewayError as error:
        return _refuse(request, 503, "ServiceUnavailable", error.message)
    return Response(status_code=200)


def _refuse(request: Request, status: int, code: str, message: str) -> Response:
    """OSS's own code, but as JSON: the Java SDK shows nothing of the XML that OSS writes."""
    return WireResponse(
        {"code": code, "message": message, "request_id": request_id_of(request)}, status
    )
