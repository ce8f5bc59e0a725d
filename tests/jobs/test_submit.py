"""What comes before a create is sent leaves no doubt about it."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from app.dashscope.client import DashScope
from app.dashscope.outcomes import CreateOutcome
from app.jobs.core.state import Unprepared
from app.jobs.engine.submit import Submission, submit
from app.jobs.lifecycle import Fence
from app.kit.clock import elapsed_seconds
from tests.dashscope.upstreams import PATIENCE_SECONDS, TASK, calling
from tests.media.wire import always, reply, serve

NOON = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)

ReadInput = Callable[[str], Awaitable[bytes]]


async def send(upstream: DashScope, read_input: ReadInput) -> CreateOutcome | Unprepared:
    image: dict[str, Any] = {"store_key": "k", "content_type": "image/png", "sha256": "0" * 64}
    submission = Submission(
        Fence(uuid4(), 1), "m", "p", None, images=(image,), parameters={}, intended_at=NOON
    )
    return await submit(
        upstream,
        submission,
        read_input=read_input,
        send_before=elapsed_seconds() + PATIENCE_SECONDS,
        timeout_seconds=PATIENCE_SECONDS,
    )


@pytest.mark.parametrize("error", [OSError("disk"), RuntimeError("no"), KeyError("content_type")])
async def test_what_goes_wrong_before_the_create_is_known_to_have_sent_none(
    error: Exception,
) -> None:
    """Else the job would be in doubt about a create that was never begun."""

    async def fail(_: str) -> bytes:
        raise error

    taking = always(reply("200 OK", TASK))
    async with serve(taking) as wire, calling(f"http://{wire.host}") as upstream:
        outcome = await send(upstream, fail)

    assert isinstance(outcome, Unprepared)
    assert type(error).__name__ in outcome.reason
    assert wire.requests == []
