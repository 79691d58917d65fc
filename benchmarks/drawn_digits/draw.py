"""Draws the set: `python -m benchmarks.drawn_digits.draw` writes that of seed 1 anew."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from PIL import Image

from benchmarks.drawn_digits import sheets
from benchmarks.drawn_digits.printing import Press
from benchmarks.drawn_digits.writing import Hand, Ink

PICTURES = Path(__file__).parent / "pictures"
SEED = 1
N_EACH = 5  # pictures of each digit in each kind
JPEG_QUALITY = 75


class Drawn(NamedTuple):
    """One picture of the set. `name` is its file's, `<kind>-<label>-<number>` with the suffix of its format."""

    name: str
    kind: str
    label: int
    picture: Image.Image

    def encoded(self) -> bytes:
        """The file: what compression does to a picture is part of it."""
        buffer = io.BytesIO()
        if self.name.endswith(".jpg"):
            self.picture.save(buffer, "JPEG", quality=JPEG_QUALITY)
        else:
            self.picture.save(buffer, "PNG", optimize=True)
        return buffer.getvalue()


@dataclass(frozen=True)
class Kind:
    """How pictures of one kind come about: who writes, and on what it is seen."""

    writer: Hand | Press
    sheet: Callable[[Ink, Generator], Image.Image]
    suffix: str = ".png"


DRAWINGS = (28, 56, 100, 140, 200, 280, 280, 400)
PHOTOS = (110, 140, 180, 220)

KINDS = {
    "mouse": Kind(Hand(DRAWINGS, (0.3, 0.9), (0.03, 0.12), shake=0.009), sheets.plain),
    "pen": Kind(Hand(PHOTOS, (0.3, 0.85), (0.03, 0.08), pressure=0.25, shake=0.005), sheets.paper, ".jpg"),
    "scan": Kind(Hand(PHOTOS, (0.35, 0.85), (0.035, 0.09), pressure=0.15, shake=0.005), sheets.scan, ".jpg"),
    "chalk": Kind(Hand(PHOTOS, (0.4, 0.85), (0.06, 0.12), pressure=0.15, shake=0.006), sheets.board, ".jpg"),
    "print": Kind(Press(DRAWINGS, (0.3, 0.9)), sheets.plain),
    "transparent": Kind(Hand(DRAWINGS, (0.3, 0.9), (0.03, 0.12), pressure=0.1, shake=0.007), sheets.transparent),
    "corner": Kind(Hand((240, 320, 400), (0.08, 0.18), (0.06, 0.12), corner=True), sheets.plain),
}


def draw(seed: int) -> Iterator[Drawn]:
    """A whole set, equally many of each digit in each kind, the same for the same seed and the same libraries."""
    rng = np.random.default_rng(seed)
    for kind, made in KINDS.items():
        for label in range(10):
            for number in range(1, N_EACH + 1):
                picture = made.sheet(made.writer.write(label, number, rng), rng)
                yield Drawn(f"{kind}-{label}-{number:02}{made.suffix}", kind, label, picture)


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    for kind, made in KINDS.items():
        for earlier in PICTURES.glob(f"{kind}-*{made.suffix}"):
            earlier.unlink()
    sizes = [(PICTURES / drawn.name).write_bytes(drawn.encoded()) for drawn in draw(SEED)]
    sys.stdout.write(f"{len(sizes)} pictures, {sum(sizes) / 1e6:.2f} MB, in {PICTURES.name}/\n")


if __name__ == "__main__":
    main()
