"""A stand-in for DashScope: same wire, same limits, same bill, no account needed."""

from app.emulator.options import EmulatorOptions, parse_key, parse_span
from app.emulator.routes import make_emulator
from app.emulator.server import running_emulator, serve_emulator

__all__ = [
    "EmulatorOptions",
    "make_emulator",
    "parse_key",
    "parse_span",
    "running_emulator",
    "serve_emulator",
]
