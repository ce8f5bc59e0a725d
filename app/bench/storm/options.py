"""How big a storm is, and over what."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class StormOptions:
    """How big a storm is; without a database URL it has a server of its own, and crashes it."""

    jobs: int = 150
    doors: int = 2
    """API processes."""
    workers: int = 3
    storm_seconds: float = 20.0
    calm_seconds: float = 60.0
    """After the storm: until then everything must have ended."""
    contender: Literal["dashgate", "naive"] = "dashgate"
    is_calm: bool = False
    """No blow, no error of the upstream and every clock right: for comparison."""
    clock_seconds: float = 300.0
    """How far each clock may be off: the upstream's, the database's, each process'."""
    without: frozenset[str] = frozenset()
    """Hardships that this one is spared, of `weather.HARDSHIPS`: for comparison."""
    database_url: str | None = field(default=None, repr=False)
    """Of an empty database at the head of the schema."""
    logs: Path | None = None
    """A folder that keeps the logs of all processes."""

    def to_command(self, seed: int) -> str:
        """The command that brings about that storm of this size again."""
        flags = [
            f"--seeds {seed} --jobs {self.jobs} --workers {self.workers}",
            f"--storm-seconds {self.storm_seconds:g} --clock-seconds {self.clock_seconds:g}",
            f"--contender {self.contender}",
            *(f"--without {name}" for name in sorted(self.without)),
        ]
        return f"python -m app.bench.storm {' '.join(flags)}"
