"""The keys that events are signed with: fetched from one place, small, quick and kept."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable

import httpx
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from app.dashscope.eventbridge import EventRejected, is_official_certificate, read_certificate
from app.kit.errors import Unavailable

CERTIFICATE_BYTES_LIMIT = 64 * 1024
FETCH_TIMEOUT_SECONDS = 5.0
KEPT_SECONDS = 3_600.0
KEPT_COUNT = 8


class CertificateMissing(Unavailable):
    """The certificate could not be fetched: the sender should push again."""

    code = "certificate_missing"


class Certificates:
    """Keys by the address of their certificate.

    With a `pinned_url` no other address is asked, else only Alibaba's own: the address comes
    with a push, and whoever names it must not choose whom we trust or where we knock.
    """

    def __init__(
        self, pinned_url: str | None = None, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._pinned_url = pinned_url
        self._monotonic = monotonic
        self._keys: OrderedDict[str, tuple[float, RSAPublicKey]] = OrderedDict()
        self._fetching = asyncio.Lock()

    def check_address(self, url: str) -> None:
        """Raises EventRejected for any place that we do not take certificates from."""
        is_known = (
            is_official_certificate(url) if self._pinned_url is None else (url == self._pinned_url)
        )
        if not is_known:
            raise EventRejected(
                "the certificate is from a place that is not known: EventBridge's own, or the "
                "one in DASHGATE_EVENTBRIDGE_CERTIFICATE_URL"
            )

    async def get_key(self, url: str) -> RSAPublicKey:
        """Raises EventRejected for a wrong place, CertificateMissing when nothing came."""
        self.check_address(url)
        async with self._fetching:
            kept = self._keys.get(url)
            if kept is not None and self._monotonic() < kept[0]:
                return kept[1]
            key = await _fetch_key(url)
            self._keys[url] = (self._monotonic() + KEPT_SECONDS, key)
            if len(self._keys) > KEPT_COUNT:
                self._keys.popitem(last=False)
            return key


async def _fetch_key(url: str) -> RSAPublicKey:
    try:
        async with asyncio.timeout(FETCH_TIMEOUT_SECONDS):
            return read_certificate(await _fetch(url))
    except (httpx.HTTPError, TimeoutError, ValueError) as error:
        raise CertificateMissing(
            f"the certificate of the event could not be had ({type(error).__name__})"
        ) from error


async def _fetch(url: str) -> bytes:
    content = bytearray()
    async with (
        httpx.AsyncClient(
            timeout=FETCH_TIMEOUT_SECONDS, follow_redirects=False, trust_env=False
        ) as http,
        http.stream("GET", url, headers={"Accept-Encoding": "identity"}) as response,
    ):
        if response.status_code != httpx.codes.OK:
            raise ValueError(f"HTTP {response.status_code}")
        async for chunk in response.aiter_raw():
            content += chunk
            if len(content) > CERTIFICATE_BYTES_LIMIT:
                raise ValueError(f"more than {CERTIFICATE_BYTES_LIMIT} bytes")
    return bytes(content)
