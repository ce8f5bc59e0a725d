"""Dashgate: a self-hosted gateway in front of DashScope's asynchronous image editing."""

from pathlib import Path

__version__ = "0.1.0"

# What messages say to type: a checkout and the image are run as a module, a wheel brings a script.
PROGRAM = (
    "python3 -m app"
    if (Path(__file__).resolve().parent.parent / "pyproject.toml").is_file()
    else "dashgate"
)
