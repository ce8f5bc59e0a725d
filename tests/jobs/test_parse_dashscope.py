"""The DashScope door's reading: as lenient as the upstream, refusing in its words."""

import pytest

from app.jobs.requests.edit import EditRequest, OssImage, UrlImage, to_file_ref
from app.jobs.requests.parse_dashscope import parse_dashscope
from tests.jobs.bodies import DATA_URI_LIMIT, FILE_ID, MODEL, URL, dashscope, refuse
from tests.media.images import make_long_uri, make_uri


def test_dashscope_defaults_are_the_documented_ones() -> None:
    request = parse_dashscope(dashscope())

    assert request == EditRequest(model=MODEL, prompt="make it blue", images=(UrlImage(URL),), n=4)


@pytest.mark.parametrize("parameters", [None, {}, {"n": None, "size": None, "seed": None}])
def test_dashscope_parameters_may_be_missing(parameters: object) -> None:
    body = dashscope(parameters)
    without = {key: value for key, value in body.items() if key != "parameters"}

    assert parse_dashscope(body) == parse_dashscope(without)


def test_dashscope_cuts_long_prompts_as_documented() -> None:
    request = parse_dashscope(dashscope(prompt="字" * 2001, negative_prompt="x" * 501))

    assert request.prompt == "字" * 2000
    assert request.negative_prompt == "x" * 500


@pytest.mark.parametrize(
    ("parameters", "field", "value"),
    [
        ({"n": "2"}, "n", 2),
        ({"n": 2.0}, "n", 2),
        ({"seed": "12345"}, "seed", 12345),
        ({"watermark": "true"}, "watermark", True),
        ({"watermark": "True"}, "watermark", True),
        ({"prompt_extend": "false"}, "prompt_extend", False),
        ({"prompt_extend": False}, "prompt_extend", False),
        ({"size": "1280*1280"}, "size", "1280*1280"),
        ({"size": ""}, "size", None),
        ({"n": ""}, "n", 4),
        ({"seed": ""}, "seed", None),
        ({"watermark": ""}, "watermark", False),
        ({"prompt_extend": ""}, "prompt_extend", True),
        ({"negative_prompt": ""}, "negative_prompt", None),
        ({"negative_prompt": "blur"}, "negative_prompt", "blur"),
        ({"is_async": True, "extra": {"a": 1}}, "n", 4),
    ],
)
def test_dashscope_takes_what_its_sdks_send(
    parameters: dict[str, object], field: str, value: object
) -> None:
    assert getattr(parse_dashscope(dashscope(parameters)), field) == value


def test_dashscope_negative_prompt_of_the_input_wins() -> None:
    body = dashscope({"negative_prompt": "second"}, negative_prompt="first", function="ignored")

    assert parse_dashscope(body).negative_prompt == "first"


def test_dashscope_takes_the_sdks_uploads() -> None:
    request = parse_dashscope(dashscope(images=["oss://dashscope-instant/ab/b 図.png"]))

    assert request.images == (OssImage("dashscope-instant/ab/b 図.png"),)


@pytest.mark.parametrize(
    ("body", "path", "words"),
    [
        ({"model": MODEL}, "input.prompt", "Field required: input.prompt"),
        (dashscope(images=[]), "input.images", "Field required: input.images"),
        (dashscope(prompt=None), "input.prompt", "Field required: input.prompt"),
        (dashscope({"n": 5}), "parameters.n", "Range of n should be [1, 4]; is 5"),
        (dashscope({"n": "5"}), "parameters.n", "Range of n should be [1, 4]; is 5"),
        (dashscope({"seed": -1}), "parameters.seed", "Range of seed should be [0, 2147483647]"),
        (dashscope({"n": "many"}), "parameters.n", "Required parameter(parameters.n) missing or"),
        (dashscope({"n": 1.5}), "parameters.n", "must be a whole number"),
        (dashscope({"watermark": 2}), "parameters.watermark", "must be true or false"),
        (dashscope({"size": "9*9"}), "parameters.size", "589824"),
        (dashscope([]), "parameters", "must be an object, not an array"),
        (
            dashscope(images=[make_uri(100, 400)]),
            "input.images[0]",
            "the size of input image is too small or too large. width is 100 px",
        ),
        (
            dashscope(images=[make_long_uri(DATA_URI_LIMIT + 4)]),
            "input.images[0]",
            "Exceeded limit on max bytes per data-uri item : 10485760; it is 10485764 bytes",
        ),
        (
            dashscope(images=["data:image/png;base64,AAEC"]),
            "input.images[0]",
            "Invalid image format or corrupted file",
        ),
        (dashscope(images=["/nope.png"]), "input.images[0]", "the SDK uploads file://"),
        (dashscope(images=["ftp://a/b"]), "input.images[0]", "The request URL is invalid, please"),
        (dashscope(images=["oss://"]), "input.images[0]", "object key of 0 characters"),
        (dashscope(images=[to_file_ref(FILE_ID)]), "input.images[0]", "neither a URL"),
    ],
)
def test_dashscope_refusal_has_the_upstreams_words_and_the_detail(
    body: object, path: str, words: str
) -> None:
    (problem, *_) = refuse(parse_dashscope, body)

    assert problem.path == path
    assert words in problem.message


@pytest.mark.parametrize("model", [None, "", "wan9", 3, [MODEL]])
def test_dashscope_unknown_model_has_its_own_code(model: object) -> None:
    (problem,) = refuse(parse_dashscope, dashscope({"n": 99}, model=model))

    assert problem.code == "model_not_found"
    assert problem.message.startswith("Model not exist.")
    assert problem.message.endswith(f"is no model; give {MODEL}")
