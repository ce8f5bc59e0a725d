"""The end of a job is a line in the log, once it is committed and not before."""

from contextlib import suppress

from structlog.testing import capture_logs

from app.jobs.lifecycle import JobStatus
from app.jobs.record import end
from app.kit.postgres.database import transaction
from tests.jobs.scene import Scene

URL = "https://results.example/a.png"


async def test_it_names_team_account_amount_and_time(scene: Scene) -> None:
    fence = await scene.finalizing(URL)
    await scene.keep(fence, 0)

    with capture_logs() as lines:
        await scene.finish(fence)

    (line,) = [line for line in lines if line["event"] == "job.ended"]
    assert line["log_level"] == "info"
    assert line["job_id"] == str(fence.job_id)
    assert line["status"] == "succeeded"
    assert line["team"] == await scene.pool.fetchval("select name from teams")
    assert line["account"] == await scene.pool.fetchval("select name from accounts")
    assert (line["image_count"], line["amount"], line["currency"]) == (1, "0.20", "CNY")
    assert 0 <= line["seconds"] < 60


async def test_what_was_rolled_back_is_not_told(scene: Scene) -> None:
    fence = await scene.finalizing(URL)

    with capture_logs() as lines, suppress(ZeroDivisionError):
        async with transaction(scene.pool) as connection:
            await end(connection, fence, JobStatus.FAILED, error=("lost", "gone"))
            raise ZeroDivisionError

    assert [line for line in lines if line["event"] == "job.ended"] == []
