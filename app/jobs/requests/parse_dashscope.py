"""From the upstream's own create body to an edit request, as lenient as the upstream (pure).

Source: Alibaba Cloud Model Studio, "Wan2.5 general image editing"; docs/upstream.md.
"""

from dataclasses import replace

from app.dashscope.payloads import N_DEFAULT
from app.jobs.requests.edit import EditRequest
from app.jobs.requests.field_rules import Fields, read_model
from app.jobs.requests.image_rules import read_images
from app.jobs.requests.models import ModelRules
from app.kit.errors import FieldProblem, InvalidRequest

_SIZE_WORDS = "the size of input image is too small or too large."
_FORMAT_WORDS = "Invalid image format or corrupted file."
_URL_WORDS = (
    "The request URL is invalid, please check the request URL is available and the request "
    "image format is one of the following types: JPEG, JPG, PNG, BMP, and WEBP."
)
_UPSTREAM_WORDS = {
    "model_not_found": "Model not exist.",
    "image_too_small": _SIZE_WORDS,
    "image_too_large": _SIZE_WORDS,
    "image_aspect": _SIZE_WORDS,
    "not_an_image": _FORMAT_WORDS,
    "damaged_image": _FORMAT_WORDS,
    "unsupported_format": _FORMAT_WORDS,
    "bad_url": _URL_WORDS,
    "url_too_long": _URL_WORDS,
    "local_path": _URL_WORDS,
}


def parse_dashscope(body: object) -> EditRequest:
    """A request that the upstream would run, else InvalidRequest in the upstream's words."""
    fields = Fields.of(body, lenient=True)
    try:
        return _parse(fields)
    except InvalidRequest as refusal:
        told = tuple(_in_upstream_words(problem) for problem in refusal.problems)
        raise InvalidRequest.from_problems(told) from None


def _parse(fields: Fields) -> EditRequest:
    rules = read_model(fields, default=None)
    inputs, parameters = fields.section("input"), fields.section("parameters")
    if "input" not in fields.values and not fields.values.keys().isdisjoint(("prompt", "images")):
        told = 'is missing: write "input": {"prompt": ..., "images": [...]}, not side by side'
        fields.note("input", "misplaced", told)
    n = parameters.integer("n", rules.n)
    request = EditRequest(
        model=rules.name,
        prompt=inputs.required_text("prompt", longest=rules.prompt_characters),
        images=read_images(inputs, rules),
        negative_prompt=_read_negative_prompt(inputs, parameters, rules),
        n=N_DEFAULT if n is None else n,
        size=parameters.size("size", rules),
        seed=parameters.integer("seed", rules.seed),
        watermark=parameters.boolean("watermark", default=False),
        prompt_extend=parameters.boolean("prompt_extend", default=True),
    )
    fields.refuse_faults()
    return request


def _read_negative_prompt(inputs: Fields, parameters: Fields, rules: ModelRules) -> str | None:
    # The Java SDK sends it twice.
    source = inputs if inputs.values.get("negative_prompt") else parameters
    return source.text("negative_prompt", longest=rules.negative_prompt_characters)


def _in_upstream_words(problem: FieldProblem) -> FieldProblem:
    return replace(problem, message=f"{_upstream_words(problem)} {problem.message}")


def _upstream_words(problem: FieldProblem) -> str:
    limits = problem.limits
    match problem.code:
        case "missing":
            return f"Field required: {problem.path};"
        case "out_of_range":
            return f"Range of {problem.loc[-1]} should be [{limits['min']}, {limits['max']}];"
        case "data_uri_too_long" | "image_too_many_bytes":
            return f"Exceeded limit on max bytes per data-uri item : {limits['max']};"
        case code if code in _UPSTREAM_WORDS:
            return _UPSTREAM_WORDS[code]
    return (
        f"Required parameter({problem.path}) missing or invalid, "
        "please check the request parameters:"
    )
