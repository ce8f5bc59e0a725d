"""Which jobs a list asks for: typed query parameters, and the store's filter from them."""

import re
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import Request
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, Field

from app.jobs.lifecycle import JobStatus
from app.jobs.lists.query import JobFilter
from app.kit.crypto import Vault
from app.kit.errors import FieldProblem, InvalidRequest
from app.kit.paging import parse_cursor
from app.web.parameters import refuse_unknown_parameters

LIMIT_DEFAULT = 20
LIMIT_HIGHEST = 100
_METADATA_PREFIX = "metadata."
_NUMBER = re.compile(r"[+-]?[\d.]+([eE][+-]?\d+)?")


def _to_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("must be within the years 1 to 9999 in UTC") from None


def _refuse_number(value: object) -> object:
    """Pydantic takes one for seconds since 1970: a year would be half an hour after that."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        raise ValueError("is a number; write a time as 2026-11-28T12:00:00Z")
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_refuse_number), AfterValidator(_to_utc)]


class ListQuery(BaseModel):
    limit: Annotated[
        int,
        Field(ge=1, description=f"jobs a page; above {LIMIT_HIGHEST} it is {LIMIT_HIGHEST}"),
        AfterValidator(lambda limit: min(limit, LIMIT_HIGHEST)),
    ] = LIMIT_DEFAULT
    cursor: Annotated[str | None, Field(description="`next_cursor` of the page before")] = None
    status: Annotated[JobStatus | None, Field(description="only jobs of that status")] = None
    created_after: Annotated[Moment | None, Field(description="from that time on")] = None
    created_before: Annotated[Moment | None, Field(description="before that time")] = None
    key: Annotated[str | None, Field(description="name of the key that sent the job")] = None


def to_filter(query: ListQuery, request: Request, team_id: UUID | None, vault: Vault) -> JobFilter:
    """The store's filter; raises InvalidRequest for what cannot be meant."""
    refuse_unknown_parameters(request, ListQuery.model_fields, prefix=_METADATA_PREFIX)
    metadata = {
        name.removeprefix(_METADATA_PREFIX): value
        for name, value in request.query_params.items()
        if name.startswith(_METADATA_PREFIX)
    }
    _refuse_nul(request)
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


def _refuse_nul(request: Request) -> None:
    problems = [
        FieldProblem(
            ("query", name.replace("\0", "")), "unstorable", "contains a NUL character; remove it"
        )
        for name, value in request.query_params.items()
        if "\0" in name + value
    ]
    if problems:
        raise InvalidRequest.from_problems(tuple(problems))
