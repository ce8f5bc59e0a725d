"""The moves between statuses: along the job's life, and never out of an end."""

from itertools import product

import pytest

from app.jobs.lifecycle import FINAL, MOVES, JobStatus, sources_of

S = JobStatus

ALLOWED = {
    (S.QUEUED, S.SUBMITTING),
    (S.QUEUED, S.CANCELED),
    (S.QUEUED, S.EXPIRED),
    (S.SUBMITTING, S.QUEUED),
    (S.SUBMITTING, S.RUNNING),
    (S.SUBMITTING, S.FAILED),
    (S.SUBMITTING, S.CANCELED),
    (S.RUNNING, S.QUEUED),
    (S.RUNNING, S.SUBMITTING),
    (S.RUNNING, S.CANCELED),
    (S.RUNNING, S.FINALIZING),
    (S.RUNNING, S.FAILED),
    (S.FINALIZING, S.SUCCEEDED),
    (S.FINALIZING, S.FAILED),
}


@pytest.mark.parametrize(("source", "target"), list(product(JobStatus, JobStatus)))
def test_a_job_moves_only_along_its_life(source: JobStatus, target: JobStatus) -> None:
    assert (source in sources_of(target)) == ((source, target) in ALLOWED)


def test_an_end_is_final_and_everything_else_leads_to_one() -> None:
    for status in JobStatus:
        assert status.is_final == (not MOVES[status])
        assert status.is_final or _reachable(status) & FINAL


def _reachable(start: JobStatus) -> set[JobStatus]:
    seen, ahead = set[JobStatus](), {start}
    while ahead:
        status = ahead.pop()
        seen.add(status)
        ahead |= MOVES[status] - seen
    return seen
