"""Parameters and bodies from the field, at both doors: read, or refused with what to send."""

import gzip
import random
import zlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson
import pytest

from tests.dashscope_api.both_doors import (
    DOORS,
    JSON,
    MODEL,
    NATIVE,
    PROMPT,
    URL,
    WIRE,
    Sender,
    open_sender,
    read_refusal,
)
from tests.gateway import Gateway

NO_NUMBER = "must be a whole number"
NO_SIZE = 'must be "width*height"'
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
BODIES: dict[str, Any] = {
    WIRE: {"model": MODEL, "input": {"prompt": PROMPT + " 图", "images": [URL]}},
    NATIVE: {"prompt": PROMPT + " 图", "images": [URL]},
}

PARAMETERS: list[tuple[str, Any, Any, Any]] = [
    ("n", "1", 1, NO_NUMBER),
    ("n", 1.0, 1, NO_NUMBER),
    ("n", None, 4, 1),
    ("n", "", 4, NO_NUMBER),
    ("n", 0, "is 0; it must be 1 to 4", "is 0; it must be 1 to 4"),
    ("n", 5, "is 5; it must be 1 to 4", "is 5; it must be 1 to 4"),
    ("n", True, NO_NUMBER, NO_NUMBER),
    ("n", "1.0", NO_NUMBER, NO_NUMBER),
    ("seed", "12345", 12345, NO_NUMBER),
    ("seed", "", None, NO_NUMBER),
    ("seed", -1, "is -1; it must be 0 to 2147483647", "is -1; it must be 0 to 2147483647"),
    ("seed", 2**31, "it must be 0 to 2147483647", "it must be 0 to 2147483647"),
    ("seed", 2**53, "it must be 0 to 2147483647", "it must be 0 to 2147483647"),
    ("watermark", "", False, "must be true or false"),
    ("prompt_extend", "", True, "must be true or false"),
    ("size", "", None, NO_SIZE),
    ("size", "1024x1024", "1024*1024", "1024*1024"),
    ("size", "1536x1024", "1536*1024", "1536*1024"),
    *(("size", size, NO_SIZE, NO_SIZE) for size in ("auto", "2K", "16:9")),
    ("size", "512x512", "512*512 is 262144 pixels; it must be 589824", "it must be 589824"),
    ("size", "1792x1024", "is 1835008 pixels", "(768*768) to 1638400 (1280*1280)"),
    ("negative_prompt", "grey", "grey", "grey"),
    ("negative_prompt", "", None, None),
    ("negative_prompt", "x" * 600, "x" * 500, "has 600 characters, above 500"),
    ("negative_prompt", 7, "must be a string, not 7", "must be a string, not 7"),
]
STRANGE = "\u202eעברית\u202c 👨‍👩‍👧 \u2028 \"quoted\" 'and' \\ 图"
REQUIRED = "is required: give 1 to 2000 characters"
NUL = "contains a NUL character (U+0000); remove it"
PROMPTS: list[tuple[Any, Any, Any]] = [
    ("字" * 2_500, "字" * 2_000, "has 2500 characters, above 2000"),
    ("a" * 1_999 + "😀😀", "a" * 1_999 + "😀", "has 2001 characters, above 2000"),
    (STRANGE, STRANGE, STRANGE),
    ("", REQUIRED, REQUIRED),
    (" \n", REQUIRED, REQUIRED),
    (None, REQUIRED, REQUIRED),
    ("a\0b", NUL, NUL),
    (7, "must be a string, not 7", "must be a string, not 7"),
    (["a"], "must be a string, not an array", "must be a string, not an array"),
]

