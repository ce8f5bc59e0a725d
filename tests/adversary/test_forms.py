"""Upload forms of strangers: refused before anything of them is read that they chose."""

import pytest

from tests.adversary.siege import MEGABYTE, Toll, stranger
from tests.api.server import open_client
from tests.gateway import Gateway
from tests.media.images import make_image

FIELD = b'--X\r\ncontent-disposition: form-data; name="%s"\r\n\r\n'


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        (
            b"multipart/form-data; boundary=X; charset=punycode",
            FIELD % b"policy" + b"a" * 400_000 + b"-" + b"a" * 400_000 + b"\r\n--X--\r\n",
            403,
        ),
        (b"application/x-www-form-urlencoded", b"&" * 9 * MEGABYTE, 400),
        (b"application/x-www-form-urlencoded", b"a=%41" * 2 * MEGABYTE, 400),
        (b"multipart/form-data; boundary=X", b"--X\r\n" * 2 * MEGABYTE, 403),
        (b"multipart/form-data; boundary=X", b"\r\n--" * 2 * MEGABYTE, 403),
        (b"multipart/form-data; boundary=X", FIELD % b"key" + b"a" * 9 * MEGABYTE, 403),
        (b"multipart/form-data", b"a" * 9 * MEGABYTE, 400),
    ],
    ids=["punycode", "ampersands", "escapes", "parts", "nearly parts", "a field", "no boundary"],
)
async def test_one_is_refused_by_its_beginning(
    target: Gateway, toll: Toll, content_type: bytes, body: bytes, status: int
) -> None:
    head = (
        b"POST /api/v1/uploads/form HTTP/1.1\r\nhost: a\r\ncontent-type: %s\r\n"
        b"content-length: %d\r\n\r\n" % (content_type, len(body))
    )
    async with stranger(target.url) as one:
        await one.send(head)
        await one.flood(body, limit_bytes=len(head) + len(body))

        assert (await one.head()).startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize(
    "tail",
    [b"\0", b"/../../other/x.png", b"\n<script>", b"A" * 9_000],
    ids=["nul", "a path", "a line", "long"],
)
async def test_a_key_that_goes_on_after_it_was_judged_is_no_key(
    target: Gateway, tail: bytes
) -> None:
    async with open_client(target.url, target.key) as http:
        asked = {"action": "getPolicy", "model": "wan2.5-i2i-preview"}
        policy = (await http.get("/api/v1/uploads", params=asked)).json()["data"]
    fields = {
        "pad": "x" * 16_000,
        "policy": policy["policy"],
        "Signature": policy["signature"],
        "key": f"{policy['upload_dir']}/a",
    }
    first = b"".join(
        b"\r\n" + FIELD % name.encode() + value.encode() for name, value in fields.items()
    )[2:]
    file = b'\r\n--X\r\ncontent-disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
    rest = tail + file + make_image() + b"\r\n--X--\r\n"
    async with stranger(target.url) as one:
        await one.send(
            b"POST /api/v1/uploads/form HTTP/1.1\r\nhost: a\r\n"
            b"content-type: multipart/form-data; boundary=X\r\ncontent-length: %d\r\n\r\n%s"
            % (len(first) + len(rest), first)
        )
        async with open_client(target.url) as http:
            for _ in range(5):  # Round trips, after which the first part has been judged.
                await http.get("/healthz")
        await one.send(rest)

        assert (await one.head()).startswith(b"HTTP/1.1 403")
