"""The input images of a request, alike on both doors."""

import pytest

from app.jobs.requests.image_rules import check_input_image
from app.jobs.requests.parse_dashscope import parse_dashscope
from app.jobs.requests.parse_native import parse_native
from app.media.data_uri import to_data_uri
from app.media.inspect import ImageFacts
from tests.jobs.bodies import DATA_URI_LIMIT, URL, dashscope, native, refuse
from tests.media.images import make_image, make_long_uri, make_uri

MEGABYTES_10 = 10 * 1024 * 1024

IMAGE_FAULTS: list[tuple[object, str, dict[str, object]]] = [
    (7, "wrong_type", {}),
    ("", "local_path", {}),
    ("/home/me/a.png", "local_path", {}),
    ("a.png", "local_path", {}),
    ("file:///home/me/a.png", "local_path", {}),
    ("C:\\a.png", "local_path", {}),
    ("ftp://img.example/a.png", "bad_url", {}),
    ("https://", "bad_url", {}),
    ("https:///a.png", "bad_url", {}),
    ("https://img.example:99999/a.png", "bad_url", {}),
    ("https://[::1/a.png", "bad_url", {}),
    ("https://img.example/a b.png", "bad_url", {}),
    ("https://img.example/a\nb.png", "bad_url", {}),
    ("https://img.example\\@evil/a.png", "bad_url", {}),
    ("https://me:word@img.example/a.png", "bad_url", {}),
    ("https://img.example/\0", "unstorable", {}),
    ("https://img.example/" + "a" * 1500 + "\ud800", "unstorable", {}),
    (URL.ljust(2049, "a"), "url_too_long", {"max": 2048, "actual": 2049}),
    ("/9j/" + "A" * 2000, "bad_url", {}),
    (
        make_long_uri(DATA_URI_LIMIT + 1),
        "data_uri_too_long",
        {"max": 10485760, "actual": 10485761},
    ),
    ("data:image/png;base64,AAEC", "not_an_image", {}),
    ("data:image/png;base64,A", "not_base64", {}),
    ("data:image/png,abc", "bad_data_uri", {}),
    ("data:image/gif;base64,R0lGODlh", "unsupported_format", {}),
    (to_data_uri(make_image("GIF"), "image/png"), "unsupported_format", {}),
    (to_data_uri(make_image("PNG")[:20], "image/png"), "damaged_image", {}),
    (make_uri(383, 400), "image_too_small", {"min": 384, "max": 5000, "actual": 383}),
    (make_uri(5001, 2000), "image_too_large", {"min": 384, "max": 5000, "actual": 5001}),
    (make_uri(1537, 384), "image_aspect", {"min": 0.25, "max": 4, "actual": 4.003}),
]


@pytest.mark.parametrize(("image", "code", "limits"), IMAGE_FAULTS)
def test_both_doors_refuse_a_bad_image_and_name_its_place(
    image: object, code: str, limits: dict[str, object]
) -> None:
    (ours,) = refuse(parse_native, native(images=[URL, image]))
    (theirs,) = refuse(parse_dashscope, dashscope(images=[URL, image]))

    assert (ours.path, ours.code, ours.limits) == ("images[1]", code, limits)
    assert (theirs.path, theirs.code, theirs.limits) == ("input.images[1]", code, limits)
    assert "word" not in ours.message


@pytest.mark.parametrize(
    ("image", "code"),
    [("oss://dashscope-instant/a.png", "bad_url"), ("file_123", "bad_file_id")],
)
def test_native_takes_uploads_by_file_id_only(image: str, code: str) -> None:
    (problem,) = refuse(parse_native, native(images=[image]))

    assert problem.code == code


@pytest.mark.parametrize(
    ("facts", "codes"),
    [
        (ImageFacts("image/png", 384, 1536, MEGABYTES_10, ""), []),
        (ImageFacts("image/png", 5000, 1250, MEGABYTES_10, ""), []),
        (ImageFacts("image/png", 400, 400, MEGABYTES_10 + 1, ""), ["image_too_many_bytes"]),
        (ImageFacts("image/png", 100, 9000, 1, ""), ["too_small", "too_large", "aspect"]),
    ],
)
def test_uploaded_image_is_held_to_the_same_rules(facts: ImageFacts, codes: list[str]) -> None:
    problems = check_input_image(facts, ("file",))

    assert all(problem.path == "file" for problem in problems)
    assert [problem.code.removeprefix("image_") for problem in problems] == [
        code.removeprefix("image_") for code in codes
    ]
