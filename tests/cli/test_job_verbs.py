"""`job explain`, `show`, `cancel` and `requeue`: what an operator reads, and what is done."""

import asyncio
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

from app import PROGRAM
from app.jobs.lifecycle import Doubt, Fail, Review
from app.kit.crypto import Vault
from app.kit.postgres.database import Pool, Sessions, open_pool
from tests.cli.conftest import Run
from tests.jobs.scene import make_scene

RESULT = "https://results.example/a.png?Signature=abc"
NOBODYS = "0198c0f2-0000-7000-8000-000000000001"
CANDIDATES = "these tasks may be this job's: t-7, t-8"
WHY = ("--reason", "neither task is ours")


@dataclass(frozen=True, slots=True)
class Staged:
    """One job in each state that the verbs tell apart."""

    failed: str
    finalizing: str
    running: str
    reviewed: str
    queued: str


@pytest.fixture
async def staged(pool: Pool, sessions: Sessions, vault: Vault) -> Staged:
    scene = await make_scene(pool, sessions, vault)
    failed = await scene.submitting()
    await scene.decide(failed, Fail("InvalidImage", "too small", 400, "r-1"))
    finalizing = await scene.finalizing(RESULT, task_id="t-1")
    running = await scene.running("t-2")
    reviewed = await scene.submitting()
    await scene.decide(reviewed, Doubt("no answer"))
    await scene.decide(reviewed, Review("submission_unknown", CANDIDATES))
    queued = await scene.accept(prompt="the secret dress")
    ids = (failed.job_id, finalizing.job_id, running.job_id, reviewed.job_id, queued)
    return Staged(*map(str, ids))


def ask(database: str, statement: str, *values: object) -> Any:
    async def fetch() -> Any:
        pool = await open_pool(database, max_size=1)
        try:
            return await pool.fetch(statement, *values)
        finally:
            await pool.close()

    return asyncio.run(fetch())


def statuses_of(run: Run) -> dict[str, str]:
    return {job["id"]: job["status"] for job in run("job", "list", "--json").document}


def audits_of(database: str, job_id: str) -> list[tuple[str, str, str]]:
    rows = ask(
        database,
        "select action, actor, detail from audit_entries where subject_id = $1 order by id",
        UUID(job_id),
    )
    return [
        (row["action"], row["actor"].partition(":")[0], row["detail"]["result"]) for row in rows
    ]


class TestCancel:
    def test_a_queued_job_is_canceled_and_audited(
        self, run: Run, staged: Staged, database: str
    ) -> None:
        outcome = run("job", "cancel", staged.queued)

        assert outcome.code == 0
        assert "is canceled; it costs its team nothing" in outcome.out
        assert statuses_of(run)[staged.queued] == "canceled"
        assert audits_of(database, staged.queued) == [("job.canceled", "cli", "canceled")]

    def test_a_running_job_is_asked_to_stop(self, run: Run, staged: Staged, database: str) -> None:
        outcome = run("job", "cancel", staged.running)

        assert outcome.code == 0
        assert "is asked to stop" in outcome.out
        assert f"{PROGRAM} job explain {staged.running}" in outcome.out
        assert audits_of(database, staged.running) == [("job.canceled", "cli", "asked")]

    @pytest.mark.parametrize(
        ("name", "why"), [("failed", "has ended"), ("finalizing", "paid for, and being kept")]
    )
    def test_too_late_is_exit_1_and_no_audit(
        self, run: Run, staged: Staged, database: str, name: str, why: str
    ) -> None:
        job_id = getattr(staged, name)

        outcome = run("job", "cancel", job_id)

        assert (outcome.code, outcome.out) == (1, "")
        assert why in outcome.err
        assert audits_of(database, job_id) == []

    def test_the_document_is_the_job(self, run: Run, staged: Staged) -> None:
        document = run("job", "cancel", staged.queued, "--json").document

        assert (document["id"], document["status"]) == (staged.queued, "canceled")


