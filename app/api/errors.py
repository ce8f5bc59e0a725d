"""Errors of the native door: RFC 9457 problem details, one table from family to status."""

from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from app.jobs.accepting.outcomes import KeyReused
from app.kit.errors import (
    PROBLEMS_TOLD,
    Conflict,
    FieldProblem,
    GatewayError,
    InvalidRequest,
    LimitExceeded,
    NotAuthenticated,
    NotFound,
    NotPermitted,
    Unavailable,
    shorten,
)
from app.kit.postgres.database import CONNECTION_TROUBLE
from app.kit.postgres.trouble import describe_trouble
from app.web.bodies import BodyCutShort, BodyTooLarge
from app.web.json_bodies import UnsupportedBody
from app.web.request_ids import path_for_log, request_id_of

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

PROBLEM_TYPE = "application/problem+json"
SHOWN_CHARACTERS = 64
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

_STATUSES: tuple[tuple[type[GatewayError], int, str], ...] = (
    (KeyReused, 422, "Idempotency key used before"),
    (BodyCutShort, 408, "Request body cut short"),
    (UnsupportedBody, 415, "Unsupported body"),
    (InvalidRequest, 400, "Malformed request"),
    (NotAuthenticated, 401, "Not authenticated"),
    (NotPermitted, 403, "Not permitted"),
    (NotFound, 404, "Not found"),
    (Conflict, 409, "Conflict"),
    (BodyTooLarge, 413, "Body too large"),
    (LimitExceeded, 429, "Limit exceeded"),
    (Unavailable, 503, "Unavailable"),
)


def add_error_handlers(application: FastAPI) -> None:
    """Whatever goes wrong outside the other doors is told as a problem."""
    application.add_exception_handler(GatewayError, _answer_gateway_error)
    application.add_exception_handler(RequestValidationError, _answer_bad_parameters)
    application.add_exception_handler(HTTPException, _answer_http_exception)
    for trouble in CONNECTION_TROUBLE:
        application.add_exception_handler(trouble, _answer_database_trouble)


async def _answer_gateway_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, GatewayError)
    if isinstance(error, InvalidRequest) and error.problems:
        errors = [_to_field_error(problem) for problem in error.problems]
        return _answer_fields(request, error.message, errors)
    status, title = next(
        ((status, title) for kind, status, title in _STATUSES if isinstance(error, kind)),
        (500, "Internal error"),
    )
    response = make_problem(request, status, title=title, detail=error.message, code=error.code)
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
        "instance": shorten(request.url.path),
        "request_id": request_id_of(request),
        **members,
    }
    headers = {"Cache-Control": "no-store"}
    return JSONResponse(problem, status, media_type=PROBLEM_TYPE, headers=headers)


def _answer_fields(request: Request, detail: str, errors: list[dict[str, Any]]) -> JSONResponse:
    return make_problem(
        request,
        422,
        title="Invalid request",
        detail=detail,
        code="invalid_fields",
        errors=errors,
    )


def _to_field_error(problem: FieldProblem) -> dict[str, Any]:
    return {
        "loc": list(problem.loc),
        "code": problem.code,
        "msg": problem.message,
        "ctx": jsonable_encoder(problem.limits),
    }


async def _answer_bad_parameters(request: Request, error: Exception) -> JSONResponse:
    """Faults of the path, the query and the headers, as the framework found them."""
    assert isinstance(error, RequestValidationError)
    errors = [
        {
            "loc": list(item["loc"]),
            "code": item["type"],
            "msg": item["msg"],
            "ctx": {"actual": str(item["input"])[:SHOWN_CHARACTERS]},
        }
        for item in error.errors()[:PROBLEMS_TOLD]
    ]
    detail = "; ".join(
        f"{item['loc'][-1]} is {item['ctx']['actual']!r}: {item['msg']}" for item in errors
    )
    return _answer_fields(request, detail, errors)


async def _answer_http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = {404: "route_not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
    detail = f"{request.method} {shorten(request.url.path)}: {error.detail}"
    response = make_problem(
        request, error.status_code, title=str(error.detail), detail=detail, code=code
    )
    response.headers.update(error.headers or {})
    if "Allow" in response.headers:
        response.headers["Allow"] = ", ".join(_list_methods(request))
    return response


def _list_methods(request: Request) -> list[str]:
    """Every method that is served at the path: each route knows its own only."""
    routes = request.app.router.routes
    return [
        method
        for method in _METHODS
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes
        )
    ]


async def _answer_database_trouble(request: Request, error: Exception) -> JSONResponse:
    trouble = describe_trouble(error)
    log.warning(
        "request.database_lost",
        path=path_for_log(request.scope),
        code=trouble.code,
        error=type(error).__name__,
    )
    response = make_problem(
        request, 503, title="Unavailable", detail=trouble.message, code=trouble.code
    )
    response.headers["Retry-After"] = "1"
    return response


async def answer_bug(request: Request, error: Exception) -> JSONResponse:
    """For what none of the handlers knows; only the log tells more."""
    log.exception("request.failed", path=path_for_log(request.scope), exc_info=error)
    return make_problem(
        request,
        500,
        title="Internal error",
        detail="an error in the gateway; its log has the details under this request_id",
        code="internal_error",
    )
