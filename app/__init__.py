"""Dashgate: a self-hosted gateway in front of DashScope's asynchronous image editing."""

import os

__version__ = "0.1.0"

# What messages say to type: a checkout and the image are run as a module, a wheel brings a script.
_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_IS_MODULE = os.path.isfile(os.path.join(_ROOT, "pyproject.toml"))
PROGRAM = "python3 -m app" if _IS_MODULE else "dashgate"
