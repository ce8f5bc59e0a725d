"""Whose a task is, by what it was asked for (pure): nobody may see another team's picture."""

from app.dashscope.payloads import TaskAnswer, TaskStatus
from app.jobs.core.state import Match


def match_content(answer: TaskAnswer, *, prompt: str, n: int) -> Match:
    """Whether an upstream task was made by a request of this prompt and number of pictures.

    A task that does not echo its prompt cannot be shown to be anybody's: it is another's.
    """
    status = answer.output.task_status
    if status in (TaskStatus.FAILED, TaskStatus.CANCELED):
        return Match.NOTHING
    if status is not TaskStatus.SUCCEEDED:
        return Match.UNSEEN
    is_same = _read_prompts(answer) == {_fold(prompt)} and len(answer.output.results) == n
    return Match.SAME if is_same else Match.OTHER


def count_unclaimed(answer: TaskAnswer, *, prompt: str) -> int:
    """Images billed for a task that is not shown to be this prompt's, nor to be another's.

    Its number of pictures is not the one that was asked, or it echoes nothing.
    """
    if answer.output.task_status is not TaskStatus.SUCCEEDED:
        return 0
    return answer.image_count if _read_prompts(answer) <= {_fold(prompt)} else 0


def _read_prompts(answer: TaskAnswer) -> set[str]:
    results = answer.output.results
    return {_fold(item.orig_prompt) for item in results if item.orig_prompt is not None}


def _fold(prompt: str) -> str:
    """White space aside: to take a trimmed echo for another's would pay for the job twice."""
    return " ".join(prompt.split())
