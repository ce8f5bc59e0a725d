"""Named places where a test may have the process die; each costs one comparison otherwise.

`DASHGATE_FAULTPOINT=name` ends the process at the first passing of that place, `name:3` at the
third. The variable is read here, not in the settings: it is no choice of an operator, it is known
to tests only, and rooms that are handed no settings have such places too.
"""

import os
from collections.abc import Mapping

VARIABLE = "DASHGATE_FAULTPOINT"
EXIT_CODE = 86

FAULTPOINTS = (
    "intake.before_commit",
    "intake.committed",
    "claim.before_commit",
    "claim.committed",
    "create.before_post",
    "create.answered",
    "create.recorded",
    "doubt.listed",
    "doubt.recorded",
    "task.answered",
    "task.recorded",
    "keep.before_download",
    "keep.before_put",
    "keep.after_put",
    "keep.before_end",
    "keep.after_end",
)
"""Every place there is, in the order in which a job passes them."""


class Fuse:
    """The one place that is armed, if any, and how many passings it still lets by."""

    def __init__(self, name: str | None, passings: int = 1) -> None:
        self._name = name
        self._passings_left = passings

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Fuse":
        """What the variable says; ValueError when there is no such place or number."""
        text = environment.get(VARIABLE)
        if not text:
            return cls(None)
        name, _, nth = text.partition(":")
        if name not in FAULTPOINTS:
            raise ValueError(f"{VARIABLE}: {name!r} is none of {', '.join(FAULTPOINTS)}")
        if nth and not (nth.isdecimal() and int(nth) > 0):
            raise ValueError(f"{VARIABLE}: {nth!r} is no number of a passing, such as 2")
        return cls(name, int(nth or 1))

    def burn(self, name: str) -> bool:
        """Whether the process is to end at this passing of that place."""
        if name != self._name:
            return False
        self._passings_left -= 1
        return self._passings_left == 0


_fuse = Fuse.of(os.environ)


def faultpoint(name: str) -> None:
    """End the process at once, as SIGKILL would, if it was started to die here."""
    if _fuse.burn(name):
        os._exit(EXIT_CODE)
