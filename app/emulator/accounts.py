"""Who calls, and how often they may."""

import hashlib
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from app.emulator.checks import Refused
from app.kit.clock import Clock

_WINDOW = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Caller:
    """A key and the main account it belongs to."""

    account: str
    key: str = field(repr=False)

    @property
    def key_id(self) -> str:
        """Five digits, as api_key_id in lists."""
        return _digits(self.key, 5)

    @property
    def uid(self) -> str:
        """Sixteen digits, as caller_uid in lists."""
        return _digits(self.account, 16)


class KeyRing:
    """The keys that are let in; without any, every `sk-` key is an account of its own."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._keys = dict(keys)

    def identify(self, authorization: str) -> Caller:
        """The caller of an Authorization header; Refused with 401 when there is none."""
        scheme, _, key = authorization.partition(" ")
        key = key.strip()
        if scheme.lower() != "bearer" or not key:
            raise Refused(401, "InvalidApiKey", "No API-key provided.")
        account = self._find_account(key)
        if account is None:
            raise Refused(401, "InvalidApiKey", "Invalid API-key provided.")
        return Caller(account, key)

    def _find_account(self, key: str) -> str | None:
        is_let_in = key in self._keys if self._keys else key.startswith("sk-") and len(key) > 3
        return (self._keys.get(key) or f"account-{_digits(key, 8)}") if is_let_in else None


class RateGate:
    """Calls per second as a sliding window: any second holds at most the limit.

    Refused calls do not count against it.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._admitted: defaultdict[tuple[str, ...], deque[datetime]] = defaultdict(deque)

    def admit(self, counter: tuple[str, ...], limit: int) -> None:
        """Count a call; Refused with 429 when the last second holds `limit` already."""
        now = self._clock()
        admitted = self._admitted[counter]
        while admitted and admitted[0] <= now - _WINDOW:
            admitted.popleft()
        if len(admitted) >= limit:
            message = "Requests rate limit exceeded, please try again later."
            raise Refused(429, "Throttling.RateQuota", message)
        admitted.append(now)


def _digits(text: str, count: int) -> str:
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
    return str(number % (9 * 10 ** (count - 1)) + 10 ** (count - 1))
