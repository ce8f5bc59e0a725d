"""The answer to an accepted edit: from here on nothing may turn it into an error.

A client that is told to send its request again, after the job was stored, makes a second job.
"""

from fastapi.responses import JSONResponse

from app.billing.money import format_amount
from app.jobs.accepting.outcomes import Acceptance
from app.jobs.lifecycle import JobStatus
from app.jobs.requests.edit import EditRequest
from app.jobs.view import JobView, UsageView, to_public
from app.teams.authenticate import Caller


def answer_as_known(acceptance: Acceptance, asked: EditRequest, caller: Caller) -> JSONResponse:
    """202 with the job as acceptance saw it, for when it cannot be read again."""
    return JSONResponse(_as_known(acceptance, asked, caller), 202)


def _as_known(acceptance: Acceptance, asked: EditRequest, caller: Caller) -> dict[str, object]:
    seen = acceptance.seen
    if seen is None:
        return {"id": str(acceptance.job_id), "object": "job", "status": "queued"}
    status = JobStatus(seen.status)
    view = JobView(
        id=str(acceptance.job_id),
        # How it has ended is told with its pictures and its cost, which are not at hand.
        status=JobStatus.FINALIZING if status.is_final else status,
        model=asked.model,
        prompt=asked.prompt,
        negative_prompt=asked.negative_prompt,
        n=asked.n,
        size=asked.size,
        seed=asked.seed,
        watermark=asked.watermark,
        prompt_extend=asked.prompt_extend,
        priority=asked.priority,
        created_at=seen.created_at,
        expires_at=seen.expires_at,
        submitted_at=None,
        finished_at=None,
        pictures=[],
        usage=UsageView(
            image_count=0,
            amount=format_amount(0 * seen.unit_price),
            currency=seen.currency,
        ),
        error=None,
        queue=None,
        attention=None,
        metadata=asked.metadata,
        team=caller.team_name or "",
        key=caller.key_name,
    )
    return to_public(view)