READ: list[tuple[str, dict[str, str], Any]] = [
    ("a byte order mark", JSON, lambda text: b"\xef\xbb\xbf" + text),
    ("no type", {}, bytes),
    ("text/plain", {"Content-Type": "text/plain"}, bytes),
    ("the type of a form", FORM, bytes),
    ("a charset in capitals", {"Content-Type": "application/json; charset=UTF-8"}, bytes),
    ("another charset, all ASCII", {"Content-Type": "application/json; charset=gbk"}, ascii),
    ("UTF-8 by another name", {"Content-Type": "application/json; charset=ISO-8859-1"}, bytes),
    ("identity", {**JSON, "Content-Encoding": "identity"}, bytes),
    ("white space around", JSON, lambda text: b" \r\n" + text + b"\n"),
]
UNREAD: list[tuple[str, dict[str, str], Any, str]] = [
    ("gzip", {**JSON, "Content-Encoding": "gzip"}, gzip.compress, "Content-Encoding is gzip"),
    ("deflate", {**JSON, "Content-Encoding": "deflate"}, zlib.compress, "is deflate"),
    ("br", {**JSON, "Content-Encoding": "br"}, lambda _: b"\x8b\x02\x80ab\x03", "is br"),
    (
        "gzip of what cannot be packed",
        {**JSON, "Content-Encoding": "gzip"},
        lambda text: gzip.compress(text + random.Random(1).randbytes(2_000_000)),
        "Content-Encoding is gzip",
    ),
    ("gzip that nobody tells of", JSON, gzip.compress, "Content-Encoding is gzip"),
    ("UTF-16 with its mark", JSON, lambda text: text.decode().encode("utf-16"), "is UTF-16"),
    ("UTF-16", JSON, lambda text: text.decode().encode("utf-16-le"), "charset is UTF-16"),
    ("UTF-16, big end", JSON, lambda text: text.decode().encode("utf-16-be"), "is UTF-16"),
    ("UTF-32", JSON, lambda text: text.decode().encode("utf-32"), "charset is UTF-32"),
    (
        "GBK",
        {"Content-Type": 'application/json; charset="GBK"'},
        lambda text: text.decode().encode("gbk"),
        "charset is gbk; send UTF-8",
    ),
    (
        "Latin-1",
        {"Content-Type": "application/json; charset=ISO-8859-1"},
        lambda _: b'{"prompt": "caf\xe9"}',
        "charset is iso-8859-1; send UTF-8",
    ),
    ("a form", FORM, lambda _: b"prompt=blue&images=a", "is application/x-www-form-urlencoded"),
    (
        "a form with files",
        {"Content-Type": "multipart/form-data; boundary=b"},
        lambda _: b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\nx\r\n--b--\r\n',
        "Content-Type is multipart/form-data; send application/json",
    ),
    ("XML", {"Content-Type": "text/xml"}, lambda _: b"<a/>", "Content-Type is text/xml"),
]
MALFORMED: list[tuple[bytes, str]] = [
    (b"", "it is empty (0 bytes)"),
    (b'{"prompt": NaN}', "at character 11"),
    (b'{"prompt": "a",}', "at character 14"),
    (b'{"prompt": "a"} // why', "at character 16"),
    (b"{'prompt': 'a'}", "at character 1"),
    (b'{"prompt": "caf\xe9"}', "byte 15 (0xe9) is not UTF-8"),
    (b'{"prompt": "a"', "at character 14"),
    (b"prompt", "at character 0"),
]
NO_OBJECTS = [b"null", b"[]", b'"text"', b"7", orjson.dumps(orjson.dumps(BODIES[NATIVE]).decode())]


@pytest.fixture(scope="module")
async def sender(shared_idle_gateway: Gateway) -> AsyncIterator[Sender]:
    async with open_sender(shared_idle_gateway) as sender:
        yield sender


@pytest.mark.parametrize(("name", "value", "wire", "native"), PARAMETERS)
async def test_parameter_is_read_or_refused_with_limit_and_value(
    sender: Sender, name: str, value: Any, wire: Any, native: Any
) -> None:
    for door, expected in ((WIRE, wire), (NATIVE, native)):
        answer = await sender.send(door, {}, {name: value})
        await check(sender, answer, name, expected)


@pytest.mark.parametrize(("prompt", "wire", "native"), PROMPTS, ids=range(len(PROMPTS)))
async def test_prompt_is_read_or_refused_with_limit_and_value(
    sender: Sender, prompt: Any, wire: Any, native: Any
) -> None:
    for door, expected in ((WIRE, wire), (NATIVE, native)):
        answer = await sender.send(door, {"prompt": prompt})
        await check(sender, answer, "prompt", expected)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(("name", "headers", "write"), READ, ids=lambda each: str(each)[:20])
async def test_body_is_read_whatever_it_is_called(
    sender: Sender, door: str, name: str, headers: dict[str, str], write: Any
) -> None:
    text = orjson.dumps(BODIES[door])
    content = text.replace("图".encode(), b"\\u56fe") if write is ascii else write(text)

    job = await sender.read_job(await sender.send_bytes(door, content, headers))

    assert (name, job["prompt"]) == (name, PROMPT + " 图")


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("name", "headers", "write", "words"), UNREAD, ids=lambda each: str(each)[:20]
)
async def test_body_that_cannot_be_read_is_named(
    sender: Sender, door: str, name: str, headers: dict[str, str], write: Any, words: str
) -> None:
    content = write(orjson.dumps(BODIES[door]))

    told = read_refusal(await sender.send_bytes(door, content, headers))

    code = "InvalidParameter" if door == WIRE else "unsupported_body"
    assert (name, told.status, told.code) == (name, 415, code)
    assert words in told.words


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(("content", "words"), MALFORMED)
async def test_body_that_is_no_json_is_told_the_place(
    sender: Sender, door: str, content: bytes, words: str
) -> None:
    told = read_refusal(await sender.send_bytes(door, content, JSON))

    assert (told.status, words in told.words) == (400, True), told.words


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("content", NO_OBJECTS)
async def test_body_that_is_no_object_is_told_so(
    sender: Sender, door: str, content: bytes
) -> None:
    told = read_refusal(await sender.send_bytes(door, content, JSON))

    assert told.status == 400
    assert "the body must be a JSON object, not " in told.words


async def check(sender: Sender, answer: httpx.Response, name: str, expected: Any) -> None:
    """Accepted with that value, or refused with those words."""
    if answer.status_code < 400:
        assert (await sender.read_job(answer))[name] == expected
    else:
        told = read_refusal(answer)
        assert f"{name}: " in told.words or f"({name}" in told.words
        assert expected in told.words
