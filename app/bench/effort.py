"""How much a run may take: enough for a look, for the record, or for the full size."""

from enum import StrEnum


class Effort(StrEnum):
    """`quick` ends all measures within three minutes; `full` takes the sizes of the goals."""

    QUICK = "quick"
    USUAL = "usual"
    FULL = "full"
