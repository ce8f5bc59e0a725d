"""A gateway and an upstream on a clock of their own, for the rules to be tried on.

No database, no network. The rules (`decide`, `advance`, `weigh`) are the real ones; what the
machine itself does is what the shell does: look up owners, list, ask, write what was decided.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from app.dashscope.outcomes import Accepted, OutcomeUnknown, Refused
from app.dashscope.payloads import (
    ListedTask,
    TaskStatus,
)
from app.jobs.core.advance import advance
from app.jobs.core.candidates import (
    CLOCK_MARGIN,
    ClockSkew,
    OpenCreate,
    Period,
    pick_unattached,
    to_upstream_period,
    weigh,
)
from app.jobs.core.content import match_content
from app.jobs.core.deadlines import REVIEW_GRACE
from app.jobs.core.decide import decide
from app.jobs.core.doubts import REVIEW_CODE
from app.jobs.core.proof import KnownTask, Look, measure_skew, weigh_list
from app.jobs.core.state import (
    Answered,
    CancelAsked,
    Created,
    Event,
    Listed,
    Match,
    Rules,
    RunState,
    Spotted,
    Ticked,
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
from tests.jobs.upstream_model import Job, Lie, ListRefused, Post, Task, Upstream, choose

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
SEND = timedelta(seconds=25)
"""From a claim to the last moment at which its create may be under way."""
SETTLE = timedelta(seconds=60)
RULES = Rules(settle=SEND + SETTLE, dice=lambda: 0.5)
LANES = (0, 1)
SLOTS = 3
JOBS_LIMIT = 4
CALM_STEPS = 40
MOODS = ("alike", "distinct", "late")
LIFE = timedelta(days=3)
AHEAD_SECONDS = (0, 45, 300, -300)
"""By how much the upstream's clock may be before ours."""
LIES = tuple(Lie)
LAGS_SECONDS = (60, 500)
"""A stale list is no older than `stale_after`: that is what this promise rests on."""
PICK = st.integers(0, 11)


