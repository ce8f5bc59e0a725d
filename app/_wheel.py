"""The one package that a wheel installs: within it lie `app` and `migrations`, found by no other.

A checkout knows neither this file nor its name.
"""

import sys
from importlib import import_module
from pathlib import Path


def main() -> None:
    sys.path.insert(0, str(Path(__file__).parent / "gateway"))
    import_module("app.cli").main()
