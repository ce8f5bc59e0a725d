"""Dashgate: a self-hosted gateway in front of DashScope's asynchronous image editing."""

__version__ = "0.1.0"
