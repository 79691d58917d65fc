"""A font's digit on a sheet, as the share of every pixel that it covers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFont

from benchmarks.drawn_digits.writing import TURN, Ink, extent, sheet

# Those that matplotlib brings.
FONTS = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique", "DejaVuSerif", "DejaVuSerif-Bold",
    "DejaVuSerif-Italic", "STIXGeneral", "STIXGeneralItalic", "STIXGeneralBol", "STIXGeneralBolIta", "cmr10", "cmb10",
    "cmss10", "cmti10", "cmtt10",
)  # fmt: skip
# A zero with a stroke within, as these have it, is a sign that MNIST does not know: theirs is left out.
STRUCK_ZERO = ("DejaVuSansMono", "DejaVuSansMono-Bold")
FINE = 3  # times as large is the glyph before it is turned and reduced, so that its edge stays smooth


@dataclass(frozen=True)
class Press:
    """In which sizes digits are printed: ranges as those of a `Hand`."""

    sides: Sequence[int]
    share: tuple[float, float]

    def write(self, digit: int, number: int, rng: Generator) -> Ink:
        """`digit` in some font on a sheet of its own. By `number`, every fourth is in Pillow's own font."""
        height, width = sheet(self.sides, rng)
        size = extent(self.share, height, width, rng)
        font = None if number % 4 == 0 else str(rng.choice(FONTS + STRUCK_ZERO if digit else FONTS))
        glyph = _glyph(digit, font, round(size * FINE)).rotate(
            rng.uniform(-TURN, TURN), Image.Resampling.BICUBIC, expand=True
        )
        glyph = glyph.crop(glyph.getbbox())
        scale = size / max(glyph.size)
        glyph = glyph.resize(
            (max(1, round(glyph.width * scale)), max(1, round(glyph.height * scale))), Image.Resampling.BOX
        )
        ink = Image.new("L", (width, height))
        left, top = rng.uniform(0.02, 0.98, 2)
        ink.paste(glyph, (round(left * (width - glyph.width)), round(top * (height - glyph.height))))
        return np.asarray(ink) / 255


def _glyph(digit: int, font: str | None, size: int) -> Image.Image:
    face = ImageFont.load_default(size) if font is None else ImageFont.truetype(_fonts() / f"{font}.ttf", size)
    glyph = Image.new("L", (2 * size, 2 * size))
    ImageDraw.Draw(glyph).text((size // 2, size // 4), str(digit), fill=255, font=face)
    return glyph.crop(glyph.getbbox())


def _fonts() -> Path:
    try:
        import matplotlib as mpl
    except ImportError:
        raise RuntimeError("the fonts are matplotlib's; install it: pip install matplotlib") from None
    return Path(mpl.get_data_path(), "fonts", "ttf")
