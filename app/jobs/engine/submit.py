"""The create of one claimed job: prepare the inputs, send once, say what is known."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.dashscope.client import DashScope, UpstreamTrouble
from app.dashscope.outcomes import CreateOutcome
from app.dashscope.payloads import DATA_URI_BYTES_LIMIT
from app.dashscope.sending import TooLateToSend
from app.jobs.core.state import Unprepared
from app.jobs.lifecycle import Fence
from app.kit.faultpoints import faultpoint
from app.media.data_uri import to_data_uri
from app.media.store import PictureMissing, StoreUnavailable

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
    have given the claim up.
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
    input_fields: dict[str, Any] = {"prompt": submission.prompt, "images": images}
    if submission.negative_prompt:
        input_fields["negative_prompt"] = submission.negative_prompt
    faultpoint("create.before_post")
    try:
        return await upstream.create_task(
            submission.model,
            input_fields=input_fields,
            parameters=submission.parameters,
            timeout_seconds=timeout_seconds,
            send_before=send_before,
        )
    except TooLateToSend:
        return Unprepared("the claim was too old to send")


async def _to_wire(
    upstream: DashScope, model: str, image: dict[str, Any], read_input: ReadInput
) -> str:
    if "url" in image:
        return str(image["url"])
    content = await read_input(image["store_key"])
    data_uri = await asyncio.to_thread(to_data_uri, content, image["content_type"])
    if len(data_uri) <= DATA_URI_BYTES_LIMIT:
        return data_uri
    extension = image["content_type"].partition("/")[2]
    return await upstream.upload(content, model=model, name=f"{image['sha256']}.{extension}")
