"""One lane of an account, claiming as the engine does, without an upstream behind it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from uuid import UUID

from app.bench.rig.gateway import SECRET
from app.bench.rig.loads import MODEL
from app.bench.rig.seats import Seat, add_account, add_team
from app.jobs.engine.claim import LaneTurn, claim_submission
from app.jobs.lifecycle import Fence
from app.kit.crypto import Vault
from app.kit.postgres.database import (
    Connection,
    Pool,
    Sessions,
    make_engine,
    make_sessions,
    open_pool,
)

NEVER_PACED = 1_000_000.0
"""Submits a second: the pace is not what is measured."""


class NothingClaimed(RuntimeError):
    """A claim on a full queue with free slots brought no job."""


@dataclass(frozen=True, slots=True)
class Lane:
    """A lane's desk over a database; five slots, all free between two claims."""

    pool: Pool
    sessions: Sessions = field(repr=False)
    account_id: UUID
    lane_id: UUID

    async def add_teams(self, weights: dict[str, int]) -> list[Seat]:
        vault = Vault((SECRET,))
        return [
            await add_team(self.sessions, vault, name, weight=Decimal(weight))
            for name, weight in weights.items()
        ]

    async def claim(self, connection: Connection) -> Fence:
        """The next job of the queue, now `submitting`; raises NothingClaimed."""
        turn = LaneTurn(
            account_id=self.account_id,
            lane_id=self.lane_id,
            model=MODEL,
            slots=5,
            submit_rate=NEVER_PACED,
            lease_seconds=25.0,
        )
        submission, pause = await claim_submission(connection, turn)
        if submission is None:
            raise NothingClaimed(f"the claim asks to wait {pause.seconds:g} s")
        return submission.fence

    async def forget(self, fence: Fence) -> None:
        """Take a claimed job off the queue, which frees its slot and its lane."""
        await self.pool.execute("delete from job_runs where job_id = $1", fence.job_id)


@asynccontextmanager
async def open_lane(database_url: str) -> AsyncIterator[Lane]:
    engine = make_engine(database_url)
    pool = await open_pool(database_url, max_size=4)
    try:
        sessions = make_sessions(engine)
        account_id = await add_account(
            sessions, Vault((SECRET,)), base_url="http://127.0.0.1:9/api/v1"
        )
        lane_id = await pool.fetchval("select id from lanes where account_id = $1", account_id)
        await pool.execute(
            "insert into account_paces (account_id, model) values ($1, $2)", account_id, MODEL
        )
        yield Lane(pool, sessions, account_id, lane_id)
    finally:
        await pool.close()
        await engine.dispose()
