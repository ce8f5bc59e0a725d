"""The DashScope door as one application, mounted where the SDKs' base URL ends."""

from fastapi import FastAPI

from app.dashscope_api import create, tasks, uploads
from app.dashscope_api.errors import add_error_handlers

MOUNT_PATH = "/api/v1"


def make_door() -> FastAPI:
    """Whoever mounts it sets `doors` and `bodies` of its state."""
    door = FastAPI(openapi_url=None, redirect_slashes=False)
    door.include_router(create.router)
    door.include_router(tasks.router)
    door.include_router(uploads.router)
    add_error_handlers(door)
    return door
