"""What a client may ask, by the native door's strict reading, and the value it becomes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.jobs.requests.edit import (
    EditRequest,
    FileImage,
    InlineImage,
    Priority,
    UrlImage,
    fingerprint,
    to_file_ref,
)
from app.jobs.requests.parse_dashscope import parse_dashscope
from app.jobs.requests.parse_native import parse_native
from app.kit.errors import InvalidRequest
from tests.jobs.bodies import (
    DATA_URI_LIMIT,
    FILE_ID,
    MODEL,
    SMALL_PNG,
    URL,
    dashscope,
    native,
    refuse,
)
from tests.media.images import make_long_uri, make_uri


def test_native_defaults_are_the_documented_ones() -> None:
    assert parse_native(native()) == EditRequest(
        model=MODEL,
        prompt="make it blue",
        images=(UrlImage(URL),),
        negative_prompt=None,
        n=1,
        size=None,
        seed=None,
        watermark=False,
        prompt_extend=True,
        metadata={},
        priority=Priority.INTERACTIVE,
        expires_in_seconds=None,
    )


def test_native_takes_every_field() -> None:
    body = native(
        model=MODEL,
        images=[URL, SMALL_PNG, to_file_ref(FILE_ID)],
        negative_prompt="blur",
        n=4,
        size="1280x1280",
        seed=7,
        watermark=True,
        prompt_extend=False,
        metadata={"campaign": "x"},
        priority="batch",
        expires_in_seconds=600,
    )

    request = parse_native(body)

    url, inline, uploaded = request.images
    assert (url, uploaded) == (UrlImage(URL), FileImage(FILE_ID))
    assert isinstance(inline, InlineImage)
    assert (inline.facts.width, inline.facts.content_type) == (384, "image/png")
    assert (request.n, request.size, request.seed) == (4, "1280*1280", 7)
    assert (request.watermark, request.prompt_extend) == (True, False)
    assert (request.metadata, request.priority) == ({"campaign": "x"}, "batch")
    assert (request.negative_prompt, request.expires_in_seconds) == ("blur", 600)


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": "x"},
        {"prompt": "字" * 2000},
        {"negative_prompt": "字" * 500},
        {"negative_prompt": None, "size": None, "n": None, "seed": None, "metadata": None},
        {"images": [URL, URL, URL]},
        {"images": ["https://img.example/" + "a" * (8000 - 20)]},
        {"images": ["http://127.0.0.1:8080/図.png?X-Sig=a%2Fb#f"]},
        {"n": 1},
        {"n": 4},
        {"size": "768*768"},
        {"size": "1344*576"},
        {"size": "2560*640"},
        {"size": "400x1600"},
        {"seed": 0},
        {"seed": 2_147_483_647},
        {"metadata": {f"k.{number}-_": "v" * 500 for number in range(16)}},
        {"metadata": {"k" * 64: ""}},
        {"expires_in_seconds": 60},
        {"expires_in_seconds": 604_800},
        {"images": [make_uri(384, 384), make_uri(5000, 5000), make_uri(384, 1536)]},
        {"images": [make_uri(1536, 384, "JPEG"), make_uri(400, 400, "BMP")]},
        {"images": [make_uri(400, 400, "WEBP")]},
        {"images": [make_long_uri(DATA_URI_LIMIT)]},
    ],
)
def test_native_accepts_up_to_each_limit(fields: dict[str, object]) -> None:
    parse_native(native(**fields))


NATIVE_FAULTS: list[tuple[dict[str, object], str, str, dict[str, object]]] = [
    ({"prompt": None}, "prompt", "missing", {"min": 1, "max": 2000, "actual": 0}),
    ({"prompt": " \n"}, "prompt", "missing", {"min": 1, "max": 2000, "actual": 0}),
    ({"prompt": "字" * 2001}, "prompt", "too_long", {"max": 2000, "actual": 2001}),
    ({"prompt": 7}, "prompt", "wrong_type", {}),
    ({"prompt": "a\0b"}, "prompt", "unstorable", {}),
    ({"prompt": "a\ud800b"}, "prompt", "unstorable", {}),
    ({"negative_prompt": "x" * 501}, "negative_prompt", "too_long", {"max": 500, "actual": 501}),
    ({"negative_prompt": ["x"]}, "negative_prompt", "wrong_type", {}),
    ({"model": "wan9"}, "model", "model_not_found", {}),
    ({"model": 5}, "model", "model_not_found", {}),
    ({"n": 0}, "n", "out_of_range", {"min": 1, "max": 4, "actual": 0}),
    ({"n": 5}, "n", "out_of_range", {"min": 1, "max": 4, "actual": 5}),
    ({"n": 10**30}, "n", "out_of_range", {"min": 1, "max": 4, "actual": "beyond 64 bits"}),
    ({"n": "2"}, "n", "wrong_type", {}),
    ({"n": 2.0}, "n", "wrong_type", {}),
    ({"n": ""}, "n", "wrong_type", {}),
    ({"seed": ""}, "seed", "wrong_type", {}),
    ({"watermark": ""}, "watermark", "wrong_type", {}),
    ({"n": True}, "n", "wrong_type", {}),
    ({"seed": -1}, "seed", "out_of_range", {"min": 0, "max": 2**31 - 1, "actual": -1}),
    ({"seed": 2**31}, "seed", "out_of_range", {"min": 0, "max": 2**31 - 1, "actual": 2**31}),
    ({"size": "767*768"}, "size", "size_area", {"min": 589824, "max": 1638400, "actual": 589056}),
    (
        {"size": "1281*1280"},
        "size",
        "size_area",
        {"min": 589824, "max": 1638400, "actual": 1639680},
    ),
    ({"size": "2561*639"}, "size", "size_aspect", {"min": 0.25, "max": 4, "actual": 4.008}),
    ({"size": "400*1601"}, "size", "size_aspect", {"min": 0.25, "max": 4, "actual": 0.25}),
    ({"size": "1280"}, "size", "bad_size", {}),
    ({"size": ""}, "size", "bad_size", {}),
    ({"size": "1280 * 1280"}, "size", "bad_size", {}),
    ({"size": "0*1280"}, "size", "bad_size", {}),
    ({"size": 1280}, "size", "bad_size", {}),
    ({"watermark": "true"}, "watermark", "wrong_type", {}),
    ({"prompt_extend": 1}, "prompt_extend", "wrong_type", {}),
    ({"priority": "urgent"}, "priority", "not_a_choice", {}),
    ({"priority": ["batch"]}, "priority", "not_a_choice", {}),
    (
        {"expires_in_seconds": 59},
        "expires_in_seconds",
        "out_of_range",
        {"min": 60, "max": 604_800, "actual": 59},
    ),
    (
        {"expires_in_seconds": 604_801},
        "expires_in_seconds",
        "out_of_range",
        {"min": 60, "max": 604_800, "actual": 604_801},
    ),
    ({"metadata": []}, "metadata", "wrong_type", {}),
    (
        {"metadata": {str(number): "" for number in range(17)}},
        "metadata",
        "too_many",
        {"max": 16, "actual": 17},
    ),
    ({"metadata": {"k": "v" * 501}}, "metadata.k", "too_long", {"max": 500, "actual": 501}),
    ({"metadata": {"k": 1}}, "metadata.k", "wrong_type", {}),
    ({"metadata": {"k": None}}, "metadata.k", "wrong_type", {}),
    ({"metadata": {"k": "\0"}}, "metadata.k", "unstorable", {}),
    ({"metadata": {"a b": "v"}}, "metadata.a b", "bad_key", {"max": 64}),
    ({"metadata": {"": "v"}}, "metadata.", "bad_key", {"max": 64}),
    ({"metadata": {"k" * 65: "v"}}, "metadata." + "k" * 64 + "...", "bad_key", {"max": 64}),
    ({"a\ud800": 1}, "a\\ud800", "unknown_field", {}),
    ({"size": "\ud800"}, "size", "bad_size", {}),
    ({"images": None}, "images", "missing", {"min": 1, "max": 3, "actual": 0}),
    ({"images": []}, "images", "missing", {"min": 1, "max": 3, "actual": 0}),
    ({"images": [URL] * 4}, "images", "too_many", {"min": 1, "max": 3, "actual": 4}),
    ({"images": URL}, "images", "wrong_type", {}),
]


@pytest.mark.parametrize(("fields", "path", "code", "limits"), NATIVE_FAULTS)
def test_native_refuses_beyond_each_limit(
    fields: dict[str, object], path: str, code: str, limits: dict[str, object]
) -> None:
    (problem,) = refuse(parse_native, native(**fields))

    assert (problem.path, problem.code, problem.limits) == (path, code, limits)
    problem.message.encode()


def test_every_fault_is_told_at_once() -> None:
    body = native(prompt="", images=["a.png", make_uri(100, 100)], n=9, size="1*1", sede=1)

    problems = refuse(parse_native, body)

    assert [problem.path for problem in problems] == [
        "sede",
        "prompt",
        "images[0]",
        "images[1]",
        "images[1]",
        "n",
        "size",
    ]
    assert problems[0].message == "is not a field of this request; did you mean seed?"


def test_unknown_fields_are_told_in_a_bounded_number() -> None:
    problems = refuse(parse_native, native(**{f"x{number}": 1 for number in range(10_000)}))

    assert len(problems) == 16
    assert "known are expires_in_seconds, images," in problems[0].message


@pytest.mark.parametrize("body", [None, [], "x", 1, True])
def test_body_must_be_an_object(body: object) -> None:
    for parse in (parse_native, parse_dashscope):
        with pytest.raises(InvalidRequest, match="the body must be a JSON object"):
            parse(body)


def test_fingerprint_is_the_same_for_the_same_request() -> None:
    first = fingerprint(parse_native(native(images=[SMALL_PNG], metadata={"a": "1", "b": "2"})))
    again = fingerprint(parse_native(native(images=[SMALL_PNG], metadata={"b": "2", "a": "1"})))

    assert first == again
    assert len(first) == 32


def test_fingerprint_changes_with_every_field() -> None:
    bodies: list[dict[str, Any]] = [
        {},
        {"prompt": "make it red"},
        {"images": [URL + "?"]},
        {"images": [URL, URL]},
        {"images": [SMALL_PNG]},
        {"images": [make_uri(385, 384)]},
        {"images": [to_file_ref(FILE_ID)]},
        {"negative_prompt": "x"},
        {"n": 2},
        {"size": "1280*1280"},
        {"seed": 0},
        {"watermark": True},
        {"prompt_extend": False},
        {"metadata": {"a": "b"}},
        {"priority": "batch"},
        {"expires_in_seconds": 60},
    ]

    prints = {fingerprint(parse_native(native(**body))) for body in bodies}
    prints.add(fingerprint(parse_dashscope(dashscope({"n": 1}, images=["oss://a"]))))

    assert len(prints) == len(bodies) + 1


def test_repr_shows_no_prompt_no_picture_and_no_signed_url() -> None:
    body = native(
        prompt="secret-prompt",
        negative_prompt="secret-negative",
        images=[URL + "?sig=secret", SMALL_PNG],
        metadata={"k": "secret"},
    )

    shown = repr(parse_native(body))

    assert "secret" not in shown
    assert "content=" not in shown
    assert MODEL in shown


TEXT = st.text(st.characters())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)
NAMES = st.sampled_from([*EditRequest.__dataclass_fields__, "input", "parameters"])
WORDS = st.sampled_from([MODEL, URL, SMALL_PNG, "oss://a", "file_x", "data:", "http://[", "1*1"])
FIELDS = st.dictionaries(NAMES | TEXT, JSON | WORDS | st.lists(JSON | WORDS, max_size=4))


@given(body=JSON | FIELDS)
def test_native_answers_anything_with_a_request_or_a_refusal(body: object) -> None:
    _check_total(parse_native, body)


@given(inputs=JSON | FIELDS, parameters=JSON | FIELDS, model=JSON | st.just(MODEL))
def test_dashscope_answers_anything_with_a_request_or_a_refusal(
    inputs: object, parameters: object, model: object
) -> None:
    body = {"model": model, "input": inputs, "parameters": parameters}
    _check_total(parse_dashscope, body)


def _check_total(parse: Any, body: object) -> None:
    try:
        fingerprint(parse(body))
    except InvalidRequest as refusal:
        refusal.message.encode()
        for problem in refusal.problems:
            problem.path.encode()
