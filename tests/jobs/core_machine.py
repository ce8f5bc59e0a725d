"""A gateway and an upstream on a clock of their own, for the rules to be tried on."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from app.dashscope.outcomes import Accepted, OutcomeUnknown, Refused
from app.dashscope.payloads import (
    TaskStatus,
)
from app.jobs.core.candidates import (
    CLOCK_MARGIN,
)
from app.jobs.core.deadlines import REVIEW_GRACE
from app.jobs.core.doubts import REVIEW_CODE
from app.jobs.core.state import (
    CancelAsked,
    Created,
    RunState,
    Ticked,
)
from app.jobs.lifecycle import (
    JobStatus,
)
from tests.jobs.core_shell import (
    LIFE,
    RULES,
    SEND,
    SLOTS,
    Shell,
)
from tests.jobs.upstream_model import Job, Lie, Post, choose

JOBS_LIMIT = 4
CALM_STEPS = 40
MOODS = ("alike", "distinct", "late")
AHEAD_SECONDS = (0, 45, 300, -300)
"""By how much the upstream's clock may be before ours."""
LIES = tuple(Lie)
LAGS_SECONDS = (60, 500)
"""A stale list is no older than `stale_after`: that is what this promise rests on."""
PICK = st.integers(0, 11)


class EngineMachine(Shell, RuleBasedStateMachine):
    """Submits, replies, lost replies, late creations, crashes, stale workers, cancels, expiry.

    The clocks differ, and for a while the list is empty, stale, refused, spoilt or misfiltered.
    """

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
