"""What an edit would cost, and whether it would be accepted: nothing is stored."""

from typing import Literal
from uuid import UUID

from app.billing.money import format_amount
from app.billing.price_store import find_unit_price
from app.billing.prices import UnitPrice
from app.jobs.acceptance import HEAD_START_SECONDS
from app.jobs.queue.board import Board
from app.jobs.queue.standing import foresee_place
from app.jobs.requests.edit import EditRequest, FileImage, Priority, to_file_ref
from app.jobs.view import QueueView, View, to_queue_view
from app.kit.clock import Clock
from app.kit.errors import FieldProblem, InvalidRequest, Unavailable
from app.kit.postgres.database import Pool
from app.media.files.keeping import find_file


class DryRunView(View):
    """What an acceptable request costs when every picture is delivered, and how it would wait."""

    object: Literal["dry_run"] = "dry_run"
    """Always `dry_run`."""
    model: str
    """The upstream's model."""
    n: int
    """How many pictures were asked for."""
    unit_price: str
    """Of one picture."""
    amount: str
    """Of all of them."""
    currency: str
    """ISO 4217."""
    queue: QueueView
    """Where it would stand."""


async def dry_run_edit(
    board: Board, request: EditRequest, *, team_id: UUID, clock: Clock
) -> DryRunView:
    """Price and place a checked request; raises InvalidRequest, or Unavailable without a price."""
    await _check_files(board.pool, request, team_id)
    price = await _get_price(board.pool, request.model, clock)
    head_start_seconds = HEAD_START_SECONDS if request.priority is Priority.INTERACTIVE else 0
    place = await foresee_place(
        board, team_id, request.model, head_start_seconds=head_start_seconds
    )
    return DryRunView(
        model=request.model,
        n=request.n,
        unit_price=format_amount(price.amount),
        amount=format_amount(price.amount * request.n),
        currency=price.currency,
        queue=to_queue_view(place),
    )


async def _check_files(pool: Pool, request: EditRequest, team_id: UUID) -> None:
    problems = [
        FieldProblem(
            ("images", index),
            "file_not_found",
            f"{to_file_ref(image.file_id)} is not a file of yours, or it has expired: upload it "
            "again",
        )
        for index, image in enumerate(request.images)
        if isinstance(image, FileImage) and not await find_file(pool, team_id, image.file_id)
    ]
    if problems:
        raise InvalidRequest.from_problems(tuple(problems))


async def _get_price(pool: Pool, model: str, clock: Clock) -> UnitPrice:
    async with pool.acquire() as connection:
        price = await find_unit_price(connection, model, clock())
    if price is None:
        raise Unavailable(f"{model} has no price: an operator must set one", code="price_unknown")
    return price
