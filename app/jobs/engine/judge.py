"""News becomes facts: read the job's state, decide, and write, in one transaction."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from uuid import UUID

import structlog

from app.accounts.evidence.suspicion import Source
from app.accounts.news import Found, News
from app.accounts.paces import learn_run_time, note
from app.dashscope.outcomes import Accepted
from app.dashscope.payloads import TaskStatus
from app.jobs.core.decide import decide
from app.jobs.core.news import to_news, to_task_news
from app.jobs.core.state import Answered, Created, Event, Listed, Rules, Spotted
from app.jobs.engine.states import Standing, lock_standing
from app.jobs.lifecycle import Action, CancelTask, Collect, Fence, Flag, Run
from app.jobs.moves import StaleRun
from app.jobs.record import record
from app.kit.postgres.database import (
    CONNECTION_TROUBLE,
    UNWRITABLE,
    Connection,
    Pool,
    Record,
    UniqueViolation,
    transaction,
)

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

TRIES_LIMIT = 3
"""With news that fails for a reason nobody foresaw."""
RETRY_SECONDS = 0.5

Witness = Callable[[Connection, tuple[Action, ...]], Awaitable[None]]
"""Writes what belongs to a decision into its transaction; not asked where nothing is decided."""


@dataclass(frozen=True, slots=True)
class Judge:
    """Applies the rules to jobs; two of them at once do no harm."""

    pool: Pool
    rules: Rules

    async def hear(
        self, job_id: UUID, event: Event, *, witness: Witness | None = None
    ) -> tuple[Action, ...]:
        """Decide about a job and write what was decided; a CancelTask is left for the caller.

        Raises StaleRun.
        """
        async with transaction(self.pool) as connection:
            standing = await lock_standing(connection, job_id)
            # A task may be taken back from another run, which is locked before the account too.
            is_taken = isinstance(event, Created) and isinstance(event.outcome, Accepted)
            if not is_taken:
                event = await _tell_account(connection, job_id, event)
            run = None if standing is None else standing.run
            now = await connection.fetchval("select clock_timestamp()")
            actions = decide(run, event, now, rules=self.rules)
            fence = _to_fence(job_id, standing, event)
            for action in actions:
                if not isinstance(action, CancelTask):
                    await record(connection, fence, action)
                if isinstance(action, Collect | Run) and standing is not None:
                    await _learn(connection, standing, action)
            if is_taken:
                await _tell_account(connection, job_id, event)
            if actions and witness is not None:
                await witness(connection, actions)
        _log(job_id, actions)
        return actions

    async def hear_surely(self, job_id: UUID, event: Event) -> tuple[Action, ...]:
        """The same for news that exists nowhere else: waits for a lost database.

        News that cannot be written, whatever is wrong with it, flags its job for a person, so that
        the next job's comes through.
        """
        failures = 0
        while True:
            try:
                return await self.hear(job_id, event)
            except StaleRun:
                log.warning("run.stale_news_dropped", job_id=str(job_id))
                return ()
            except CONNECTION_TROUBLE as error:
                await _wait_for_database(job_id, error)
            except UniqueViolation as error:
                if isinstance(event, Listed):
                    log.warning("run.task_taken_meanwhile", job_id=str(job_id))
                    return ()
                return await self._flag_surely(job_id, event, error)
            except UNWRITABLE as error:
                return await self._flag_surely(job_id, event, error)
            except Exception as error:
                failures += 1
                log.exception("record.failed", job_id=str(job_id), failures=failures)
                if failures == TRIES_LIMIT:
                    return await self._flag_surely(job_id, event, error)
                await asyncio.sleep(RETRY_SECONDS)

    async def _flag_surely(
        self, job_id: UUID, event: Event, error: Exception
    ) -> tuple[Action, ...]:
        """Call a person; if even that fails, the log has it, and the list tells of the task."""
        task_id = _find_task(event)
        name = type(error).__name__
        log.error("record.refused", job_id=str(job_id), error=name, task_id=task_id)
        detail = f"{name} while recording it" + (f": task {task_id}" if task_id else "")
        failures = 0
        while failures < TRIES_LIMIT:
            try:
                await self._flag(job_id, event, Flag("answer_unwritable", detail))
                break
            except CONNECTION_TROUBLE as trouble:
                await _wait_for_database(job_id, trouble)
            except Exception:
                failures += 1
                log.exception("record.not_flagged", job_id=str(job_id), task_id=task_id)
                await asyncio.sleep(RETRY_SECONDS)
        return ()

    async def _flag(self, job_id: UUID, event: Event, flag: Flag) -> None:
        async with transaction(self.pool) as connection:
            standing = await lock_standing(connection, job_id)
            if standing is not None:
                with suppress(StaleRun):
                    await record(connection, _to_fence(job_id, standing, event), flag)


async def _wait_for_database(job_id: UUID, error: Exception) -> None:
    log.warning("record.waiting_for_database", job_id=str(job_id), error=type(error).__name__)
    await asyncio.sleep(RETRY_SECONDS)


def _find_task(event: Event) -> str | None:
    """The task that only this news names."""
    match event:
        case Created(outcome=Accepted(task_id)):
            return task_id
    return None


async def _tell_account(connection: Connection, job_id: UUID, event: Event) -> Event:
    """What an attempt's news says of its account is noted even if the job has moved on.

    A refused create comes back with what the account's other jobs tell of it.
    """
    if not isinstance(event, Created | Answered):
        return event
    place = await connection.fetchrow(_FIND_PLACE, job_id, event.attempt)
    news = None if place is None else _read_news(job_id, event, place)
    if place is None or news is None:
        return event
    verdict = await note(
        connection, place["account_id"], place["model"], news, lane_id=place["lane_id"]
    )
    return replace(event, verdict=verdict) if isinstance(event, Created) else event


def _read_news(job_id: UUID, event: Created | Answered, place: Record) -> News | None:
    source = Source(job_id, place["team_id"])
    if isinstance(event, Created):
        sent_at = place["intended_at"]
        return to_news(event.outcome, place["in_flight"], source=source, sent_at=sent_at)
    output = event.answer.output
    if output.task_status is not TaskStatus.FAILED:
        return None
    return to_task_news(output.code or "", output.message or "", source=source)


async def _learn(connection: Connection, standing: Standing, action: Collect | Run) -> None:
    """How long a task ran; or that its account takes creates although the answer was lost."""
    if standing.account_id is None:
        return
    if isinstance(action, Run):
        if action.adopted:
            await note(connection, standing.account_id, standing.model, Found())
        return
    task = action.task
    started_at = task.scheduled_at or task.submitted_at
    if started_at is None or task.ended_at is None:
        return
    seconds = (task.ended_at - started_at).total_seconds()
    await learn_run_time(connection, standing.account_id, standing.model, seconds)


def _to_fence(job_id: UUID, standing: Standing | None, event: Event) -> Fence:
    """The attempt that the news is about; the current one when it is about the job."""
    if isinstance(event, Created | Listed | Answered | Spotted):
        return Fence(job_id, event.attempt)
    return Fence(job_id, 0 if standing is None else standing.run.attempt)


def _log(job_id: UUID, actions: tuple[Action, ...]) -> None:
    if actions:
        names = [type(action).__name__.lower() for action in actions]
        log.info("run.decided", job_id=str(job_id), decisions=names)


_FIND_PLACE = """
select attempts.account_id, attempts.lane_id, attempts.intended_at, jobs.model, jobs.team_id, (
    select count(*) from job_runs as runs
    where runs.account_id = attempts.account_id and runs.model = jobs.model
        and runs.slot is not null
) as in_flight
from attempts join jobs on jobs.id = attempts.job_id
where attempts.job_id = $1 and attempts.number = $2
"""
