"""Errors in the upstream's own shape, so that every SDK raises what it always raised."""

import structlog
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from app.dashscope_api.answers import WireResponse
from app.jobs.accepting.outcomes import KeyReused
from app.kit.errors import (
    Conflict,
    GatewayError,
    InvalidRequest,
    LimitExceeded,
    NotAuthenticated,
    NotFound,
    NotPermitted,
    Unavailable,
)
from app.kit.postgres.database import CONNECTION_TROUBLE
from app.kit.postgres.trouble import describe_trouble
from app.media.files.quota import InputsFull
from app.web.bodies import BodyTooLarge
from app.web.request_ids import path_for_log, request_id_of

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

RETRY_AFTER_LIMIT_SECONDS = 8
"""The longest pause that the SDK's own retry honours."""

_SHAPES: tuple[tuple[type[GatewayError], int, str], ...] = (
    (KeyReused, 400, "InvalidParameter"),
    (InvalidRequest, 400, "InvalidParameter"),
    (NotAuthenticated, 401, "InvalidApiKey"),
    (NotPermitted, 403, "AccessDenied"),
    (NotFound, 404, "NotFound"),
    (Conflict, 400, "UnsupportedOperation"),
    (BodyTooLarge, 413, "BadRequest.TooLarge"),
    (InputsFull, 429, "Throttling.AllocationQuota"),
    (LimitExceeded, 429, "Throttling.RateQuota"),
    (Unavailable, 503, "ModelUnavailable"),
)

_SPOKEN = {
    "missing_api_key": "No API-key provided.",
}


class WireError(Exception):
    """An error that is already in the upstream's words."""

    def __init__(self, http_status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.http_status, self.code, self.message = http_status, code, message


def url_error() -> WireError:
    """The upstream's answer to a model that does not belong to the path."""
    return WireError(400, "InvalidParameter", "url error, please check url!")


def add_error_handlers(door: FastAPI) -> None:
    """Whatever goes wrong behind this door is told in its shape."""
    door.add_exception_handler(WireError, _answer_wire_error)
    door.add_exception_handler(GatewayError, _answer_gateway_error)
    door.add_exception_handler(HTTPException, _answer_http_exception)
    for trouble in CONNECTION_TROUBLE:
        door.add_exception_handler(trouble, _answer_database_trouble)
    door.add_exception_handler(Exception, _answer_bug)


async def _answer_wire_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, WireError)
    return _body(request, error.http_status, error.code, error.message)


async def _answer_gateway_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, GatewayError)
    status, code = next(
        ((status, code) for kind, status, code in _SHAPES if isinstance(error, kind)),
        (500, "InternalError"),
    )
    message = _SPOKEN.get(error.code, error.message)
    if status == 401 and error.code not in _SPOKEN:
        message = f"Invalid API-key provided. {error.message}"
    response = _body(request, status, code, message)
    if isinstance(error, LimitExceeded):
        seconds = min(error.retry_after_seconds, RETRY_AFTER_LIMIT_SECONDS)
        response.headers["Retry-After"] = str(seconds)
    return response


async def _answer_http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        wire = url_error()
        return _body(request, wire.http_status, wire.code, wire.message)
    if error.status_code == 405:
        message = f"Request method '{request.method}' is not supported."
        return _body(request, 400, "InvalidParameter", message)
    return _body(request, error.status_code, "InvalidParameter", str(error.detail))


async def _answer_database_trouble(request: Request, error: Exception) -> JSONResponse:
    trouble = describe_trouble(error)
    log.warning(
        "request.database_lost",
        path=path_for_log(request.scope),
        code=trouble.code,
        error=type(error).__name__,
    )
    message = f"The gateway cannot answer, {trouble.code}: {trouble.message}."
    return _body(request, 503, "ModelUnavailable", message)


async def _answer_bug(request: Request, error: Exception) -> JSONResponse:
    log.exception("request.failed", path=path_for_log(request.scope), exc_info=error)
    return _body(request, 500, "InternalError", "An internal error has occurred in the gateway.")


def _body(request: Request, status: int, code: str, message: str) -> WireResponse:
    return WireResponse(
        {"code": code, "message": message, "request_id": request_id_of(request)}, status
    )
