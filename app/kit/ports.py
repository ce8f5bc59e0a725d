"""TCP ports of this machine: free, or to be found."""

import errno
import itertools
import os
import socket
from pathlib import Path

from app.kit.errors import Conflict

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


def check_listening(host: str, port: int) -> None:
    """Whether a server may listen there; raises Conflict, with what to do otherwise."""
    try:
        places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in places:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Conflict(
                f"port {port} of {host} is taken: choose another with --port or DASHGATE_PORT"
            ) from None
        raise Conflict(
            f"nobody can listen at {host}:{port} ({error.strerror}): choose an address of this "
            "machine with --host or DASHGATE_HOST, or another port"
        ) from None


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