class EngineMachine(RuleBasedStateMachine):
    """Submits, replies, lost replies, late creations, crashes, stale workers, cancels, expiry.

    The clocks differ, and for a while the list is empty, stale, refused, spoilt or misfiltered.
    """

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

    # --- what clients and time do

    @precondition(lambda self: len(self.active()) < JOBS_LIMIT)
    @rule(prompt=st.sampled_from("ab"), n=st.integers(1, 2))
    def submit_another(self, prompt: str, n: int) -> None:
        self.submit(prompt, n)

    def submit(self, prompt: str, n: int) -> None:
        job_id = UUID(int=len(self.jobs) + 1)
        if self.mood != "alike":
            prompt = f"{prompt}{job_id}"
        run = RunState(
            status=JobStatus.QUEUED, attempt=0, n=n, prompt=prompt, expires_at=self.now + LIFE
        )
        self.jobs[job_id] = Job(job_id, prompt, n, run, queued_at=self.now)
        self.claim_all()

    @rule(seconds=st.sampled_from((1, 30, 90, 4_000)))
    def tick(self, seconds: int) -> None:
        """Time passes, and whatever runs in the background does so before and after."""
        self.run_loops()
        self.now += timedelta(seconds=seconds)
        if self.now >= self.lies_until:
            self.upstream.lie = None
        self.run_loops()
        self.pass_time()
        self.nobody_stands_still_in_silence()

    def run_loops(self) -> None:
        self.pass_time()
        self.reconcile()
        self.look()
        self.keep()
        self.watch_orphans()
        self.claim_all()

    def pass_time(self) -> None:
        for job in self.active():
            self.hear(job, Ticked())
        head = self.head()
        if head is not None and self.now - head.queued_at > RULES.start_within:
            self.hear(head, Ticked(is_next=True))

    @rule(
        lie=st.sampled_from(LIES),
        lag=st.sampled_from(LAGS_SECONDS),
        pick=PICK,
        settles=st.sampled_from((2, 10)),
    )
    def list_lies(self, lie: Lie, lag: int, pick: int, settles: int = 2) -> None:
        """For some times as long as a create is waited for.

        One that omits tasks omits one that we know as well: of nothing else it could be caught.
        """
        tasks = list(self.upstream.tasks)
        hidden = tasks[pick % len(tasks) :] if tasks else []
        if lie is Lie.OMITS and not set(hidden) & set(self.known):
            return
        self.upstream.lie, self.upstream.lag = lie, timedelta(seconds=lag)
        self.upstream.hidden = frozenset(hidden)
        self.lies_until = self.now + settles * RULES.settle

    @precondition(lambda self: self.stoppable())
    @rule(pick=PICK)
    def cancel(self, pick: int) -> None:
        self.hear(choose(self.stoppable(), pick), CancelAsked())

    @initialize(
        told=st.booleans(),
        words=st.sampled_from(("aa", "ab", "aab")),
        mood=st.sampled_from(MOODS),
        ahead=st.sampled_from(AHEAD_SECONDS),
        dated=st.booleans(),
    )
    def begin(self, told: bool, words: str, mood: str, ahead: int = 0, dated: bool = True) -> None:
        """Whether the upstream's list tells the API keys of its tasks is the upstream's affair.

        So is its clock; its answers tell it, unless something between us strips their date.

        `alike`: jobs share their words. `distinct`: no two do. `late`: the upstream breaks its
        word on how late it makes a task; then a job may be billed twice, and words that are like
        another's might be taken for it, so that no two share them.
        """
        self.keys_are_told = told
        self.is_dated = dated
        self.upstream.ahead = timedelta(seconds=ahead)
        self.mood = mood
        for prompt in words:
            self.submit(prompt, 1)

    # --- what workers do

    def claim_all(self) -> None:
        """Intents are committed as long as lanes, slots and jobs last."""
        while (claim := self.next_claim()) is not None:
            job, lane = claim
            self.posts.append(self.claim(job, lane))

    def claim(self, job: Job, lane: int) -> Post:
        assert job.run is not None
        attempt = job.run.attempt + 1
        job.run = replace(
            job.run,
            status=JobStatus.SUBMITTING,
            attempt=attempt,
            intended_at=self.now,
            is_awaited=True,
            unlisted_at=None,
            holds_lane=True,
            holds_slot=True,
        )
        job.lane, job.status = lane, JobStatus.SUBMITTING
        job.intents[attempt] = (lane, self.now)
        return Post(job.job_id, attempt, lane, self.now)

    @precondition(lambda self: self.open_posts())
    @rule(pick=PICK)
    def upstream_takes(self, pick: int) -> None:
        """The task is made: at once or late, while anybody waits for the answer or not."""
        post = choose(self.open_posts(), pick)
        post.task = self.upstream.make(post, self.jobs[post.job_id], self.now)

    @precondition(lambda self: self.silent_posts())
    @rule(pick=PICK)
    def reply_comes(self, pick: int) -> None:
        """The answer arrives: in time, or at a worker that slept through its claim's end."""
        post = choose(self.silent_posts(), pick)
        post.is_answered = True
        if post.task is not None:
            outcome = Accepted(post.task.task_id, "request")
            self.hear(self.jobs[post.job_id], Created(post.attempt, outcome))
        elif self.now > post.sent_at + SEND:
            return
        else:
            self.posts.remove(post)
            code = choose(("Throttling", "InternalError", "InvalidParameter"), pick)
            refused = Refused(400, code, "no", "request")
            self.hear(self.jobs[post.job_id], Created(post.attempt, refused))

    @precondition(lambda self: self.silent_posts())
    @rule(pick=PICK, notices=st.booleans())
    def reply_is_lost(self, pick: int, notices: bool) -> None:
        post = choose(self.silent_posts(), pick)
        post.is_answered = True
        if notices:
            lost = OutcomeUnknown("reset")
            self.hear(self.jobs[post.job_id], Created(post.attempt, lost))
            job = self.jobs[post.job_id]
            if job.run is not None and job.run.attempt == post.attempt:
                job.intents[-post.attempt] = (post.lane, self.now)

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
        spans = [create.period]
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
        for task_id, (job_id, is_ours) in self.orphans.items():
            task = self.upstream.tasks[task_id]
            if task_id in self.wasted:
                continue
            if task.status is TaskStatus.PENDING and is_ours:
                task.status = TaskStatus.CANCELED
            answer = self.upstream.answer(task_id, self.now)
            job = self.jobs[job_id]
            if answer.output.task_status is TaskStatus.SUCCEEDED:
                match = match_content(answer, prompt=job.prompt, n=job.n)
                if is_ours or match is Match.SAME:
                    self.wasted[task_id] = task.n

    # --- what the upstream does

    @precondition(lambda self: self.unfinished())
    @rule(pick=PICK, fails=st.booleans())
    def task_moves(self, pick: int, fails: bool) -> None:
        """It starts to run, and later ends."""
        task = choose(self.unfinished(), pick)
        if task.status is TaskStatus.PENDING and not fails:
            task.status = TaskStatus.RUNNING
        else:
            task.status = TaskStatus.FAILED if fails else TaskStatus.SUCCEEDED

    @precondition(lambda self: self.upstream.tasks)
    @rule(pick=PICK, seconds=st.sampled_from((30, 600, 9_000)))
    def task_is_denied(self, pick: int, seconds: int) -> None:
        task = choose(list(self.upstream.tasks.values()), pick)
        task.denied_until = self.now + timedelta(seconds=seconds)

    # --- what must hold after every step

    @invariant()
    def each_lane_has_one_create_under_way(self) -> None:
        held = [job.lane for job in self.active() if job.run and job.run.holds_lane]
        assert len(held) == len(set(held))

    @invariant()
    def slots_are_not_passed(self) -> None:
        assert sum(bool(job.run and job.run.holds_slot) for job in self.active()) <= SLOTS

    @invariant()
    def a_job_is_billed_once_at_most(self) -> None:
        billed = [t.job_id for t in self.upstream.tasks.values() if t.status == "SUCCEEDED"]
        assert self.mood == "late" or len(billed) == len(set(billed))

    @invariant()
    def nobody_is_given_anothers_pictures(self) -> None:
        for job in self.jobs.values():
            if job.delivered is not None:
                assert self.upstream.tasks[job.delivered].job_id == job.job_id

    @invariant()
    def no_task_belongs_to_two_jobs(self) -> None:
        tasks = [job.run.task_id for job in self.active() if job.run and job.run.task_id]
        assert len(tasks) == len(set(tasks))

    def nobody_stands_still_in_silence(self) -> None:
        for job in self.active():
            run = job.run
            assert run is not None
            if run.attention_code is not None or run.status is JobStatus.FINALIZING:
                continue
            if run.status is JobStatus.QUEUED:
                assert job is not self.head() or self.now - job.queued_at <= RULES.start_within
                continue
            assert run.intended_at is not None
            age = self.now - run.intended_at
            patience = RULES.review_after + REVIEW_GRACE
            assert age < (patience if run.status is JobStatus.SUBMITTING else RULES.overdue_after)

    def teardown(self) -> None:
        """After the storm calm comes: every job ends or waits for a person, and the sums agree."""
        self.upstream.lie = None
        for post in self.posts:
            post.is_answered = True
        for task in self.upstream.tasks.values():
            task.denied_until = None
        for _ in range(len(self.jobs) + CALM_STEPS):
            self.calm_step()
        self.a_job_is_billed_once_at_most()
        for job in self.active():
            assert job.run is not None
            assert job.run.attention_code is not None, job
            assert self.mood != "distinct" or not self.is_provable(job), job
        billed = sum(t.n for t in self.upstream.tasks.values() if t.status == "SUCCEEDED")
        if not self.active():
            charged = sum(job.charged for job in self.jobs.values())
            assert billed == charged + sum(self.wasted.values())

    def is_provable(self, job: Job) -> bool:
        """Whether looks at the list should have told by now what came of a create in review."""
        assert job.run is not None
        if job.run.attention_code != REVIEW_CODE:
            return False
        is_clock_known = self.is_dated or abs(self.upstream.ahead) <= CLOCK_MARGIN
        until = self.to_open(job).until
        return is_clock_known and any(known.intended_at >= until for known in self.find_known())

    def calm_step(self) -> None:
        """Two minutes in which everything that can go on does, and nothing goes wrong."""
        self.now += timedelta(minutes=2)
        for task in self.unfinished():
            task.status = TaskStatus.SUCCEEDED
        self.pass_time()
        self.reconcile()
        while (claim := self.next_claim()) is not None:
            post = self.claim(*claim)
            post.task = self.upstream.make(post, claim[0], self.now)
            accepted = Accepted(post.task.task_id, "request")
            self.hear(claim[0], Created(post.attempt, accepted))
        for task in self.unfinished():
            task.status = TaskStatus.SUCCEEDED
        self.look()
        self.keep()
        self.watch_orphans()

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
        return True

    def write_attempt(self, job: Job, run: RunState, decision: Decision) -> None:
        requeue = decision.instead_of if isinstance(decision, Stop) else decision
        match requeue:
            case Run(task_id=task_id, adopted=False) if run.intended_at is not None:
                self.known[task_id] = KnownTask(task_id, run.intended_at, self.now)
            case Disown(task_id=task_id):
                del self.owners[task_id]
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
                    if candidate.match is Match.SAME and not candidate.is_contested:
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
