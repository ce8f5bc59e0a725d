"""Whether the store takes pictures; while it does not, one now and then tries it (pure)."""

SHORTEST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 5.0


class StoreHealth:
    """Times are those of one clock that never goes back, in seconds."""

    def __init__(self) -> None:
        self._ill_since: float | None = None
        self._next_try_at = 0.0

    @property
    def is_ill(self) -> bool:
        return self._ill_since is not None

    def take_room(self, room: int, now: float) -> int:
        """How many of so many may begin now: all, or of an ill store one a pause."""
        if self._ill_since is None or room <= 0:
            return room
        if now < self._next_try_at:
            return 0
        self._next_try_at = now + LONGEST_PAUSE_SECONDS
        return 1

    def note_trouble(self, now: float) -> None:
        if self._ill_since is None:
            self._ill_since = now
        pause_seconds = max((now - self._ill_since) / 2, SHORTEST_PAUSE_SECONDS)
        self._next_try_at = now + min(pause_seconds, LONGEST_PAUSE_SECONDS)

    def note_success(self) -> None:
        self._ill_since = None
