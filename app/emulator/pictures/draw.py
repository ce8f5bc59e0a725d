"""Pictures: visibly edited inputs, the same bytes for the same order (pure)."""

import colorsys
import io
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps

from app.emulator.pictures.captions import draw_caption, draw_corner_note, draw_lines

Size = tuple[int, int]

DEFAULT_AREA = 1280 * 1280
_STEP = 16
_GOLDEN = 0.618034
_PNG_FAST = {"compress_level": 1, "compress_type": 3}  # 3 is zlib's Z_RLE


@dataclass(frozen=True, slots=True)
class Sketch:
    """Inputs made ready for drawing: the last one at output size, all as small insets."""

    base_jpeg: bytes
    inset_jpegs: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Stroke:
    """What is done to a sketch to make one picture."""

    prompt: str
    seed: int
    index: int = 0
    watermark: bool = False
    font: Path | None = None


def choose_size(aspect: float) -> Size:
    """About 1280*1280 pixels with that width to height, in multiples of 16."""
    aspect = min(4.0, max(0.25, aspect))
    width = math.sqrt(DEFAULT_AREA * aspect)
    return (round(width / _STEP) * _STEP, round(width / aspect / _STEP) * _STEP)


def make_sketch(inputs: Sequence[Image.Image], size: Size | None) -> Sketch:
    """Fit the last input to the size, or to its own aspect when there is none.

    Without any input, as for text to image, the canvas is a plain gradient.
    """
    if not inputs:
        canvas = Image.radial_gradient("L").resize(size or choose_size(1.0)).convert("RGB")
        return Sketch(_to_jpeg(canvas), ())
    last = inputs[-1]
    size = size or choose_size(last.width / last.height)
    side = max(96, min(size) // 5)
    return Sketch(
        base_jpeg=_to_jpeg(ImageOps.fit(last, size, Image.Resampling.BICUBIC)),
        inset_jpegs=tuple(_to_jpeg(_shrink(picture, side)) for picture in inputs),
    )


def draw_picture(sketch: Sketch, stroke: Stroke) -> bytes:
    """The PNG of one result, a function of its arguments alone."""
    picture = _tint(_open(sketch.base_jpeg), stroke)
    _add_sweep(picture, stroke)
    _paste_insets(picture, [_open(jpeg) for jpeg in sketch.inset_jpegs])
    note = (
        f"picture {stroke.index + 1}  ·  seed {stroke.seed}  ·  {picture.width}*{picture.height}"
    )
    caption_top = draw_caption(picture, stroke.prompt, note, stroke.font)
    if stroke.watermark:
        draw_corner_note(picture, "AI-generated", caption_top, stroke.font)
    png = io.BytesIO()
    picture.save(png, "PNG", **_PNG_FAST)
    return png.getvalue()


def draw_placeholder(label: str, font: Path | None = None) -> Image.Image:
    """What stands for an input that cannot be had: its address on a plain ground."""
    hue = random.Random(label).random()  # noqa: S311
    size = (1024, 1024)
    falloff = Image.linear_gradient("L").resize(size)
    ground = ImageOps.colorize(falloff, _rgb(hue, 0.45, 0.35), _rgb(hue + 0.1, 0.35, 0.75))
    draw_lines(ground, ["picture not reachable", label], font)
    return ground


def _tint(base: Image.Image, stroke: Stroke) -> Image.Image:
    """A duotone laid over the picture; neighbouring seeds get far-away hues."""
    hue = (stroke.seed * _GOLDEN + random.Random(stroke.prompt).random()) % 1  # noqa: S311
    toned = ImageOps.colorize(
        ImageOps.autocontrast(base.convert("L"), cutoff=1),
        black=_rgb(hue, 0.75, 0.22),
        mid=_rgb(hue + 0.06, 0.55, 0.72),
        white=_rgb(hue + 0.14, 0.16, 1.0),
    )
    return Image.blend(base, toned, 0.62)


def _add_sweep(picture: Image.Image, stroke: Stroke) -> None:
    """A band of light, its place chosen by seed and prompt, and a thin frame."""
    rng = random.Random(f"{stroke.seed}|{stroke.prompt}")  # noqa: S311
    width, height = picture.size
    centre, reach = rng.uniform(0.15, 0.85) * width, rng.uniform(0.08, 0.2) * width
    slant = rng.uniform(-0.35, 0.35) * height
    light = Image.new("L", picture.size, 0)
    edges = [(centre - reach + slant, 0), (centre + reach + slant, 0)]
    edges += [(centre + reach - slant, height), (centre - reach - slant, height)]
    pen = ImageDraw.Draw(light)
    pen.polygon(edges, fill=46)
    margin = max(8, min(picture.size) // 50)
    pen.rectangle(
        (margin, margin, width - margin, height - margin),
        outline=150,
        width=max(2, margin // 6),
    )
    picture.paste((255, 255, 255), (0, 0), light)


def _paste_insets(picture: Image.Image, insets: Sequence[Image.Image]) -> None:
    """The untouched inputs, small and framed, along the top edge."""
    margin = max(16, min(picture.size) // 25)
    border = max(2, margin // 10)
    left = margin
    for inset in insets:
        framed = ImageOps.expand(inset, border, fill=(255, 255, 255))
        picture.paste(framed, (left, margin))
        left += framed.width + margin // 2


def _shrink(picture: Image.Image, side: int) -> Image.Image:
    small = picture.copy()
    small.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=2.0)
    return small


def _rgb(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return (round(red * 255), round(green * 255), round(blue * 255))


def _to_jpeg(picture: Image.Image) -> bytes:
    jpeg = io.BytesIO()
    picture.save(jpeg, "JPEG", quality=88)
    return jpeg.getvalue()


def _open(jpeg: bytes) -> Image.Image:
    return Image.open(io.BytesIO(jpeg)).convert("RGB")
