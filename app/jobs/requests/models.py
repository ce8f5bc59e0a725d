"""What each upstream model accepts: its limits as rows (pure)."""

from dataclasses import dataclass

from app.dashscope.payloads import (
    ASPECT_LIMIT,
    DATA_URI_BYTES_LIMIT,
    IMAGE_BYTES_LIMIT,
    IMAGE_SIDE_RANGE,
    IMAGES_LIMIT,
    N_RANGE,
    NEGATIVE_PROMPT_LIMIT,
    OUTPUT_AREA_RANGE,
    PROMPT_LIMIT,
    SEED_RANGE,
)

Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class ModelRules:
    """Limits of one model; ranges include both ends."""

    name: str
    prompt_characters: int
    negative_prompt_characters: int
    images_count: Range
    image_side_pixels: Range
    image_aspect: int
    image_bytes: int
    encoded_image_bytes: int
    output_area_pixels: Range
    output_aspect: int
    n: Range
    seed: Range


DEFAULT_MODEL = ModelRules(
    name="wan2.5-i2i-preview",
    prompt_characters=PROMPT_LIMIT,
    negative_prompt_characters=NEGATIVE_PROMPT_LIMIT,
    images_count=(1, IMAGES_LIMIT),
    image_side_pixels=IMAGE_SIDE_RANGE,
    image_aspect=ASPECT_LIMIT,
    image_bytes=IMAGE_BYTES_LIMIT,
    encoded_image_bytes=DATA_URI_BYTES_LIMIT,
    output_area_pixels=OUTPUT_AREA_RANGE,
    output_aspect=ASPECT_LIMIT,
    n=N_RANGE,
    seed=SEED_RANGE,
)

MODELS = {rules.name: rules for rules in (DEFAULT_MODEL,)}
