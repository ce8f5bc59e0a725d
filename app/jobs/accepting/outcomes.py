"""What becomes of a create: the job that answers it, or why it has none."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from app.kit.errors import GatewayError, InvalidRequest, Unavailable


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A client's own key, or a guard against a create that an SDK sends again by itself."""

    key: str
    fingerprint: bytes
    guard_owner: int | None = None
    is_abandoned: Callable[[], Awaitable[bool]] | None = field(default=None, compare=False)
    """Whether nobody waits for this request any more, so that it need not make a job."""

    async def is_left(self) -> bool:
        return self.is_abandoned is not None and await self.is_abandoned()


@dataclass(frozen=True, slots=True)
class NewJob:
    """A checked request on its way into the database; `row` is its columns as JSON."""

    id: UUID
    team_id: UUID
    model: str
    row: dict[str, Any]
    idempotency: Idempotency | None
    input_ids: tuple[UUID, ...] = ()
    """The files that must stay for as long as the job may need them."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What acceptance saw of the job: enough to answer when it cannot be read again."""

    status: str
    created_at: datetime
    expires_at: datetime
    unit_price: Decimal
    currency: str


@dataclass(frozen=True, slots=True)
class Acceptance:
    """The job that answers a request; replayed when an earlier request made it."""

    job_id: UUID
    replayed: bool = False
    seen: Seen | None = field(default=None, compare=False)


Outcome = Acceptance | GatewayError


class KeyReused(InvalidRequest):
    """An idempotency key that stands for another request."""

    code = "idempotency_key_reuse"


class StillAnswering(Unavailable):
    """An equal create is being answered: only its end tells whether this one is meant."""

    code = "still_answering"


class Abandoned(Unavailable):
    """A request whose client left before it was stored, and sent it again."""

    code = "abandoned"
