"""TCP ports of this machine: free, or to be found."""

import itertools
import os
import socket
from pathlib import Path

_LOWEST = 10_000
_EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_EPHEMERAL_FROM = 32_768

# A walk from a place of its own for each process: two that look at once find different ports.
_walk = itertools.count(os.getpid() * 61)


def is_port_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def find_free_port(host: str) -> int:
    """A port that is free now, and that no outgoing connection takes until it is bound.

    The system gives outgoing connections, and servers that ask for any port, one of its
    ephemeral range; so the port lies below that range, unless all of those are taken.
    """
    below = range(_LOWEST, _ephemeral_from())
    for place in itertools.islice(_walk, len(below)):
        port = below[place % len(below)]
        if is_port_free(host, port):
            return port
    with socket.socket() as probe:
        probe.bind((host, 0))
        any_port: int = probe.getsockname()[1]
    return any_port


def _ephemeral_from() -> int:
    try:
        return int(_EPHEMERAL_RANGE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return _EPHEMERAL_FROM
