"""Bring home a result picture: from allowed hosts only, in bounded time and size."""

import asyncio
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import urljoin

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from app.kit.cookies import refuse_cookies
from app.kit.errors import GatewayError, Unavailable

Downloads: TypeAlias = httpx.AsyncClient

PICTURE_BYTES_LIMIT = 64 * 1024 * 1024
DEADLINE_SECONDS = 300.0
REDIRECTS_LIMIT = 3
_LENGTH_DIGITS = 18
OSS_RESULT_HOSTS = frozenset(
    {
        "dashscope-result-bj.oss-cn-beijing.aliyuncs.com",
        "dashscope-result-hz.oss-cn-hangzhou.aliyuncs.com",
        "dashscope-result-sh.oss-cn-shanghai.aliyuncs.com",
        "dashscope-result-wlcb.oss-cn-wulanchabu.aliyuncs.com",
        "dashscope-result-zjk.oss-cn-zhangjiakou.aliyuncs.com",
        "dashscope-result-sz.oss-cn-shenzhen.aliyuncs.com",
        "dashscope-result-hy.oss-cn-heyuan.aliyuncs.com",
        "dashscope-result-cd.oss-cn-chengdu.aliyuncs.com",
        "dashscope-result-gz.oss-cn-guangzhou.aliyuncs.com",
        "dashscope-result-wlcb-acdr-1.oss-cn-wulanchabu-acdr-1.aliyuncs.com",
    }
)
"""Where the upstream documents its results to be (Wan2.5 general image editing, firewall list)."""

_CLOUD_SUFFIX = ".aliyuncs.com"
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_HOST = r"[a-z0-9.-]+|\[[0-9a-f:.]+\]"
_ENTRY = re.compile(rf"(?:{_HOST})(?::[0-9]{{1,5}})?")
_ADDRESS = re.compile(rf"(https?)://({_HOST})(?::([0-9]{{1,5}}))?(/[^\s\\]*)?", re.I | re.A)


class HostNotAllowed(GatewayError):
    """The upstream named a place that we do not fetch from."""

    code = "result_host_not_allowed"


class PictureGone(GatewayError):
    """The URL has expired or the object was purged: asking again is useless."""

    code = "picture_gone"


class DownloadFailed(Unavailable):
    """The picture did not come this time."""

    code = "download_failed"

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"downloading {place}: {reason}")


@dataclass(frozen=True, slots=True)
class Download:
    content: bytes = field(repr=False)
    announced_bytes: int | None


@dataclass(frozen=True, slots=True)
class ResultHosts:
    """Entries are `host` (default ports) or `host:port`; Alibaba's hosts go by HTTPS only."""

    entries: frozenset[str] = OSS_RESULT_HOSTS

    @classmethod
    def of(cls, entries: Iterable[str]) -> "ResultHosts":
        """Exactly these hosts; ValueError names an entry that is none."""
        lowered = frozenset(entry.lower() for entry in entries)
        for entry in sorted(lowered):
            if not _ENTRY.fullmatch(entry):
                raise ValueError(f"result host {entry!r} is not `host` or `host:port`")
        return cls(lowered)

    def plus(self, *entries: str) -> "ResultHosts":
        return ResultHosts.of(self.entries | set(entries))

    def check(self, url: str) -> None:
        """HostNotAllowed unless scheme, host and port are allowed and nothing else is hidden."""
        address = _ADDRESS.fullmatch(url)
        if address is None:
            raise HostNotAllowed(f"{_place(url)} is not a plain http(s) address")
        scheme, host = address[1].lower(), address[2].lower()
        port = address[3] or _DEFAULT_PORTS[scheme]
        if host.endswith(_CLOUD_SUFFIX) and (scheme, port) != ("https", "443"):
            raise HostNotAllowed(f"{_place(url)} must be fetched by HTTPS on port 443")
        is_default_port = port == _DEFAULT_PORTS[scheme]
        if f"{host}:{port}" in self.entries or (is_default_port and host in self.entries):
            return
        entry = host if is_default_port else f"{host}:{port}"
        raise HostNotAllowed(
            f"{_place(url)} is not on an allowed result host; if {entry} is the upstream's, add "
            "it to DASHGATE_RESULT_HOSTS (which replaces the default list) and restart the workers"
        )


