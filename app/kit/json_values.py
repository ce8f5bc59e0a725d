"""A bound on the values of a JSON text, kept before it is parsed.

Three bytes of `[],` become some seventy in memory, and a parser holds the interpreter until it has
made them all.
"""

VALUES_LIMIT = 20_000
"""Some hundred times what a create, an answer or an event has."""
_PIECE_BYTES = 64 * 1024


class TooManyValues(ValueError):
    """A JSON text of more values than anybody means."""

    def __init__(self) -> None:
        super().__init__(f"more than {VALUES_LIMIT} values")


def check_values(content: bytes) -> None:
    """Raises TooManyValues, soon after the limit; what texts hold counts as if it were JSON."""
    values = 0
    for at in range(0, len(content), _PIECE_BYTES):
        piece = content[at : at + _PIECE_BYTES]
        values += piece.count(b",") + piece.count(b"[") + piece.count(b"{")
        if values > VALUES_LIMIT:
            raise TooManyValues
