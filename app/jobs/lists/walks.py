"""Ranges of indexes in the order of a list, as SQL (pure)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Branch:
    """A range of an index in the order of ids: of a team's, or of a column's value, or of both."""

    table: str
    id: str
    lowest: str
    highest: str
    column: str | None = None
    value: str | None = None
    is_by_team: bool = False
    extra: str = ""

    def walk(self, team: str | None) -> str:
        """Of that team; what is not by team is the same for all."""
        equal = [f"team_id = {team}"] if self.is_by_team else []
        equal += [f"{self.column} = {self.value}"] if self.column is not None else []
        conditions = [*equal, f"{self.id} >= {self.lowest}", f"{self.id} < {self.highest}"]
        return f"select {self.id} as id from {self.table} where {self.extra}" + " and ".join(
            conditions
        )

    def walk_each_team(self, limit: int) -> str:
        """The newest of each team in turn.

        A range over all columns, in the order of all: no index but that of the team has it. Of
        one team after the other nothing is known in advance, and the walk over everybody's ids
        would look the cheaper one when one team has nearly all.
        """
        columns = ["team_id", *([self.column] if self.column else []), self.id]
        key = ", ".join(columns)
        prefix = ", ".join(["teams.id", *([self.value] if self.value else [])])
        newest = ", ".join(f"{column} desc" for column in columns)
        return (
            f"select newest.id from teams cross join lateral (select {self.id} as id"
            f" from {self.table} where {self.extra}"
            f"({key}) >= ({prefix}, {self.lowest}) and ({key}) < ({prefix}, {self.highest})"
            f" order by {newest} limit {limit:d}) as newest"
        )


@dataclass(frozen=True, slots=True)
class Source:
    """A walk over an index, newest first: its branches, and which filters it answers."""

    branches: tuple[Branch, ...]
    answers: frozenset[str]
