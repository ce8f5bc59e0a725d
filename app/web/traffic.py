"""Requests by route and status, and how long their answers took: for scrapers.

A route is named as it was declared, so that no path of a stranger makes a series of its own.
"""

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.types import Scope

registry = CollectorRegistry()
"""Of this process."""

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_OTHER = "other"

_requests = Counter(
    "dashgate_http_requests",
    "Requests that were answered.",
    ("route", "method", "status"),
    registry=registry,
)
_seconds = Histogram(
    "dashgate_http_request_duration_seconds",
    "From a request's head to the head of its answer; a wait that was asked for counts.",
    ("route",),
    buckets=_BUCKETS,
    registry=registry,
)


def note_answer(scope: Scope, status: int, seconds: float) -> None:
    route, method = _name_route(scope), scope["method"]
    _requests.labels(route, method if method in _METHODS else _OTHER, str(status)).inc()
    _seconds.labels(route).observe(seconds)


def _name_route(scope: Scope) -> str:
    route: Any = scope.get("route")
    path = getattr(route, "path", None)
    return f"{scope.get('root_path', '')}{path}" if path else _OTHER
