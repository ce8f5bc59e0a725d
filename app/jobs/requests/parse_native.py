"""From the native door's JSON to an edit request: strict, everything wrong said at once (pure)."""

import re

from app.jobs.requests.edit import EditRequest, Priority
from app.jobs.requests.field_rules import Fields, name_type, read_model, show
from app.jobs.requests.image_rules import OTHER_NAMES, read_images
from app.jobs.requests.models import DEFAULT_MODEL

EXPIRES_RANGE_SECONDS = (60, 604_800)
METADATA_PAIRS_LIMIT = 16
METADATA_VALUE_CHARACTERS = 500

_FIELDS = frozenset(EditRequest.__dataclass_fields__)
_OF_THE_WIRE = (
    "it is a level of the DashScope door at /api/v1; here all fields stand side by side: "
    '{"prompt": ..., "images": [...], "n": 1}'
)
_ADVICES = {
    "input": _OF_THE_WIRE,
    "parameters": _OF_THE_WIRE,
    **dict.fromkeys(OTHER_NAMES, 'write "images": ["https://..."] in its place'),
}
_METADATA_KEY = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def parse_native(body: object) -> EditRequest:
    """A request that the upstream's documented limits allow, else InvalidRequest."""
    fields = Fields.of(body)
    rules = read_model(fields, default=DEFAULT_MODEL)
    fields.refuse_unknown(_FIELDS, _ADVICES)
    request = EditRequest(
        model=rules.name,
        prompt=fields.required_text("prompt", longest=rules.prompt_characters),
        images=read_images(fields, rules),
        negative_prompt=fields.text("negative_prompt", longest=rules.negative_prompt_characters),
        n=_or_default(fields.integer("n", rules.n), 1),
        size=fields.size("size", rules),
        seed=fields.integer("seed", rules.seed),
        watermark=fields.boolean("watermark", default=False),
        prompt_extend=fields.boolean("prompt_extend", default=True),
        metadata=_read_metadata(fields),
        priority=fields.choice("priority", Priority.INTERACTIVE),
        expires_in_seconds=fields.integer("expires_in_seconds", EXPIRES_RANGE_SECONDS),
    )
    fields.refuse_faults()
    return request


def _or_default(number: int | None, default: int) -> int:
    return default if number is None else number


def _read_metadata(fields: Fields) -> dict[str, str]:
    pairs = fields.section("metadata")
    count = len(pairs.values)
    if count > METADATA_PAIRS_LIMIT:
        fields.note(
            "metadata",
            "too_many",
            f"has {count} pairs, above {METADATA_PAIRS_LIMIT}; keep what reports need",
            max=METADATA_PAIRS_LIMIT,
            actual=count,
        )
        return {}
    return {key: _read_tag(pairs, key) for key in pairs.values}


def _read_tag(pairs: Fields, key: str) -> str:
    if not _METADATA_KEY.fullmatch(key):
        pairs.note(show(key), "bad_key", "a key has 1 to 64 letters, digits, _ . or -", max=64)
        return ""
    value = pairs.values[key]
    if not isinstance(value, str):
        pairs.note(key, "wrong_type", f"must be a string, not {name_type(value)}")
        return ""
    return pairs.text(key, longest=METADATA_VALUE_CHARACTERS) or ""
