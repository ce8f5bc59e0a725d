"""What a person can do about a job now, as the command to type (pure)."""

from uuid import UUID

from app import PROGRAM
from app.jobs.lifecycle import JobStatus

_ELSEWHERE = {
    "store_unavailable": (
        "Our own store does not take the picture: make room or mend the mount; it is tried on "
        "and nothing is lost by that alone."
    ),
    "picture_not_fetched": (
        "The download fails: read the detail. A host that is not allowed goes into "
        "DASHGATE_RESULT_HOSTS if it is the upstream's (the setting replaces the default list; "
        "restart the workers then); a network must be mended. The picture is given up 24 h "
        "after its URL's end."
    ),
    "pictures_at_risk": (
        "Time runs out for pictures that are paid for: does a worker run, has the store room, "
        "are the result hosts reached?"
    ),
    "picture_not_whole": "What came was damaged: mostly passing; else a proxy alters bodies.",
    "picture_not_kept": (
        "An error in the gateway keeps it from the picture: report the log line "
        "`pictures.keeping_failed`."
    ),
    "cannot_be_sent": (
        "Its create does not reach the upstream whole: the detail says why. A slow line, the "
        "store of inputs or the upload must be mended; it is tried on until it expires."
    ),
    "account_refuses": (
        f"Either the account has lost its right to the model (`{PROGRAM} account list`; mend it "
        f"at Alibaba, then `{PROGRAM} account resume NAME`), or the request draws the refusal: "
        "then it fails by itself as soon as another job is taken."
    ),
    "restored": (
        "The database came out of a backup, and what was sent later is not in it. The upstream's "
        "own console lists its tasks for 24 hours: is there one with this job's prompt? Then it "
        "was sent, and its pictures are paid for; sent once more, they are paid for twice."
    ),
    "answer_unwritable": (
        "The upstream's answer holds what no table takes: report the log line `record.refused`."
    ),
}


def find_next_steps(
    job_id: UUID, status: JobStatus, attention_code: str | None, *, is_cancel_asked: bool = False
) -> tuple[str, ...]:
    """One sentence or command each; none when nothing is to be done."""
    if attention_code is None or status.is_final:
        return ()
    match status:
        case JobStatus.SUBMITTING | JobStatus.RUNNING:
            return (*_look(attention_code), *_give_up(job_id, is_cancel_asked))
        case JobStatus.FINALIZING:
            mended = f'Then, to try at once: {PROGRAM} job requeue {job_id} --reason "mended"'
            return (*_look(attention_code), mended)
        case JobStatus.QUEUED:
            return (
                *_look(attention_code),
                f'To try at once: {PROGRAM} job requeue {job_id} --reason "mended"',
                f"Not wanted any more: {PROGRAM} job cancel {job_id} (free)",
            )
    return _look(attention_code)


def _look(code: str) -> tuple[str, ...]:
    match code:
        case "submission_unknown":
            return (
                "Query the tasks that the detail names with the account's own key: its "
                "orig_prompt says whose a task is. The gateway keeps looking, and adopts what "
                "it can be sure of.",
            )
        case "task_unknown":
            return (
                "Nothing, mostly: the task is asked for on, and the job fails free with "
                "task_lost when the upstream does not remember.",
            )
        case _ if code in _ELSEWHERE:
            return (_ELSEWHERE[code],)
    return ()


def _give_up(job_id: UUID, is_cancel_asked: bool) -> tuple[str, ...]:
    requeue = f'{PROGRAM} job requeue {job_id} --reason "TEXT"'
    if is_cancel_asked:
        return (f"To end it now, free for its team: {requeue}",)
    return (
        f"No task is this job's, or its task is gone: {requeue} (it says what that may cost, "
        "and how to agree: it is sent once more)",
        f"Not wanted any more: {PROGRAM} job cancel {job_id}, then that requeue ends it free.",
    )
