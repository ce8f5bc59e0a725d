"""What a storm is let loose on: a gateway with its processes, its door and its books."""

import io
import random
from collections.abc import Mapping, Sequence
from typing import Protocol

import httpx
from PIL import Image

from app.bench.storm.crew import Command
from app.bench.storm.ledgers import Books
from app.bench.storm.plan import Order
from app.bench.storm.stillness import Standing
from app.emulator import EmulatorOptions
from app.media.data_uri import to_data_uri

ACCOUNT_KEYS = {
    "east": ("sk-east-storm-1", "sk-east-storm-2"),
    "west": ("sk-west-storm-1", "sk-west-storm-2", "sk-west-storm-3"),
}
"""The upstream accounts and their API keys: each key is a lane."""
SLOTS = 5
SUBMIT_RATE = 20
HEAVY_SIDE = 720

UPSTREAM = EmulatorOptions(
    keys={key: account for account, keys in ACCOUNT_KEYS.items() for key in keys},
    running_slots=SLOTS,
    submits_per_second=2 * SUBMIT_RATE,
    calls_per_second=200,
    create_latency_seconds=(0.02, 0.06),
    call_latency_seconds=(0.002, 0.01),
    check_seconds=0.05,
    running_seconds=(0.3, 1.5),
)


class Lost(Exception):
    """Whether the call had an effect is not known to the client."""


class NotSent(Exception):
    """The call certainly had none."""


class Contender(Protocol):
    """A gateway under test."""

    @property
    def commands(self) -> Mapping[str, Command]:
        """Its processes by name."""

    @property
    def environment(self) -> Mapping[str, str]:
        """Of its processes."""

    async def furnish(self) -> None:
        """Make what the orders need: accounts, teams and keys."""

    async def is_ready(self, http: httpx.AsyncClient) -> bool:
        """Whether it takes orders already."""

    async def submit(self, http: httpx.AsyncClient, order: Order) -> str:
        """The id of the accepted job; raises Lost or NotSent."""

    async def cancel(self, http: httpx.AsyncClient, team: int, job_id: str) -> None:
        """Ask for a cancel; raises Lost or NotSent."""

    async def find_final_status(
        self, http: httpx.AsyncClient, team: int, job_id: str
    ) -> str | None:
        """How the job has ended, as its owner is told; raises Lost or NotSent."""

    async def fetch_pictures(
        self, http: httpx.AsyncClient, team: int, job_id: str
    ) -> tuple[bytes, ...]:
        """What the job's owner gets; raises Lost or NotSent."""

    async def is_at_rest(self) -> bool:
        """Whether nothing goes on any more."""

    async def list_standing(self) -> Sequence[Standing]:
        """The jobs that have not ended, and who is called for them."""

    async def read_books(self) -> Books:
        """All of its books."""

    async def tell_story(self, job_id: str) -> tuple[str, ...]:
        """What has happened to a job, a line each; nothing when it keeps no such story."""


def draw_input() -> str:
    """The picture that every order wants edited, as a data URI."""
    content = io.BytesIO()
    Image.new("RGB", (400, 400), "orange").save(content, "PNG")
    return to_data_uri(content.getvalue(), "image/png")


def draw_heavy_input() -> str:
    """A picture of two megabytes that no compression makes smaller, as a data URI."""
    side = HEAVY_SIDE
    content = io.BytesIO()
    noise = random.Random(side).randbytes(3 * side * side)  # noqa: S311
    Image.frombytes("RGB", (side, side), noise).save(content, "PNG", compress_level=1)
    return to_data_uri(content.getvalue(), "image/png")
