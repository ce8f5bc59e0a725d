"""The API process: its doors, their errors, what lives as long as it does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from app import __version__
from app.api import jobs, metrics, pictures, plain
from app.api.documents import Problem
from app.api.errors import add_error_handlers, answer_bug
from app.dashscope.certificates import Certificates
from app.dashscope_api.documents import describe_door
from app.dashscope_api.door import MOUNT_PATH, make_door
from app.hooks import eventbridge
from app.kit.logs import configure_logs
from app.settings import Settings
from app.web.bodies import BodyBudget
from app.web.request_ids import RequestIds
from app.web.stopping import noticing_stop
from app.wiring import look_at_store, open_doors, open_resources, require_schema

DESCRIPTION = (
    "Edits images through Alibaba Cloud Model Studio: accepted jobs run once, their pictures are "
    "kept. DashScope SDKs work unmodified with the base URL `/api/v1` of this host."
)


def create_app(settings: Settings | None = None) -> FastAPI:
    """For `uvicorn --factory app.main:create_app`; settings come from the environment."""
    chosen = settings or Settings()
    configure_logs(level=chosen.log_level, as_json=chosen.log_format == "json")
    dashscope_door = make_door()

    @asynccontextmanager
    async def live(application: FastAPI) -> AsyncIterator[None]:
        bodies = BodyBudget(
            limit_bytes=chosen.max_body_bytes, budget_bytes=chosen.body_memory_bytes
        )
        async with open_resources(chosen) as base:
            await require_schema(base.pool)
            await look_at_store(base.store)
            with noticing_stop() as stopping:
                async with open_doors(base, stopping) as doors:
                    for door in (application, dashscope_door):
                        door.state.doors = doors
                        door.state.bodies = bodies
                    yield

    application = FastAPI(
        title="Dashgate",
        version=__version__,
        description=DESCRIPTION,
        lifespan=live,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    application.add_middleware(RequestIds, answer_bug=answer_bug)
    application.include_router(jobs.router)
    application.include_router(pictures.router)
    application.include_router(plain.router)
    application.include_router(metrics.make_metrics_router())
    _add_hooks(application, chosen)
    plain.mount_docs_assets(application)
    application.mount(MOUNT_PATH, dashscope_door)
    add_error_handlers(application)
    _complete_document(application)
    return application


def _add_hooks(application: FastAPI, settings: Settings) -> None:
    """The doors for what comes unasked, each only with the secret that it is guarded by."""
    if settings.eventbridge_token is not None:
        certificates = Certificates(settings.eventbridge_certificate_url)
        desk = eventbridge.EventDesk(settings.eventbridge_token, certificates)
        application.state.event_desk = desk
        application.include_router(eventbridge.router)


def _complete_document(application: FastAPI) -> None:
    """Add what the routes cannot say: the problem's shape, and how a caller signs in."""
    document = application.openapi()
    components = document.setdefault("components", {})
    components.setdefault("schemas", {})["Problem"] = Problem.model_json_schema()
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"key": []}]
    document["paths"] = describe_door(MOUNT_PATH) | document["paths"]
