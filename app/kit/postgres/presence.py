"""A process's sign of life in Postgres: an advisory lock that is gone when the process is."""

import asyncio
import logging
import random

from app.kit.postgres.leader import lead

PRESENCE_SPACE = 0x6461_7368
"""High half of the lock; the low half is the process's own number."""


class Presence:
    """Holds the lock of a random number for as long as this process lives."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.number = random.SystemRandom().randrange(1, 2**31)

    async def run(self, stop: asyncio.Event) -> None:
        lock = PRESENCE_SPACE << 32 | self.number
        # Each process has its own: there is nobody to be elected over.
        await lead(self._url, lock=lock, duty=_stay, stop=stop, level=logging.DEBUG)


async def _stay(ending: asyncio.Event) -> None:
    await ending.wait()


PRESENT_NUMBERS = f"""
select objid::bigint::int as number from pg_locks
join pg_database on pg_database.oid = pg_locks.database and datname = current_database()
where locktype = 'advisory' and classid::bigint = {PRESENCE_SPACE} and objsubid = 1 and granted
"""
"""A statement that lists the numbers of the processes that live."""
