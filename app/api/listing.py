"""Which jobs a list asks for: typed query parameters, and the store's filter from them."""

from typing import Annotated
from uuid import UUID

from fastapi import Request
from pydantic import AwareDatetime, BaseModel, Field

from app.jobs.lifecycle import JobStatus
from app.jobs.store import JobFilter
from app.kit.crypto import Vault
from app.kit.errors import FieldProblem, InvalidRequest
from app.kit.paging import parse_cursor

LIMIT_DEFAULT = 20
LIMIT_HIGHEST = 100
_METADATA_PREFIX = "metadata."


class ListQuery(BaseModel):
    limit: Annotated[int, Field(ge=1, le=LIMIT_HIGHEST)] = LIMIT_DEFAULT
    cursor: Annotated[str | None, Field(description="`next_cursor` of the page before")] = None
    status: JobStatus | None = None
    created_after: AwareDatetime | None = None
    created_before: AwareDatetime | None = None
    key: Annotated[str | None, Field(description="name of the key that sent the job")] = None


def to_filter(query: ListQuery, request: Request, team_id: UUID | None, vault: Vault) -> JobFilter:
    """The store's filter; raises InvalidRequest for a cursor or text that cannot be."""
    metadata = {
        name.removeprefix(_METADATA_PREFIX): value
        for name, value in request.query_params.items()
        if name.startswith(_METADATA_PREFIX)
    }
    _refuse_nul({"key": query.key or "", **metadata})
    before = None if query.cursor is None else UUID(parse_cursor(vault, query.cursor))
    return JobFilter(
        team_id=team_id,
        statuses=(query.status,) if query.status else (),
        created_after=query.created_after,
        created_before=query.created_before,
        key_name=query.key,
        metadata=metadata or None,
        before_id=before,
    )


def _refuse_nul(values: dict[str, str]) -> None:
    for name, value in values.items():
        if "\0" in name + value:
            problem = FieldProblem((name.replace("\0", ""),), "bad_character", "holds a NUL")
            raise InvalidRequest.from_problems((problem,))
