"""Pictures as text."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.media.data_uri import ACCEPTED_TYPES, BadDataUri, parse_data_uri, to_data_uri

LIMIT = 1000


@given(content=st.binary(max_size=600), declared=st.sampled_from(sorted(ACCEPTED_TYPES)))
def test_bytes_survive_the_way_there_and_back(content: bytes, declared: str) -> None:
    parsed = parse_data_uri(to_data_uri(content, declared), limit_bytes=LIMIT)

    assert parsed.content == content
    assert parsed.content_type == ACCEPTED_TYPES[declared]


def test_text_is_what_the_standard_library_would_write() -> None:
    assert to_data_uri(b"\xfb\xff", "image/png") == "data:image/png;base64,+/8="


@pytest.mark.parametrize(
    "text",
    [
        "data:image/png;base64,AAEC\nAwQF",
        "data:image/png;base64,AAEC\r\nAwQF\r\n",
        "data:image/png;base64, AAECAwQF",
        "DATA:Image/PNG;BASE64,AAECAwQF",
        "data:image/png;charset=utf-8;base64,AAECAwQF",
        "data:image/png;name=a.jpg;base64,AAECAwQF",
        'data:image/png;name="a, b; c.jpg";charset=utf-8;base64,AAECAwQF',
        "data:image/png;name=\u56fe.png;base64,AAECAwQF",
        "data:image/png;name=%E5%9B%BE.png;base64,AAECAwQF",
        "data:image/png ; charset=utf-8 ; base64 ,AAECAwQF",
        "data:image/png;base64;charset=utf-8,AAECAwQF",
        "data:image/png;name=" + "a" * 255 + ".png;base64,AAECAwQF",
    ],
)
def test_parameters_wrapped_lines_and_upper_case_are_let_through(text: str) -> None:
    assert parse_data_uri(text, limit_bytes=LIMIT).content == bytes(range(6))


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("data:image/png;base64,AAE", "not_base64", "padding"),
        ("data:image/png;base64,AA=EC", "not_base64", "base64"),
        ("data:image/png;base64,_-8=", "not_base64", "standard alphabet"),
        ("data:image/png;base64,図図図図", "not_base64", "ASCII"),
        ("data:image/png,AAEC", "bad_data_uri", "begin with data:"),
        ("data:image/png;base64", "bad_data_uri", "begin with data:"),
        ("data:image/png;base64x,AAEC", "bad_data_uri", "begin with data:"),
        ('data:image/png;name="a;base64,AAEC', "bad_data_uri", "begin with data:"),
        ("data:" + "x" * 200 + ";base64,AAEC", "unsupported_format", f"'{'x' * 64}';"),
        ("data:;base64,AAEC", "unsupported_format", "JPEG, PNG, BMP or WEBP"),
        ("data:image/gif;base64,AAEC", "unsupported_format", "image/gif"),
        ("data:text/html;base64,AAEC", "unsupported_format", "text/html"),
        ("data:\ud800;base64,AAEC", "unsupported_format", r"\ud800"),
    ],
)
def test_refusal_says_what_is_wrong(text: str, code: str, words: str) -> None:
    with pytest.raises(BadDataUri) as refusal:
        parse_data_uri(text, limit_bytes=LIMIT)

    assert refusal.value.code == code
    assert words in refusal.value.message


def test_limit_is_on_the_encoded_text() -> None:
    head = "data:image/png;base64,"
    at_limit = head + base64.b64encode(bytes(75)).decode()

    assert len(parse_data_uri(at_limit, limit_bytes=len(at_limit)).content) == 75
    with pytest.raises(BadDataUri) as refusal:
        parse_data_uri(at_limit, limit_bytes=len(at_limit) - 1)

    assert refusal.value.code == "data_uri_too_long"
    assert refusal.value.limits == {"max": len(at_limit) - 1, "actual": len(at_limit)}


def test_parameters_end_somewhere() -> None:
    with pytest.raises(BadDataUri, match="does not begin with data:"):
        parse_data_uri(f"data:image/png;name={'x' * 1024};base64,AAEC", limit_bytes=2000)


@given(text=st.text(st.characters()))
def test_no_text_raises_anything_else(text: str) -> None:
    for candidate in (text, f"data:{text}", f"data:image/png;base64,{text}"):
        try:
            parse_data_uri(candidate, limit_bytes=LIMIT)
        except BadDataUri as refusal:
            refusal.message.encode()


def test_repr_hides_the_picture() -> None:
    assert "content=" not in repr(parse_data_uri("data:image/png;base64,AAEC", limit_bytes=99))
