"""Heads as two readers must read them: one host, and no wish for another protocol (pure).

Source: RFC 9112, 3.2 (Host); RFC 9110, 7.8 (Upgrade: a server may ignore it).
"""

import re
from collections.abc import Sequence

Headers = Sequence[tuple[bytes, bytes]]

_HOST = re.compile(rb"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]+)(:\d{0,5})?")
_OF_UPGRADE = frozenset({b"upgrade", b"http2-settings"})


def names_one_host(headers: Headers, version: str) -> bool:
    """Whether there is one Host, and a name with or without a port; HTTP/1.0 may have none."""
    hosts = [value for name, value in headers if name == b"host"]
    if not hosts:
        return version == "1.0"
    return len(hosts) == 1 and _HOST.fullmatch(hosts[0]) is not None


def without_upgrade(method: bytes, target: bytes, headers: Headers) -> bytes:
    """The head once more, without what asks for another protocol."""
    lines = [b"%s %s HTTP/1.1" % (method, target)]
    for name, value in headers:
        kept = _drop_upgrade(value) if name == b"connection" else value
        if name not in _OF_UPGRADE and (kept or not value):
            lines.append(name + b": " + kept)
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _drop_upgrade(value: bytes) -> bytes:
    wishes = (wish.strip() for wish in value.split(b","))
    return b", ".join(wish for wish in wishes if wish.lower() not in _OF_UPGRADE)
