"""The create of one claimed job: prepare the inputs, send once, say what is known."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog

from app.dashscope.client import DashScope
from app.dashscope.outcomes import CreateOutcome, UpstreamTrouble
from app.dashscope.payloads import DATA_URI_BYTES_LIMIT
from app.dashscope.sending import TooLateToSend
from app.jobs.core.state import Unprepared
from app.jobs.lifecycle import Fence
from app.kit.faultpoints import faultpoint
from app.media.data_uri import to_data_uri
from app.media.store import PictureMissing, StoreUnavailable

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

ReadInput = Callable[[str], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Submission:
    """A claimed job: the intent to submit it stands in the database."""

    fence: Fence
    model: str
    prompt: str
    negative_prompt: str | None
    images: tuple[dict[str, Any], ...]
    parameters: dict[str, Any]
    intended_at: datetime


async def submit(
    upstream: DashScope,
    submission: Submission,
    *,
    read_input: ReadInput,
    send_before: float,
    timeout_seconds: float,
) -> CreateOutcome | Unprepared:
    """Send the create unless `send_before` (by `elapsed_seconds`) has passed.

    The deadline keeps a process that was paused after its claim from sending long after others
    have given the claim up. Inputs that go up by themselves put it off by their size: the create
    is that much smaller, and its claim allows for the largest.
    """
    try:
        images = [
            await _to_wire(upstream, submission.model, image, read_input)
            for image in submission.images
        ]
    except PictureMissing:
        reason = "an input image is no longer in the gateway's store: send the job again"
        return Unprepared(reason, is_input_lost=True)
    except (StoreUnavailable, UpstreamTrouble) as error:
        return Unprepared(f"the inputs could not be prepared: {error}")
    except Exception as error:
        # Nothing was sent yet: that must not become a doubt.
        log.exception("create.not_prepared", job_id=str(submission.fence.job_id))
        return Unprepared(f"the inputs could not be prepared: {type(error).__name__}")
    input_fields: dict[str, Any] = {
        "prompt": submission.prompt,
        "images": [image.url for image in images],
    }
    uploaded_bytes = sum(image.uploaded_bytes for image in images)
    if submission.negative_prompt:
        input_fields["negative_prompt"] = submission.negative_prompt
    faultpoint("create.before_post")
    try:
        return await upstream.create_task(
            submission.model,
            input_fields=input_fields,
            parameters=submission.parameters,
            timeout_seconds=timeout_seconds,
            send_before=send_before + uploaded_bytes / upstream.slowest_bytes_per_second,
        )
    except TooLateToSend:
        return Unprepared("the claim was too old to send")


@dataclass(frozen=True, slots=True)
class WireImage:
    """An input as the upstream is given it, and how much of it went up by itself."""

    url: str = field(repr=False)
    uploaded_bytes: int = 0


async def _to_wire(
    upstream: DashScope, model: str, image: dict[str, Any], read_input: ReadInput
) -> WireImage:
    if "url" in image:
        return WireImage(str(image["url"]))
    content = await read_input(image["store_key"])
    data_uri = await asyncio.to_thread(to_data_uri, content, image["content_type"])
    if len(data_uri) <= DATA_URI_BYTES_LIMIT:
        return WireImage(data_uri)
    extension = image["content_type"].partition("/")[2]
    name = f"{image['sha256']}.{extension}"
    return WireImage(await upstream.upload(content, model=model, name=name), len(content))
