"""One page with many pictures, each beside what the model saw of it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from benchmarks.drawn_digits.evaluation import Answer
from nn.images import SIDE

COLUMNS = 5
CELL = 4 * SIDE
GAP = 4
CAPTION = 14  # pixels of height for the name and the answer


def contact_sheet(answers: Sequence[Answer]) -> Image.Image:
    """A page of `answers` in rows; the page's own colour shows where a picture is transparent."""
    width, height = 2 * CELL + 3 * GAP, CELL + CAPTION + 2 * GAP
    page = Image.new("RGB", (COLUMNS * width, max(1, -(-len(answers) // COLUMNS)) * height), "lightsteelblue")
    pen = ImageDraw.Draw(page)
    for place, answer in enumerate(answers):
        left, top = place % COLUMNS * width + GAP, place // COLUMNS * height + GAP
        told = "nothing to read" if answer.label is None else f"read as {answer.label}, {answer.probability:.2f}"
        pen.text((left, top), f"{Path(answer.sample.name).stem}: {told}", fill="black")
        picture = Image.open(io.BytesIO(answer.sample.data)).convert("RGBA")
        scale = CELL / max(picture.size)
        picture = picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))))
        page.paste(picture, (left, top + CAPTION), picture)
        if answer.seen is not None:
            seen = Image.fromarray(answer.seen).resize((CELL, CELL), Image.Resampling.NEAREST)
            page.paste(seen, (left + CELL + GAP, top + CAPTION))
    return page
