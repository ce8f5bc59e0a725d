"""Lettering on pictures: captions that fit, with the glyphs there are (pure)."""

import math
import re
from functools import lru_cache
from itertools import groupby
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_SYSTEM_FONTS = (
    "NotoSansCJK-Regular.ttc",
    "SourceHanSansCN-Regular.otf",
    "wqy-microhei.ttc",
    "msyh.ttc",
    "PingFang.ttc",
    "Hiragino Sans GB.ttc",
    "Arial Unicode.ttf",
    "DejaVuSans.ttf",
)
_INK = (255, 255, 255)
_FAINT_INK = (205, 210, 220)
_SHADE = (12, 14, 18)
_MAX_LINES = 3
_READ_LIMIT = 600


def draw_caption(picture: Image.Image, text: str, note: str, font: Path | None) -> int:
    """A bar along the lower edge with the text and, smaller, the note; returns its top."""
    unit = _unit(picture)
    large, small = load_font(font, unit), load_font(font, round(unit * 0.62))
    lines = wrap(legible(text, large), large, picture.width - 2 * unit)
    height = round(unit * (1.25 * len(lines) + 2.1))
    top = picture.height - height
    shade = Image.new("L", (picture.width, height), 226)
    picture.paste(_SHADE, (0, top), shade)
    pen = ImageDraw.Draw(picture)
    for row, line in enumerate(lines):
        pen.text((unit, top + unit * (0.5 + 1.25 * row)), line, _INK, large)
    pen.text((unit, picture.height - unit * 1.3), legible(note, small), _FAINT_INK, small)
    return top


def draw_corner_note(picture: Image.Image, text: str, bottom: int, font: Path | None) -> None:
    """A note at the right, just above `bottom`."""
    unit = _unit(picture)
    lettering = load_font(font, round(unit * 0.8))
    at = (picture.width - unit * 0.8, bottom - unit * 0.5)
    pen = ImageDraw.Draw(picture)
    pen.text(at, text, _INK, lettering, anchor="rs", stroke_width=2, stroke_fill=_SHADE)


def draw_lines(picture: Image.Image, paragraphs: list[str], font: Path | None) -> None:
    """Paragraphs in the middle of the picture, one under the other."""
    unit = _unit(picture)
    lettering = load_font(font, unit)
    width = picture.width - 4 * unit
    lines = [
        line for text in paragraphs for line in wrap(legible(text, lettering), lettering, width)
    ]
    top = (picture.height - 1.4 * unit * len(lines)) / 2
    pen = ImageDraw.Draw(picture)
    for row, line in enumerate(lines):
        pen.text((2 * unit, top + 1.4 * unit * row), line, _INK, lettering)


def wrap(text: str, font: Font, width: float) -> list[str]:
    """At most three lines of that width in pixels; what is left over ends in an ellipsis."""
    lines: list[str] = []
    rest = " ".join(text[:_READ_LIMIT].split())
    while rest and len(lines) < _MAX_LINES:
        cut = _cut(rest, font, width)
        lines.append(rest[:cut].rstrip())
        rest = rest[cut:].lstrip()
    if rest or len(text) > _READ_LIMIT:
        lines[-1] = lines[-1][: max(1, _fitting(lines[-1] + "...", font, width) - 3)] + "..."
    return lines


def legible(text: str, font: Font) -> str:
    """The text, with each run of characters the font cannot draw told by its length."""
    parts = []
    for is_drawable, run in groupby(text, lambda char: _has_glyph(char, font)):
        characters = "".join(run)
        parts.append(characters if is_drawable else f"[{len(characters)} characters]")
    return "".join(parts)


@lru_cache(maxsize=64)
def load_font(path: Path | None, size: int) -> Font:
    """The font of that size in pixels: the given one, a system one or Pillow's own."""
    if path is not None:
        return ImageFont.truetype(path, size)
    for name in _SYSTEM_FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)


def _cut(text: str, font: Font, width: float) -> int:
    """Where to break: after the last word that fits, or amid a word longer than a line."""
    fitting = _fitting(text, font, width)
    if fitting == len(text):
        return fitting
    breaks = [match.end() for match in re.finditer(r"\s|[-,;:/]", text[: fitting + 1])]
    return max((end for end in breaks if end <= fitting + 1), default=fitting) or fitting


def _fitting(text: str, font: Font, width: float) -> int:
    """How many characters fit into the width; at least one."""
    low, high = 1, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if font.getlength(text[:middle]) <= width:
            low = middle
        else:
            high = middle - 1
    return low


def _unit(picture: Image.Image) -> int:
    """The height of lettering that suits the picture, in pixels."""
    return max(14, min(math.isqrt(picture.width * picture.height) // 30, picture.width // 22))


@lru_cache(maxsize=4096)
def _has_glyph(char: str, font: Font) -> bool:
    return char.isspace() or bytes(font.getmask(char)) != bytes(font.getmask("\uffff"))
