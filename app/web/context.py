"""What a handler may ask for: the process's resources, the caller, its own address.

All of them are coroutines: FastAPI takes a plain function to a thread, at each request.
"""

from typing import Annotated

from fastapi import Depends, Request

from app.jobs.links import Links
from app.teams.authenticate import Caller, one_of, read_bearer
from app.web.bodies import BodyBudget
from app.web.patience import patiently
from app.wiring import Doors

READ_JOBS = "jobs:read"
WRITE_JOBS = "jobs:write"


async def get_doors(request: Request) -> Doors:
    doors: Doors = request.app.state.doors
    return doors


async def get_bodies(request: Request) -> BodyBudget:
    bodies: BodyBudget = request.app.state.bodies
    return bodies


async def authenticate(request: Request) -> Caller:
    """The owner of the key that came with the request; raises NotAuthenticated, NotPermitted."""
    credential = read_bearer(
        one_of("Authorization", request.headers.getlist("authorization")),
        one_of("X-API-Key", request.headers.getlist("x-api-key")),
    )
    client_ip = request.client.host if request.client else None
    keys = (await get_doors(request)).keys
    return await patiently(lambda: keys.authenticate(credential, client_ip))


async def authenticate_reader(request: Request) -> Caller:
    caller = await authenticate(request)
    caller.require_scope(READ_JOBS)
    return caller


async def authenticate_writer(request: Request) -> Caller:
    caller = await authenticate(request)
    caller.require_scope(WRITE_JOBS)
    return caller


async def make_links(request: Request) -> Links:
    """Links below the public address; without a configured one, below the one that was asked."""
    base = (await get_doors(request)).base
    address = base.settings.public_url or f"{request.url.scheme}://{request.url.netloc}"
    return Links(base.vault, address.rstrip("/"), base.settings.link_ttl_seconds)


DoorsHere = Annotated[Doors, Depends(get_doors)]
Bodies = Annotated[BodyBudget, Depends(get_bodies)]
Reader = Annotated[Caller, Depends(authenticate_reader)]
Writer = Annotated[Caller, Depends(authenticate_writer)]
LinksHere = Annotated[Links, Depends(make_links)]
