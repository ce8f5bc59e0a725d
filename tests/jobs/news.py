"""Runs and news as the core's tables of tests have them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from app.dashscope.outcomes import Refused
from app.dashscope.payloads import TaskAnswer
from app.jobs.core.decide import decide
from app.jobs.core.state import (
    Answered,
    Candidate,
    Created,
    Event,
    Listed,
    ListProof,
    Match,
    Rules,
    RunState,
)
from app.jobs.lifecycle import Action, JobStatus

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
PROMPT = "make it blue"
RULES = Rules(settle=timedelta(seconds=70), dice=lambda: 0.5)
JOB_TTL = timedelta(days=7)

QUEUED = RunState(JobStatus.QUEUED, 0, 1, PROMPT, NOON + JOB_TTL)
SUBMITTING = replace(
    QUEUED,
    status=JobStatus.SUBMITTING,
    attempt=1,
    intended_at=NOON,
    holds_lane=True,
    holds_slot=True,
)
RUNNING = replace(SUBMITTING, status=JobStatus.RUNNING, task_id="t-1", holds_lane=False)
ADOPTED = replace(RUNNING, is_adopted=True)
FINALIZING = replace(RUNNING, status=JobStatus.FINALIZING, holds_slot=False)
FAILED_ITEM = {"code": "InternalError.Timeout", "message": "it took too long"}


def hear(run: RunState | None, event: Event, now: datetime = NOON) -> tuple[Action, ...]:
    return decide(run, event, now, rules=RULES)


def refuse(status: int, code: str) -> Refused:
    return Refused(status, code, "no", "r-1")


def create(outcome: Any, run: RunState = SUBMITTING) -> tuple[Action, ...]:
    return hear(run, Created(run.attempt, outcome))


def answer(status: str, *results: dict[str, Any], **output: Any) -> TaskAnswer:
    usage = {"image_count": sum("url" in item for item in results)}
    return TaskAnswer.model_validate(
        {
            "request_id": "r-2",
            "output": {"task_id": "t-1", "task_status": status, "results": results, **output},
            "usage": usage if status == "SUCCEEDED" else None,
        }
    )


def picture(name: str, prompt: str = PROMPT, **more: Any) -> dict[str, Any]:
    return {"url": f"https://result.example/{name}.png", "orig_prompt": prompt, **more}


def query(
    task: TaskAnswer,
    run: RunState = RUNNING,
    *,
    later: timedelta = timedelta(0),
    is_listed: bool = False,
) -> tuple[Action, ...]:
    return hear(run, Answered(run.attempt, task, is_listed=is_listed), NOON + later)


def candidate(name: str, match: Match = Match.UNSEEN, *, is_contested: bool = False) -> Candidate:
    return Candidate(name, f"request-of-{name}", match, is_contested=is_contested)


def look(
    *found: Candidate,
    age: timedelta = SECOND,
    run: RunState = SUBMITTING,
    proof: ListProof = ListProof.FRESH,
) -> tuple[Action, ...]:
    return hear(run, Listed(run.attempt, found, NOON + age, proof), NOON + age)
