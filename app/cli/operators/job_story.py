"""`job explain`: the whole story of a job, as a timeline."""

import shutil
import sys
import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import typer

from app.cli.context import load_settings
from app.cli.operators.job_reads import AskedJob, parse_id, with_pool
from app.cli.output import AsJson, print_json
from app.jobs.explain.load import load_facts
from app.jobs.explain.phrases import say_clock, say_seconds
from app.jobs.explain.story import PictureStory, Story, tell_story
from app.jobs.explain.timeline import Line
from app.jobs.explain.waits import Reason
from app.kit.postgres.database import Pool

TIME_WIDTH = 25


def explain_job(*, job_id: AskedJob, as_json: AsJson = False) -> None:
    """Tell a job's whole story: each attempt, call, wait and its reason, picture and cost."""
    wanted = parse_id(job_id)

    async def read(pool: Pool) -> Story:
        return tell_story(await load_facts(pool, wanted))

    story = with_pool(load_settings(), read)
    if as_json:
        print_json(story)
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for text in render(story):
        typer.echo(_wrap(text, width))


def render(story: Story) -> Iterator[str]:
    """The story as lines of text, its times in UTC."""
    yield f"Job {story.id} is {story.status}"
    accepted = _say_day(story.created_at)
    yield f"{story.model}, n {story.n}, of team {story.team}; accepted {accepted}"
    yield ""
    for line in story.timeline:
        yield from _render_line(line, story.created_at)
    yield ""
    for picture in story.pictures:
        yield _render_picture(picture)
    yield _render_money(story)
    if story.attention is not None:
        since = story.attention.since
        when = "" if since is None else f" since {_say_day(since)}"
        yield ""
        yield f"A person must look{when}: {story.attention.code}"
        yield from (f"  {step}" for step in story.next_steps)


def _wrap(text: str, width: int | None) -> str:
    """Fit to a terminal, further lines below the first one's words; as it is for a file."""
    if width is None or len(text) <= width:
        return text
    indent = " " * min(TIME_WIDTH, width // 2)
    return textwrap.fill(
        text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _render_line(line: Line, begun_at: datetime) -> Iterator[str]:
    moment = line.at.astimezone(UTC)
    after = say_seconds(timedelta(seconds=line.after_seconds))
    clock = f"{say_clock(moment, begun_at.astimezone(UTC))}.{moment:%f}"[:-3]
    yield f"{clock}  {'+' + after:>9}".ljust(TIME_WIDTH) + line.text
    if line.because:
        waited = say_seconds(timedelta(seconds=line.waited_seconds or 0))
        yield " " * TIME_WIDTH + f"  it waited {waited}:"
        for reason in line.because:
            yield " " * TIME_WIDTH + f"    {_render_reason(reason, begun_at)}"


def _render_reason(reason: Reason, begun_at: datetime) -> str:
    if reason.since is None or reason.until is None:
        return reason.text
    near = begun_at.astimezone(UTC)
    since = say_clock(reason.since.astimezone(UTC), near)
    return f"{since} to {say_clock(reason.until.astimezone(UTC), near)} {reason.text}"


def _render_picture(picture: PictureStory) -> str:
    parts = [f"picture {picture.index}: {picture.status}"]
    if picture.kept_at is not None:
        parts[0] += f" at {_say_day(picture.kept_at)}"
        parts.append(f"{picture.bytes or 0:,} bytes")
    if picture.dies_at is not None:
        risk = f"AT RISK ({picture.risk}), " if picture.risk else ""
        parts.append(f"{risk}its address dies at {_say_day(picture.dies_at)}")
    if picture.troubles:
        parts.append(f"trouble on the way: {picture.troubles}")
    if picture.error_code is not None:
        parts.append(f"{picture.error_code}: {picture.error_message}")
    return ", ".join(parts)


def _render_money(story: Story) -> str:
    money = story.money
    told = (
        f"money: {money.reserved} {money.currency} reserved, {money.captured} captured, "
        f"{money.released} released"
    )
    if money.wasted_image_count:
        pictures = f"{money.wasted_image_count} pictures that no team got"
        told += f"; waste {money.wasted} for {pictures}, paid by the company"
    return told


def _say_day(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
