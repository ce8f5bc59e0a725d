"""Orders as clients send them: through the gateway's own API."""

import asyncio
import base64
import io
from collections.abc import Iterator

import httpx
from PIL import Image

from app.bench.rig.seats import Seat

SENDERS = 8
CALL_SECONDS = 30


async def send_orders(url: str, seat: Seat, count: int) -> None:
    """Have that many jobs accepted, in no order in particular."""
    numbers = iter(range(count))
    async with httpx.AsyncClient(
        base_url=url,
        headers={"Authorization": f"Bearer {seat.key}"},
        timeout=CALL_SECONDS,
        trust_env=False,
    ) as http:
        picture = _draw_input()
        await asyncio.gather(
            *(_send_each(http, seat.name, picture, numbers) for _ in range(SENDERS))
        )


async def _send_each(
    http: httpx.AsyncClient, team: str, picture: str, numbers: Iterator[int]
) -> None:
    for number in numbers:
        body = {
            "prompt": f"{team}: make picture {number} blue",
            "images": [picture],
            "size": "768*768",
        }
        (await http.post("/v1/jobs", json=body)).raise_for_status()


def _draw_input() -> str:
    content = io.BytesIO()
    Image.new("RGB", (400, 400), "orange").save(content, "PNG")
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