class TestRequeue:
    def test_giving_up_a_create_wants_a_yes_and_tells_what_is_known(
        self, run: Run, staged: Staged, database: str
    ) -> None:
        outcome = run("job", "requeue", staged.reviewed, *WHY)

        assert (outcome.code, outcome.out) == (1, "")
        assert CANDIDATES in outcome.err
        assert "0.20 CNY a second time" in outcome.err
        assert "--yes 1-submitting" in outcome.err
        assert statuses_of(run)[staged.reviewed] == "submitting"
        assert audits_of(database, staged.reviewed) == []

    def test_a_job_in_review_waits_its_turn_again(
        self, run: Run, staged: Staged, database: str
    ) -> None:
        outcome = run("job", "requeue", staged.reviewed, *WHY, "--yes", "1-submitting")

        assert outcome.code == 0
        assert "waits its turn again" in outcome.out
        assert "In the queue: the next: " in outcome.out
        assert statuses_of(run)[staged.reviewed] == "queued"
        assert audits_of(database, staged.reviewed) == [("job.requeued", "cli", "give_up")]

    @pytest.mark.parametrize(
        ("name", "said", "result"),
        [
            ("queued", "may go out at once", "start_now"),
            ("finalizing", "has its pictures tried again at once", "keep_now"),
        ],
    )
    def test_a_job_that_waits_is_due_at_once(
        self, run: Run, staged: Staged, database: str, name: str, said: str, result: str
    ) -> None:
        job_id = getattr(staged, name)

        outcome = run("job", "requeue", job_id, *WHY)

        assert outcome.code == 0
        assert said in outcome.out
        assert audits_of(database, job_id) == [("job.requeued", "cli", result)]

    @pytest.mark.parametrize(
        ("name", "advice"), [("running", "wait, or cancel it"), ("failed", "submit a new job")]
    )
    def test_other_jobs_are_refused_with_what_to_do(
        self, run: Run, staged: Staged, database: str, name: str, advice: str
    ) -> None:
        job_id = getattr(staged, name)

        outcome = run("job", "requeue", job_id, *WHY, "--yes", "1-running")

        assert outcome.code == 1
        assert advice in outcome.err
        assert audits_of(database, job_id) == []

    def test_without_a_reason_nothing_is_done(self, run: Run, staged: Staged) -> None:
        assert run("job", "requeue", staged.queued).code == 2
        blank = run("job", "requeue", staged.queued, "--reason", " ")

        assert blank.code == 1
        assert "reason:" in blank.err


class TestExplain:
    def test_the_story_is_read_as_a_timeline(self, run: Run, staged: Staged) -> None:
        lines = run("job", "explain", staged.finalizing).out.splitlines()

        assert lines[0] == f"Job {staged.finalizing} is finalizing"
        (accepted,) = [line for line in lines if "accepted by the native door" in line]
        assert accepted[12:].split()[:2] == ["+0.0", "s"]
        assert accepted[8] == "."
        assert any("picture 0: upstream, its address dies at" in line for line in lines)
        assert "money: 0.20 CNY reserved, 0.00 captured, 0.00 released" in lines

    def test_a_job_in_review_ends_in_the_commands_to_type(self, run: Run, staged: Staged) -> None:
        told = run("job", "explain", staged.reviewed).out

        assert "A person must look since" in told
        assert CANDIDATES in told
        assert f'{PROGRAM} job requeue {staged.reviewed} --reason "TEXT"' in told

    def test_the_document_has_the_same_and_no_secret(self, run: Run, staged: Staged) -> None:
        outcome = run("job", "explain", staged.finalizing, "--json")

        story = outcome.document
        assert story["timeline"][0]["text"].startswith("accepted by the native door")
        assert story["attempts"][0]["task_id"] == "t-1"
        assert story["money"]["reserved"] == "0.20"
        assert "Signature" not in outcome.out
        assert "dress" not in run("job", "explain", staged.queued, "--json").out


class TestShow:
    def test_a_waiting_job_says_what_holds_it(self, run: Run, staged: Staged) -> None:
        assert "queue: the next: " in run("job", "show", staged.queued).out
        document = run("job", "show", staged.queued, "--json").document
        assert document["queue"]["position"] == 0

    def test_attempts_attention_and_the_next_step_are_shown(
        self, run: Run, staged: Staged
    ) -> None:
        shown = run("job", "show", staged.reviewed).out
        document = run("job", "show", staged.reviewed, "--json").document

        assert f"attention: submission_unknown: {CANDIDATES}" in shown
        assert f"{PROGRAM} job requeue" in shown
        assert [attempt["outcome"] for attempt in document["attempts"]] == ["unknown"]
        assert len(document["next_steps"]) == 3

    def test_only_jobs_with_attention_are_listed_on_demand(self, run: Run, staged: Staged) -> None:
        listed = run("job", "list", "--attention", "--json").document

        assert [job["id"] for job in listed] == [staged.reviewed]


@pytest.mark.parametrize("verb", ["explain", "show", "cancel", "requeue"])
@pytest.mark.parametrize(("job_id", "said"), [(NOBODYS, "there is no job"), ("x", "id: is 'x'")])
def test_a_job_that_is_not_there_is_said_so(run: Run, verb: str, job_id: str, said: str) -> None:
    more = WHY if verb == "requeue" else ()

    outcome = run("job", verb, job_id, *more)

    assert outcome.code == 1
    assert said in outcome.err
