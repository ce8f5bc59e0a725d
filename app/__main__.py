"""`python3 -m app`, also `python3 path/to/app`: prepares `.venv`, then runs the command in it."""

import os
import sys
from importlib import import_module

# Read by Pythons of every age, so that an old one is told what it lacks, not a SyntaxError.
if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit(
        "setup: Dashgate needs Python 3.11 or later and this is %d.%d: install a newer one "  # noqa: UP031
        "and start with it, for example `python3.11 -m app`" % sys.version_info[:2]
    )

if not __package__:  # started by path: the first entry is this folder instead of the checkout
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def _main() -> None:
    setup = import_module("app._setup")
    setup.enter(sys.argv[1:])
    try:
        # Only on this side of enter() do the third-party imports of the command line exist.
        commands = import_module("app.cli")
    except ModuleNotFoundError as missing:
        if (missing.name or "app").split(".")[0] == "app":
            raise
        sys.exit(
            "setup: %s has no module %r: install requirements.lock into it, or remove .venv and "  # noqa: UP031
            "unset DASHGATE_NO_SETUP to have it made" % (sys.executable, missing.name)
        )
    commands.main()


if __name__ == "__main__":
    try:
        _main()
    except KeyboardInterrupt:
        # Wherever it comes, also within an import: a person asked for it, and needs no traceback.
        sys.stderr.write("\ninterrupted\n")
        sys.exit(130)
