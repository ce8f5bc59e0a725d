"""Whose a task is, by what it was asked for (pure): nobody may see another team's picture."""

from app.dashscope.payloads import TaskAnswer, TaskStatus
from app.jobs.core.state import Match


def match_content(answer: TaskAnswer, *, prompt: str, n: int) -> Match:
    """Whether an upstream task was made by a request of this prompt and number of pictures.

    One that is billed and echoes no prompt, or the same with another number of results, cannot be
    told.
    """
    status = answer.output.task_status
    if status in (TaskStatus.FAILED, TaskStatus.CANCELED):
        return Match.NOTHING
    if status is not TaskStatus.SUCCEEDED:
        return Match.UNSEEN
    results = answer.output.results
    echoed = {_fold(item.orig_prompt) for item in results if item.orig_prompt is not None}
    is_same = echoed == {_fold(prompt)}
    if is_same and len(results) == n:
        return Match.SAME
    is_silent = not echoed and answer.image_count > 0
    return Match.UNCLEAR if is_same or is_silent else Match.OTHER


def _fold(prompt: str) -> str:
    """White space aside: to take a trimmed echo for another's would pay for the job twice."""
    return " ".join(prompt.split())
