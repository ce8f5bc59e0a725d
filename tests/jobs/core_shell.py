"""The shell around the rules as a model: no database, no network.

The rules (`decide`, `advance`, `weigh`, `weigh_list`) are the real ones; what stands here is what
the shell does: look up owners, list, ask, write what was decided.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from app.dashscope.payloads import (
    ListedTask,
    TaskStatus,
)
from app.jobs.core.advance import advance
from app.jobs.core.candidates import (
    ClockSkew,
    OpenCreate,
    Period,
    pick_unattached,
    to_upstream_period,
    weigh,
)
from app.jobs.core.content import match_content
from app.jobs.core.decide import decide
from app.jobs.core.proof import KnownTask, Look, measure_skew, weigh_list
from app.jobs.core.state import (
    Answered,
    Event,
    Listed,
    Match,
    Rules,
    RunState,
    Spotted,
)
from app.jobs.engine.watch import clip
from app.jobs.lifecycle import (
    Action,
    CancelTask,
    Collect,
    Decision,
    Disown,
    Fail,
    JobStatus,
    Orphan,
    Requeue,
    Run,
    Stop,
)
from tests.jobs.upstream_model import Job, ListRefused, Post, Task, Upstream

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
SEND = timedelta(seconds=25)
"""From a claim to the last moment at which its create may be under way."""
SETTLE = timedelta(seconds=60)
RULES = Rules(settle=SEND + SETTLE, dice=lambda: 0.5)
LANES = (0, 1)
SLOTS = 3
LIFE = timedelta(days=3)


class Shell:
    """A gateway and its upstream, with a clock of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOON
        self.jobs: dict[UUID, Job] = {}
        self.posts: list[Post] = []
        self.upstream = Upstream()
        self.orphans: dict[str, tuple[UUID, bool]] = {}
        self.owners: dict[str, UUID] = {}
        self.wasted: dict[str, int] = {}
        self.known: dict[str, KnownTask] = {}
        self.keys_are_told = True
        self.is_dated = True
        self.known_skew: ClockSkew | None = None
        self.lies_until = NOON
        self.mood = "alike"

    # --- the shell's part

    def hear(self, job: Job, event: Event) -> tuple[Action, ...]:
        if job.run is not None and job.run.status is JobStatus.SUBMITTING:
            job.run = replace(job.run, is_awaited=self.is_awaited(job))
        actions = decide(job.run, event, self.now, rules=RULES)
        fence = getattr(event, "attempt", None)
        for action in actions:
            if isinstance(action, Orphan):
                self.note_orphan(job, action)
            elif not isinstance(action, CancelTask):
                self.write(job, action, fence)
        return actions

    def write(self, job: Job, decision: Decision, attempt: int | None) -> None:
        run = job.run
        if run is None or (attempt is not None and run.attempt != attempt):
            return
        if isinstance(decision, Run) and not self.take(job, decision):
            return
        self.write_attempt(job, run, decision)
        if isinstance(decision, Requeue):
            job.queued_at = self.now
        job.run = advance(run, decision, self.now)
        if job.run is not None:
            job.status = job.run.status
        else:
            job.status = decision.status if isinstance(decision, Stop) else JobStatus.FAILED

    def take(self, job: Job, start: Run) -> bool:
        """Make the task the job's own; a guess gives way to whoever has it."""
        owner = self.owners.get(start.task_id)
        if owner is not None:
            if start.adopted:
                return False
            self.take_back(owner, start.task_id)
        self.owners[start.task_id] = job.job_id
        self.wasted.pop(start.task_id, None)
        self.orphans.pop(start.task_id, None)
        return True

    def write_attempt(self, job: Job, run: RunState, decision: Decision) -> None:
        requeue = decision.instead_of if isinstance(decision, Stop) else decision
        match requeue:
            case Run(task_id=task_id, adopted=False) if run.intended_at is not None:
                self.known[task_id] = KnownTask(task_id, run.intended_at, self.now)
            case Disown(task_id=task_id, unclaimed=unclaimed):
                del self.owners[task_id]
                if unclaimed:
                    self.wasted[task_id] = unclaimed
                job.left_out.add(task_id)
            case Collect():
                job.delivered = run.task_id
            case Fail(code="task_lost") if run.task_id:
                job.lost.add(run.task_id)
                self.known.pop(run.task_id, None)
            case Requeue(code="not_created"):
                job.given_up.add(run.attempt)

    def take_back(self, owner: UUID, task_id: str) -> None:
        thief = self.jobs[owner]
        if thief.run is not None and thief.run.task_id == task_id and thief.run.is_adopted:
            self.write(thief, Disown(task_id, "its own create has answered"), None)

    def note_orphan(self, job: Job, orphan: Orphan) -> None:
        if orphan.task_id in self.owners and orphan.task_id not in job.lost:
            return
        self.orphans.setdefault(orphan.task_id, (job.job_id, orphan.is_ours))

    def find_late(self) -> None:
        """Tasks of creates that were given up as never made."""
        listed = self.upstream.list(self.keys_are_told)
        for job in self.jobs.values():
            for attempt, (lane, at) in job.intents.items():
                if attempt not in job.given_up:
                    continue
                create = replace(self.make_open(job, attempt, lane, at), until=at + LIFE)
                known = set(self.owners) | set(self.orphans) | job.left_out
                for task in pick_unattached(create, listed, known):
                    candidate = weigh(create, task, self.read(task, job), self.rivals())
                    if candidate.is_contested:
                        continue
                    is_new = candidate.task_id not in self.wasted
                    if candidate.match is Match.SAME or (
                        candidate.match is Match.UNCLEAR and is_new
                    ):
                        self.orphans[task.task_id] = (job.job_id, False)

    def read(self, task: ListedTask, job: Job) -> Match:
        if not task.status.is_final:
            return Match.UNSEEN
        answer = self.upstream.answer(task.task_id, self.now)
        return match_content(answer, prompt=job.prompt, n=job.n)

    def rivals(self) -> list[OpenCreate]:
        return [
            self.to_open(job)
            for job in self.active()
            if job.run is not None and job.run.status is JobStatus.SUBMITTING
        ]

    def to_open(self, job: Job) -> OpenCreate:
        assert job.run is not None
        lane, at = job.intents[job.run.attempt]
        return self.make_open(job, job.run.attempt, lane, at)

    def make_open(self, job: Job, attempt: int, lane: int, at: datetime) -> OpenCreate:
        key_id = f"key-{lane}" if self.keys_are_told else None
        return OpenCreate(
            job.job_id,
            attempt,
            job.prompt,
            job.n,
            at,
            at + RULES.settle,
            key_id,
            skew=self.skew(),
        )

    def is_awaited(self, job: Job) -> bool:
        """Whether some worker may still wait for the answer: its lease has not ended."""
        assert job.run is not None
        assert job.run.intended_at is not None
        is_known_lost = -job.run.attempt in job.intents
        return not is_known_lost and self.now <= job.run.intended_at + SEND

    # --- what there is

    def active(self) -> list[Job]:
        return [job for job in self.jobs.values() if job.run is not None]

    def in_doubt(self) -> list[Job]:
        """Jobs whose create has made a task, while nobody waits for its answer any more."""
        made = {post.job_id for post in self.posts if post.task is not None and post.is_answered}
        return [
            job
            for job in self.active()
            if job.job_id in made and job.run and job.run.status is JobStatus.SUBMITTING
        ]

    def stoppable(self) -> list[Job]:
        return [job for job in self.active() if job.run and not job.run.is_cancel_asked]

    def unfinished(self) -> list[Task]:
        return [task for task in self.upstream.tasks.values() if not task.status.is_final]

    def open_posts(self) -> list[Post]:
        """Creates that may still make a task: the upstream keeps its word about how late."""
        return [
            post
            for post in self.posts
            if post.task is None
            and (self.mood == "late" or self.now <= post.sent_at + RULES.settle)
        ]

    def silent_posts(self) -> list[Post]:
        return [post for post in self.posts if not post.is_answered]

    def head(self) -> Job | None:
        """The first job that waits."""
        queued = (job for job in self.active() if job.run and job.run.status == "queued")
        return next(queued, None)

    def next_claim(self) -> tuple[Job, int] | None:
        held = {job.lane for job in self.active() if job.run and job.run.holds_lane}
        free = next((lane for lane in LANES if lane not in held), None)
        busy = sum(bool(job.run and job.run.holds_slot) for job in self.active())
        job = self.head()
        return None if job is None or free is None or busy >= SLOTS else (job, free)

    def reconcile(self) -> None:
        """Look up every doubtful create in the list, as two reconcilers may do at once."""
        for job in self.active():
            if job.run is None or job.run.status is not JobStatus.SUBMITTING:
                continue
            if self.is_awaited(job):
                continue
            create = self.to_open(job)
            look = self.read_list(create)
            if look is None:
                continue
            known = (set(self.owners) | set(self.orphans)) | job.left_out
            candidates = tuple(
                weigh(create, task, self.read(task, job), self.rivals())
                for task in pick_unattached(create, look.tasks, known)
            )
            proof = weigh_list(create, look)
            self.hear(job, Listed(job.run.attempt, candidates, self.now, proof))
            self.known_skew = measure_skew(look.known, look.tasks) or self.known_skew

    def read_list(self, create: OpenCreate) -> Look | None:
        """What the list shows of a create's time and of known tasks; None when not had."""
        known = self.find_known()
        skew = self.skew()
        spans = [create.wide_period]
        spans += [to_upstream_period(one.intended_at, one.answered_at, skew) for one in known]
        whole = Period(min(span.since for span in spans), max(span.until for span in spans))
        period = clip(whole, self.now, skew)
        if period is None:
            return None
        try:
            shown = self.upstream.look(
                self.keys_are_told, self.now, since=period.since, until=period.until
            )
        except ListRefused:
            return None
        return Look(period, skew, tuple(shown.rows), shown.is_whole, known)

    def find_known(self) -> tuple[KnownTask, ...]:
        return tuple(
            known
            for known in self.known.values()
            if self.now - known.intended_at < RULES.list_reach
        )

    def skew(self) -> ClockSkew:
        told = ClockSkew(self.upstream.ahead, self.upstream.ahead)
        return (told if self.is_dated else ClockSkew()).including(self.known_skew)

    def look(self) -> None:
        for job in self.active():
            run = job.run
            if run is None or run.status is not JobStatus.RUNNING or run.task_id is None:
                continue
            task = self.upstream.tasks[run.task_id]
            answer = self.upstream.answer(run.task_id, self.now)
            if not answer.output.task_status.is_final:
                for action in self.hear(job, Spotted(run.attempt, task.status)):
                    if isinstance(action, CancelTask) and task.status is TaskStatus.PENDING:
                        task.status = TaskStatus.CANCELED
            self.hear(job, Answered(run.attempt, answer))

    def keep(self) -> None:
        for job in self.active():
            if job.run is not None and job.run.status is JobStatus.FINALIZING:
                job.run, job.status = None, JobStatus.SUCCEEDED
                job.charged = job.n

    def watch_orphans(self) -> None:
        self.find_late()
        for task_id, (job_id, is_ours) in list(self.orphans.items()):
            task = self.upstream.tasks[task_id]
            if task_id in self.wasted:
                continue
            if task.status is TaskStatus.PENDING and is_ours:
                task.status = TaskStatus.CANCELED
            answer = self.upstream.answer(task_id, self.now)
            job = self.jobs[job_id]
            status = answer.output.task_status
            match = match_content(answer, prompt=job.prompt, n=job.n)
            if status is TaskStatus.SUCCEEDED and (is_ours or match is Match.SAME):
                self.wasted[task_id] = task.n
            elif status.is_final and status is not TaskStatus.UNKNOWN and not is_ours:
                self.forget_guess(job, task_id)
                if match is Match.UNCLEAR:
                    self.wasted[task_id] = task.n

    def forget_guess(self, job: Job, task_id: str) -> None:
        """The task is open to the create that made it; what this job's made is unknown again."""
        del self.orphans[task_id]
        job.left_out.add(task_id)
        if task_id in job.lost:
            del self.owners[task_id]
            job.lost.remove(task_id)
            job.given_up.add(max(job.intents))
