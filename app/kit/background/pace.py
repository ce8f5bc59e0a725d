"""An even pace for calls: one every 1/rate seconds, in the order they were asked for."""

import asyncio


class Pace:
    """Spaces calls of one process; unused time is not saved up."""

    def __init__(self, rate_per_second: float) -> None:
        self._interval_seconds = 1 / rate_per_second
        self._next_at = 0.0

    async def take(self) -> None:
        """Wait for the caller's turn."""
        now = asyncio.get_running_loop().time()
        turn_at = max(now, self._next_at)
        self._next_at = turn_at + self._interval_seconds
        if turn_at > now:
            await asyncio.sleep(turn_at - now)
