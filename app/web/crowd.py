"""How many connections a process has, and which must go for another."""

from collections import Counter
from typing import Protocol


class Connection(Protocol):
    """What is asked of one."""

    @property
    def is_at_work(self) -> bool: ...

    def drop(self) -> None: ...


class Connections:
    """All connections of the process; where one comes that is too many, one that waits must go.

    It is idle or still sends its head, of the address that has most, and the oldest of those.
    Where all are at work the new one is not taken.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: dict[Connection, str] = {}
        self._counts: Counter[str] = Counter()

    def add(self, connection: Connection, address: str) -> bool:
        """Whether it may stay."""
        if len(self._open) >= self._limit:
            loser = self._find_loser()
            if loser is None:
                return False
            self.remove(loser)
            loser.drop()
        self._open[connection] = address
        self._counts[address] += 1
        return True

    def remove(self, connection: Connection) -> None:
        address = self._open.pop(connection, None)
        if address is not None:
            self._counts[address] -= 1

    def _find_loser(self) -> Connection | None:
        oldest: dict[str, Connection] = {}
        for connection, address in self._open.items():
            if not connection.is_at_work:
                oldest.setdefault(address, connection)
        self._counts = +self._counts
        return oldest[max(oldest, key=self._counts.__getitem__)] if oldest else None
