"""The input images of a request, alike on both doors."""

import pytest

from app.jobs.requests.edit import FileImage, OssImage, UrlImage, to_file_ref
from app.jobs.requests.image_rules import OTHER_NAMES, check_input_image
from app.jobs.requests.parse_dashscope import parse_dashscope
from app.jobs.requests.parse_native import parse_native
from app.media.data_uri import to_data_uri
from app.media.inspect import ImageFacts
from tests.jobs.bodies import DATA_URI_LIMIT, FILE_ID, MODEL, URL, dashscope, native, refuse
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
    (URL.ljust(8001, "a"), "url_too_long", {"max": 8000, "actual": 8001}),
    ("FILE:///home/me/a.png", "local_path", {}),
    ("blob:https://img.example/a", "bad_url", {}),
    ("//img.example/a.png", "local_path", {}),
    ('"https://img.example/a.png"', "bad_url", {}),
    ("https://img.example/a\u200b.png", "bad_url", {}),
    ("https://img.example/a\u3000b.png", "bad_url", {}),
    (make_uri(400, 400)[:-60], "damaged_image", {}),
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


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ("HTTPS://CDN.EXAMPLE.COM/A.PNG", "https://cdn.example.com/A.PNG"),
        ("Http://Cdn.Example.com:8080/A?B=C#D", "http://cdn.example.com:8080/A?B=C#D"),
        ("https://[2001:DB8::1]/A", "https://[2001:db8::1]/A"),
        ("https://图.Example/A", "https://图.Example/A"),
        (" https://img.example/a ", "https://img.example/a"),
        ("\r\nhttps://img.example/a\n", "https://img.example/a"),
        ("\u200bhttps://img.example/a\u200b", "https://img.example/a"),
        ("\ufeffhttps://img.example/a", "https://img.example/a"),
        ("\u00a0\u3000https://img.example/a\u2028", "https://img.example/a"),
        ("\u202ahttps://img.example/a\u202c", "https://img.example/a"),
        ("https://img.example/图.png", "https://img.example/图.png"),
        ("https://img.example/می\u200cخواهم.png", "https://img.example/می\u200cخواهم.png"),
        ("https://img.example/a%20b%2Fc", "https://img.example/a%20b%2Fc"),
        ("https://IMG.example?A=https://IMG.example", "https://img.example?A=https://IMG.example"),
        *((f"{URL}?{'s' * length}", f"{URL}?{'s' * length}") for length in (2_100, 4_000, 6_000)),
        (URL.ljust(8_000, "a"), URL.ljust(8_000, "a")),
    ],
)
def test_both_doors_read_an_address_in_one_way(sent: str, read: str) -> None:
    ours = parse_native(native(images=[sent]))
    theirs = parse_dashscope(dashscope(images=[sent]))

    assert ours.images == theirs.images == (UrlImage(read),)


@pytest.mark.parametrize("around", [" ", "\n", "\ufeff", "\u200b", "\u3000"])
def test_what_stands_around_a_picture_or_an_upload_is_left_away(around: str) -> None:
    inline = parse_native(native(images=[around + make_uri(400, 400) + around])).images
    ours = parse_native(native(images=[around + to_file_ref(FILE_ID) + around])).images
    theirs = parse_dashscope(dashscope(images=[around + "OSS://Folder/A.png" + around])).images

    assert inline == parse_native(native(images=[make_uri(400, 400)])).images
    assert ours == (FileImage(FILE_ID),)
    assert theirs == (OssImage("Folder/A.png"),)


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ("https://img.example/a\u200bb", "U+200B ZERO WIDTH SPACE at character 21"),
        ("https://img.example/a b", "write it as %20"),
        ("https://img.example/a\tb", "U+0009 at character 21"),
        ("https://img.example/a\u00a0b", "U+00A0 NO-BREAK SPACE"),
        ("https://img.example/a\\b", "U+005C REVERSE SOLIDUS"),
        ('"https://img.example/a"', "U+0022 QUOTATION MARK before https://"),
        ("<https://img.example/a>", "U+003C LESS-THAN SIGN before https://"),
        ("\u201chttps://img.example/a\u201d", "U+201C LEFT DOUBLE QUOTATION MARK"),
        ("'data:image/png;base64,AAEC'", "U+0027 APOSTROPHE before data:"),
        ("ftp://img.example/a", 'its scheme is "ftp"; it must be http, https or data'),
        (URL.ljust(8_001, "a"), "send the picture itself as a data URI"),
    ],
)
def test_both_doors_name_the_character_and_what_to_do(sent: str, words: str) -> None:
    (ours,) = refuse(parse_native, native(images=[sent]))
    (theirs,) = refuse(parse_dashscope, dashscope(images=[sent]))

    assert words in ours.message
    assert words in theirs.message


WRITE_IMAGES = 'write "images": ["https://..."]'


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_both_doors_say_what_to_write_in_place_of_another_models_field(name: str) -> None:
    theirs = refuse(parse_dashscope, dashscope(**{"images": None, name: URL}))
    ours = refuse(parse_native, native(**{"images": None, name: URL}))

    assert [problem.path for problem in theirs] == ["input.images"]
    assert "Field required: input.images; has 0 images; give 1 to 3" in theirs[0].message
    assert [problem.path for problem in ours] == [name, "images"]
    for problem in (*ours, *theirs):
        assert WRITE_IMAGES in problem.message
    assert f'"{name}" is not of this model' in theirs[0].message


def test_fields_of_another_model_do_no_harm_on_the_wire_beside_images() -> None:
    body = dashscope(function="description_edit", base_image_url=URL, mask_image_url=URL)

    assert parse_dashscope(body) == parse_dashscope(dashscope())


def test_each_door_names_the_shape_of_the_other() -> None:
    wire = refuse(parse_native, dashscope({"n": 1}))
    flat = refuse(parse_dashscope, native(model=MODEL))

    assert {problem.path for problem in wire} == {"input", "parameters", "prompt", "images"}
    assert "level of the DashScope door at /api/v1" in wire[0].message
    assert 'write "input": {"prompt": ..., "images": [...]}' in flat[0].message
