"""Health, readiness and the offline documentation page."""

import asyncio
from importlib.resources import files

from asyncpg import PostgresError
from fastapi import APIRouter, FastAPI
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from app.kit.postgres.database import CONNECTION_TROUBLE, Pool
from app.web.context import DoorsHere
from app.wiring import SchemaNotReady, require_schema

DOCS_ASSETS = "/docs/assets"
READY_SECONDS = 3.0
"""A database that takes longer to answer is as good as none."""
CONTENT_POLICY = (
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "frame-ancestors 'none'; base-uri 'none'"
)

_PAGE = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Dashgate API</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="{DOCS_ASSETS}/favicon.png">
<link rel="stylesheet" href="{DOCS_ASSETS}/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="{DOCS_ASSETS}/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""

_START = """SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  docExpansion: "list",
  persistAuthorization: false,
  validatorUrl: null,
});
"""

router = APIRouter(include_in_schema=False)


@router.head("/healthz")
@router.get("/healthz")
async def tell_health() -> JSONResponse:
    """The process answers."""
    return JSONResponse({"status": "ok"})


@router.head("/readyz")
@router.get("/readyz")
async def tell_readiness(doors: DoorsHere) -> JSONResponse:
    """The database answers and has the schema that this code needs."""
    try:
        await _check_schema(doors.base.pool)
    except (*CONNECTION_TROUBLE, PostgresError) as error:
        reason = f"the database cannot be used ({type(error).__name__})"
        return JSONResponse({"status": "unavailable", "reason": reason}, 503)
    except SchemaNotReady as error:
        return JSONResponse({"status": "unavailable", "reason": str(error)}, 503)
    return JSONResponse({"status": "ok"})


async def _check_schema(pool: Pool) -> None:
    """Raises TimeoutError without waiting for a hung connection to be given up."""
    check = asyncio.create_task(require_schema(pool))
    done, _ = await asyncio.wait((check,), timeout=READY_SECONDS)
    if not done:
        check.add_done_callback(lambda late: late.cancelled() or late.exception())
        check.cancel()
        raise TimeoutError
    await check


@router.get("/")
@router.get("/docs/")
async def lead_to_docs() -> RedirectResponse:
    """Where somebody looks who has only the address."""
    return RedirectResponse("/docs")


@router.get("/docs")
async def show_docs() -> HTMLResponse:
    """The API explorer; nothing on it comes from another host."""
    return HTMLResponse(_PAGE, headers={"Content-Security-Policy": CONTENT_POLICY})


@router.get("/docs/start.js")
async def start_docs() -> Response:
    return Response(_START, media_type="text/javascript")


def mount_docs_assets(application: FastAPI) -> None:
    assets = str(files("fastapi_offline") / "static")
    application.mount(DOCS_ASSETS, StaticFiles(directory=assets), name="docs")
