"""Where the keys of events come from, over real sockets."""

import asyncio

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from app.dashscope import certificates
from app.dashscope.certificates import CERTIFICATE_BYTES_LIMIT, CertificateMissing, Certificates
from app.dashscope.eventbridge import EventRejected
from tests.dashscope.events import make_certificate
from tests.media.wire import Request, always, reply, serve

KEY = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
CERTIFICATE = make_certificate(KEY)


async def test_key_is_fetched_once_and_kept_for_an_hour() -> None:
    now = [0.0]
    async with serve(always(reply("200 OK", CERTIFICATE))) as wire:
        url = f"http://{wire.host}/a.pem"
        desk = Certificates(url, monotonic=lambda: now[0])

        keys = await asyncio.gather(*(desk.get_key(url) for _ in range(5)))
        now[0] = 3_599
        await desk.get_key(url)
        asked_early = len(wire.requests)
        now[0] = 3_601
        await desk.get_key(url)

        assert {key.public_numbers() for key in keys} == {KEY.public_key().public_numbers()}
        assert (asked_early, len(wire.requests)) == (1, 2)


async def test_other_place_than_the_pinned_one_is_never_asked() -> None:
    async with serve(always(reply("200 OK", CERTIFICATE))) as wire:
        desk = Certificates(f"http://{wire.host}/a.pem")

        for url in (f"http://{wire.host}/b.pem", "https://cn-beijing-eventbridge.oss-acc", ""):
            with pytest.raises(EventRejected, match="a place that is not known"):
                await desk.get_key(url)

        assert wire.requests == []


async def test_without_a_pinned_one_only_alibabas_own_is_asked() -> None:
    async with serve(always(reply("200 OK", CERTIFICATE))) as wire:
        with pytest.raises(EventRejected, match="a place that is not known"):
            await Certificates().get_key(f"http://{wire.host}/a.pem")

        Certificates().check_address(
            "https://cn-beijing-eventbridge.oss-accelerate.aliyuncs.com/a.pem"
        )
        assert wire.requests == []


@pytest.mark.parametrize(
    "answer",
    [
        reply("404 Not Found", CERTIFICATE),
        reply("200 OK", b"<html></html>"),
        reply("200 OK", CERTIFICATE + b"\n" * CERTIFICATE_BYTES_LIMIT),
        reply("200 OK", CERTIFICATE[:40], announced=len(CERTIFICATE)),
        b"",
    ],
)
async def test_certificate_that_does_not_come_whole_is_asked_for_again(answer: bytes) -> None:
    async with serve(always(answer)) as wire:
        url = f"http://{wire.host}/a.pem"
        desk = Certificates(url)

        with pytest.raises(CertificateMissing, match="could not be had"):
            await desk.get_key(url)
        wire.answer = always(reply("200 OK", CERTIFICATE))

        assert await desk.get_key(url) == KEY.public_key()


async def test_redirect_is_not_followed() -> None:
    async with (
        serve(always(reply("200 OK", CERTIFICATE))) as inside,
        serve(always(reply("302 Found", b"", f"Location: http://{inside.host}/a.pem"))) as wire,
    ):
        url = f"http://{wire.host}/a.pem"

        with pytest.raises(CertificateMissing):
            await Certificates(url).get_key(url)

        assert inside.requests == []


async def test_silent_place_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "FETCH_TIMEOUT_SECONDS", 0.1)
    async with serve(_hold) as wire:
        url = f"http://{wire.host}/a.pem"

        with pytest.raises(CertificateMissing, match="Timeout"):
            await Certificates(url).get_key(url)


async def _hold(_: Request, __: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()