def make_http_client(
    *, connections: int = 16, connect_seconds: float = 5, read_seconds: float = 20
) -> httpx.AsyncClient:
    """A client for downloads: pooled, no proxy or netrc of the environment, no redirects."""
    # httpx logs every URL at INFO, and the query of a result URL is a credential.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    return httpx.AsyncClient(
        transport=AiohttpTransport(trust_env=False, limits=limits),
        timeout=httpx.Timeout(read_seconds, connect=connect_seconds, pool=DEADLINE_SECONDS),
        headers={"Accept-Encoding": "identity"},
        cookies=refuse_cookies(),
        follow_redirects=False,
        trust_env=False,
    )


async def download_picture(
    url: str,
    *,
    client: httpx.AsyncClient,
    allowed: ResultHosts,
    limit_bytes: int = PICTURE_BYTES_LIMIT,
    deadline_seconds: float = DEADLINE_SECONDS,
) -> Download:
    """The body behind the URL. Raises HostNotAllowed, PictureGone or DownloadFailed.

    Nothing raised from here carries the URL's query: it is a signature.
    """
    try:
        async with asyncio.timeout(deadline_seconds):
            return await _follow(url, client, allowed, limit_bytes)
    except TimeoutError:
        reason = f"it was not complete after {deadline_seconds:g} s"
    except (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, UnicodeError) as error:
        reason = f"the connection failed ({type(error.__cause__ or error).__name__})"
    raise DownloadFailed(_place(url), reason)


async def _follow(
    url: str, client: httpx.AsyncClient, allowed: ResultHosts, limit_bytes: int
) -> Download:
    target = url
    for _ in range(REDIRECTS_LIMIT + 1):
        allowed.check(target)
        async with client.stream("GET", target) as response:
            if not response.has_redirect_location:
                _check_status(response, target)
                return await _read(response, target, limit_bytes)
            target = _resolve(target, response.headers["location"])
    raise DownloadFailed(_place(url), f"it was redirected more than {REDIRECTS_LIMIT} times")


def _resolve(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        raise HostNotAllowed(f"{_place(url)} redirects to what is no address") from None


def _check_status(response: httpx.Response, url: str) -> None:
    status = response.status_code
    if status == httpx.codes.OK:
        return
    if status in {httpx.codes.FORBIDDEN, httpx.codes.NOT_FOUND, httpx.codes.GONE}:
        raise PictureGone(f"{_place(url)} answered {status}: its URL has expired or it was purged")
    raise DownloadFailed(_place(url), f"it answered {status}")


async def _read(response: httpx.Response, url: str, limit_bytes: int) -> Download:
    announced = _announced_bytes(response)
    if announced is not None and announced > limit_bytes:
        raise _too_large(url, announced, limit_bytes)
    chunks: list[bytes] = []
    came_bytes = 0
    async for chunk in response.aiter_raw():
        chunks.append(chunk)
        came_bytes += len(chunk)
        if came_bytes > limit_bytes:
            raise _too_large(url, came_bytes, limit_bytes)
    if announced is not None and came_bytes != announced:
        reason = f"{came_bytes} of {announced} bytes came"
        raise DownloadFailed(_place(url), reason)
    return Download(b"".join(chunks), announced)


def _announced_bytes(response: httpx.Response) -> int | None:
    length = response.headers.get("content-length", "")
    is_number = length.isascii() and length.isdigit() and len(length) <= _LENGTH_DIGITS
    return int(length) if is_number else None


def _too_large(url: str, actual: int, limit_bytes: int) -> DownloadFailed:
    reason = f"it has {actual} bytes or more, above the limit of {limit_bytes}"
    return DownloadFailed(_place(url), reason)


def _place(url: str) -> str:
    """Host and last path segment: enough to find it, without the signature."""
    address = _ADDRESS.fullmatch(url)
    if address is None:
        return "a result URL"
    path = (address[4] or "/").partition("?")[0].partition("#")[0]
    return f"{address[2].lower()}/.../{path.rpartition('/')[2][-80:]}"
