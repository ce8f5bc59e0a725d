"""Every knob of the emulator, with the upstream's behaviour as the default."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from app.emulator.disturb.faults import FaultRule

_SPAN = re.compile(r"(\d+(?:\.\d+)?)(?:-(\d+(?:\.\d+)?))?")

Span = tuple[float, float]
"""Seconds, from and to: a duration is drawn from it evenly."""


class EventTarget(BaseModel):
    """Where completion events are pushed to, and how badly."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(pattern=r"^https?://\S+$")
    token: str = Field("", repr=False)
    delay_seconds: float = Field(0.0, ge=0)
    """Real seconds from the end of a task to its event."""
    copies: int = Field(1, ge=1, le=10)
    """How many times each event is pushed, one after the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatorOptions:
    """What the stand-in does; times are seconds of the upstream before `time_scale`."""

    keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The keys let in and their accounts; a key without one is an account of its own.

    Without any keys, every key that starts with `sk-` is let in.
    """

    running_slots: int = 5
    """Tasks of one account and model that run at once; the others stay PENDING, in order."""
    queue_limit: int | None = None
    """PENDING tasks of one account and model before 429 Throttling.Concurrency."""
    submits_per_second: int = 5
    calls_per_second: int = 20
    """Queries, lists and cancels of one account, each counted on its own."""
    policies_per_second: int = 100

    create_latency_seconds: Span = (0.05, 0.18)
    call_latency_seconds: Span = (0.012, 0.03)
    pending_seconds: Span = (0.015, 0.05)
    check_seconds: float = 0.1
    """From the start of a task to the verdict on its fields and pictures."""
    running_seconds: Span = (30.0, 75.0)
    hard_timeout_seconds: float = 3 * 3600.0
    time_scale: float = 1.0
    """Multiplies the times above: 0.01 makes a minute last 0.6 seconds."""

    ttl_seconds: float = 24 * 3600.0
    """How long an ended task and its pictures are remembered; never scaled."""
    url_ttl_seconds: float | None = None
    """How long the link to a picture is good; as long as the picture when absent."""
    policy_ttl_seconds: float = 300.0
    upload_ttl_seconds: float = 48 * 3600.0
    fetch_timeout_seconds: float = 10.0

    strict_create: bool = False
    """Bad fields and pictures are refused by the create call instead of failing the task."""
    strict_inputs: bool = False
    """A picture that cannot be fetched fails its task instead of becoming a placeholder."""

    region: str = "cn-beijing"
    clock_skew_seconds: float = 0.0
    """How far ahead of ours the upstream's clock is: every time it tells, `Date` included."""
    public_url: str | None = None
    """Root of the links handed out, `http://host:port`; the caller's Host when absent."""
    font: Path | None = None
    """Font of the captions; a system font or Pillow's own when absent."""
    seed: int | None = None
    """Makes durations and faults repeatable."""
    faults: tuple[FaultRule, ...] = ()
    events: EventTarget | None = None
    events_root: str = ""
    """The emulator's own address, below which receivers find the certificate of the events."""


def parse_span(text: str) -> Span:
    """`"30-75"` or `"30"` as seconds; ValueError when it is neither."""
    match = _SPAN.fullmatch(text)
    low, high = (float(match[1]), float(match[2] or match[1])) if match else (1.0, 0.0)
    if low > high:
        raise ValueError(f"a time is seconds or from-to seconds such as 30-75, not {text!r}")
    return low, high


def parse_key(text: str) -> tuple[str, str]:
    """`KEY=ACCOUNT`, or `KEY` with an empty account: one of its own."""
    key, _, account = text.partition("=")
    if not key:
        raise ValueError("a key is given as KEY or KEY=ACCOUNT, and KEY is empty")
    return key, account
