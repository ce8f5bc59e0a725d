"""Upload forms of strangers: refused before anything of them is read that they chose."""

import pytest

from tests.adversary.siege import MEGABYTE, Toll, stranger
from tests.gateway import Gateway

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
