"""Jobs that a restored backup had on their way: none is sent anew unasked (pure).

The backup knows nothing of what was sent after it. A job whose attempt of then has come to
nothing may have been sent again since, and a create that is repeated is billed twice.
"""

from dataclasses import replace
from datetime import datetime

from app.jobs.core.state import RunState
from app.jobs.lifecycle import Action, Flag, Requeue

RESTORED_CODE = "restored"
"""Of a job that a person must let go on; and of an attempt that was under way in the backup."""

RESTORED_DETAIL = (
    "the database was restored from a backup, and this job may have been sent after that backup "
    "was made: look for its prompt among the upstream's tasks, then type `job requeue` with its "
    "id to send it, or `job cancel`"
)


def hold_restored(run: RunState, actions: tuple[Action, ...], now: datetime) -> tuple[Action, ...]:
    """A job that would go back into the queue waits there for a person, or for its end."""
    for action in actions:
        if isinstance(action, Requeue):
            left_seconds = max((run.expires_at - now).total_seconds(), 0.0)
            held = replace(action, delay_seconds=left_seconds, keeps_attention=True)
            others = tuple(one for one in actions if not isinstance(one, Requeue | Flag))
            return (held, Flag(RESTORED_CODE, RESTORED_DETAIL), *others)
    return actions
