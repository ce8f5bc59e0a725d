"""Upload forms as clients write them, and as nobody should."""

import time

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dashscope_api.forms import PARTS_LIMIT, Form, find_boundary, parse_form

MEGABYTE = 1024 * 1024
LIMIT_SECONDS = 0.5
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def write(fields: dict[str, str], file: bytes, name: str = "a.png") -> tuple[bytes, bytes]:
    """As httpx does, the SDKs' own client; body and boundary."""
    request = httpx.Request("POST", "http://a", data=fields, files={"file": (name, file)})
    boundary = find_boundary(request.headers["content-type"])
    assert boundary is not None
    return request.read(), boundary


@given(
    fields=st.dictionaries(st.sampled_from(["policy", "key", "Signature"]), TEXT),
    file=st.binary(max_size=200),
    name=TEXT.filter(bool),
)
def test_what_a_client_writes_is_read_back(fields: dict[str, str], file: bytes, name: str) -> None:
    body, boundary = write(fields, file, name)

    assert parse_form(body, boundary) == Form(fields, file, is_file_whole=True)


@given(cut=st.integers(0, 600))
def test_of_a_form_that_still_comes_no_half_field_is_read(cut: int) -> None:
    fields = {"policy": "p" * 50, "key": "k" * 50}
    body, boundary = write(fields, b"file")

    form = parse_form(body[:cut], boundary)

    whole = {name: text for name, text in form.fields.items() if text == fields[name]}
    assert form.file is None or whole == fields


@given(junk=st.binary(max_size=300))
def test_whatever_comes_is_read_without_an_error(junk: bytes) -> None:
    parse_form(junk, b"b")
    parse_form(b"--b\r\n" + junk, b"b")


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        f"multipart/form-data; boundary={'a' * 71}",
        "multipart/mixed; boundary=b",
        "application/x-www-form-urlencoded",
        "text/plain; boundary=b",
        "",
    ],
)
def test_what_is_no_form_with_files_has_no_boundary(content_type: str) -> None:
    assert find_boundary(content_type) is None


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data; boundary=b",
        'Multipart/Form-Data; charset=punycode; boundary="b"',
        "multipart/form-data;boundary=b;charset=utf-16",
    ],
)
def test_the_boundary_is_all_that_is_read_of_the_type(content_type: str) -> None:
    assert find_boundary(content_type) == b"b"


@pytest.mark.parametrize(
    "body",
    [
        b"--b\r\n" * (2 * MEGABYTE),
        b"\r\n-" * (3 * MEGABYTE),
        b"--b\r\n" + b"a: b\r\n" * (2 * MEGABYTE),
        b'--b\r\nContent-Disposition: form-data; name="key"\r\n\r\n' + b"a" * (10 * MEGABYTE),
    ],
    ids=["parts", "nearly", "headers", "a field"],
)
def test_none_takes_long(body: bytes) -> None:
    began = time.perf_counter()
    parse_form(body, b"b")

    assert time.perf_counter() - began < LIMIT_SECONDS


def test_parts_beyond_the_limit_are_not_looked_at() -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="n%d"\r\n\r\nv\r\n'
    body = b"".join(part % number for number in range(PARTS_LIMIT * 2))

    assert len(parse_form(body, b"b").fields) == PARTS_LIMIT
