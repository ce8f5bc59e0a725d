"""What to type to run this program, for messages that say what to do next."""

from pathlib import Path

ROOT = Path(__file__).parents[2]


def _find_program() -> str:
    """A checkout and the image are run as a module from their folder; a wheel brings a script."""
    if not (ROOT / "pyproject.toml").is_file():
        return "dashgate"
    return "python3 -m app"


PROGRAM = _find_program()
