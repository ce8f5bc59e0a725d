"""Errors of the native door: RFC 9457 problem details, one table from family to status."""

from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from app.jobs.acceptance import KeyReused
from app.kit.database import CONNECTION_TROUBLE
from app.kit.errors import (
    Conflict,
    FieldProblem,
    GatewayError,
    InvalidRequest,
    LimitExceeded,
    NotAuthenticated,
    NotFound,
    NotPermitted,
    Unavailable,
)
from app.web.bodies import BodyTooLarge
from app.web.request_ids import request_id_of

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

PROBLEM_TYPE = "application/problem+json"

_STATUSES: tuple[tuple[type[GatewayError], int, str], ...] = (
    (KeyReused, 422, "Idempotency key used before"),
    (InvalidRequest, 422, "Invalid request"),
    (NotAuthenticated, 401, "Not authenticated"),
    (NotPermitted, 403, "Not permitted"),
    (NotFound, 404, "Not found"),
    (Conflict, 409, "Conflict"),
    (BodyTooLarge, 413, "Body too large"),
    (LimitExceeded, 429, "Limit exceeded"),
    (Unavailable, 503, "Unavailable"),
)


class MalformedBody(InvalidRequest):
    """A body that is no JSON at all."""

    code = "malformed_body"


def add_error_handlers(application: FastAPI) -> None:
    """Whatever goes wrong outside the other doors is told as a problem."""
    application.add_exception_handler(GatewayError, _answer_gateway_error)
    application.add_exception_handler(RequestValidationError, _answer_bad_parameters)
    application.add_exception_handler(HTTPException, _answer_http_exception)
    for trouble in CONNECTION_TROUBLE:
        application.add_exception_handler(trouble, _answer_database_trouble)
    application.add_exception_handler(Exception, _answer_bug)


async def _answer_gateway_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, GatewayError)
    status, title = next(
        ((status, title) for kind, status, title in _STATUSES if isinstance(error, kind)),
        (500, "Internal error"),
    )
    if isinstance(error, MalformedBody):
        status = 400
    response = make_problem(request, status, title=title, detail=error.message, code=error.code)
    if isinstance(error, InvalidRequest) and error.problems:
        return make_problem(
            request,
            status,
            title=title,
            detail=error.message,
            code=error.code,
            errors=[_to_field_error(problem) for problem in error.problems],
        )
    if isinstance(error, LimitExceeded):
        response.headers["Retry-After"] = str(error.retry_after_seconds)
    if isinstance(error, Unavailable):
        response.headers["Retry-After"] = "1"
    if isinstance(error, NotAuthenticated):
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def make_problem(request: Request, status: int, **members: Any) -> JSONResponse:
    """A problem document; `members` are title, detail, code, and errors where fields are off."""
    problem = {
        "type": f"urn:dashgate:problem:{members['code']}",
        "status": status,
        "instance": request.url.path,
        "request_id": request_id_of(request),
        **members,
    }
    return JSONResponse(problem, status, media_type=PROBLEM_TYPE)


def _to_field_error(problem: FieldProblem) -> dict[str, Any]:
    return {
        "loc": list(problem.loc),
        "code": problem.code,
        "msg": problem.message,
        "ctx": jsonable_encoder(problem.limits),
    }


async def _answer_bad_parameters(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    errors = [
        {"loc": list(item["loc"]), "code": item["type"], "msg": item["msg"]}
        for item in error.errors()
    ]
    detail = "; ".join(f"{item['loc'][-1]}: {item['msg']}" for item in errors)
    return make_problem(
        request,
        422,
        title="Invalid request",
        detail=detail,
        code="invalid_fields",
        errors=errors,
    )


async def _answer_http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = {404: "route_not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
    detail = f"{request.method} {request.url.path}: {error.detail}"
    response = make_problem(
        request, error.status_code, title=str(error.detail), detail=detail, code=code
    )
    response.headers.update(error.headers or {})
    return response


async def _answer_database_trouble(request: Request, error: Exception) -> JSONResponse:
    log.warning("request.database_lost", path=request.url.path, error=type(error).__name__)
    response = make_problem(
        request,
        503,
        title="Unavailable",
        detail="the database cannot be reached: send the request again in a moment",
        code="database_unavailable",
    )
    response.headers["Retry-After"] = "1"
    return response


async def _answer_bug(request: Request, error: Exception) -> JSONResponse:
    log.exception("request.failed", path=request.url.path, exc_info=error)
    return make_problem(
        request,
        500,
        title="Internal error",
        detail="an error in the gateway; its log has the details under this request_id",
        code="internal_error",
    )
