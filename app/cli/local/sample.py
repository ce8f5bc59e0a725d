"""A picture to begin with, for those who have none at hand."""

import io
import math

from PIL import Image, ImageDraw

SIZE = (1024, 768)
HORIZON = 470
SUN = (700, 250, 90)
SKY_TOP, SKY_BOTTOM = (38, 70, 125), (247, 190, 140)
RIDGES = (
    ((96, 98, 140), 360, 70, 0.9),
    ((66, 84, 110), 420, 50, 1.7),
    ((44, 62, 70), 480, 40, 2.6),
)
WATER = (40, 74, 96)


def draw_sample() -> bytes:
    """A lake at evening as PNG, the same each time."""
    picture = Image.new("RGB", SIZE, SKY_TOP)
    pen = ImageDraw.Draw(picture)
    for y in range(HORIZON):
        share = y / HORIZON
        pen.line([(0, y), (SIZE[0], y)], fill=_mix(SKY_TOP, SKY_BOTTOM, share))
    x, y, radius = SUN
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(255, 226, 170))
    for color, base, height, waves in RIDGES:
        pen.polygon(_ridge(base, height, waves), fill=color)
    pen.rectangle((0, HORIZON, *SIZE), fill=WATER)
    for row in range(HORIZON + 12, SIZE[1], 18):
        width = 40 + (row - HORIZON) * 0.7
        pen.line([(x - width, row), (x + width, row)], fill=(214, 170, 130), width=4)
    output = io.BytesIO()
    picture.save(output, "PNG", optimize=True)
    return output.getvalue()


def _ridge(base: int, height: int, waves: float) -> list[tuple[float, float]]:
    width = SIZE[0]
    crest = [
        (
            float(x),
            base
            - height
            * (math.sin(x / width * math.tau * waves) + 0.4 * math.sin(x / 37 + waves * 5)),
        )
        for x in range(0, width + 8, 8)
    ]
    return [(0.0, float(HORIZON)), *crest, (float(width), float(HORIZON))]


def _mix(
    one: tuple[int, int, int], other: tuple[int, int, int], share: float
) -> tuple[int, int, int]:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue
