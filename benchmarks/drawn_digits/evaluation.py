"""How a model reads the set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

import nn
from benchmarks.drawn_digits.draw import KINDS, PICTURES, draw
from nn.images import SIDE, to_mnist
from service.inference.pictures import decode, open_picture

MODELS = Path(__file__).parents[2] / "models" / "mnist"


class Sample(NamedTuple):
    """One picture's file with what its name tells."""

    name: str
    kind: str
    label: int
    data: bytes


@dataclass(frozen=True)
class Answer:
    """What a model said to a sample: `seen` is the 28×28 that it got, None where nothing was found to read."""

    sample: Sample
    seen: NDArray[np.uint8] | None
    label: int | None
    probability: float

    @property
    def right(self) -> bool:
        return self.label == self.sample.label


def committed() -> Iterator[Sample]:
    """The files in `pictures/`."""
    for file in sorted(PICTURES.glob("*-*-*.*")):
        kind, label, _ = file.stem.split("-")
        yield Sample(file.name, kind, int(label), file.read_bytes())


def unseen(seed: int) -> Iterator[Sample]:
    """A set drawn now, its pictures through the same files as the committed ones."""
    return (Sample(drawn.name, drawn.kind, drawn.label, drawn.encoded()) for drawn in draw(seed))


def shipped() -> Path:
    """The file of the newest version in `models/mnist`."""
    newest = max((version for version in MODELS.iterdir() if version.name.isdecimal()), key=lambda path: int(path.name))
    return next(newest.glob("*.npz"))


def answers(model: nn.Model, samples: Iterable[Sample]) -> list[Answer]:
    """What the service would answer to each of `samples`."""
    found = []
    for sample in samples:
        picture = decode(open_picture(sample.data))
        try:
            seen = to_mnist(picture)
        except nn.InputError:
            found.append(Answer(sample, None, None, 0.0))
            continue
        outputs = model.predict(seen.reshape(1, SIDE * SIDE))[0]
        best = int(outputs.argmax())
        found.append(Answer(sample, seen, int(model.metadata.task.labels[best]), float(outputs[best])))
    return found


def tally(found: Iterable[Answer]) -> dict[str, tuple[int, int]]:
    """By kind, how many of `found` are right and how many there are."""
    rights: dict[str, list[bool]] = {kind: [] for kind in KINDS}
    for answer in found:
        rights[answer.sample.kind].append(answer.right)
    return {kind: (sum(right), len(right)) for kind, right in rights.items()}


def evaluate(model: nn.Model, seed: int | None = None) -> dict[str, tuple[int, int]]:
    """By kind, how many pictures `model` reads rightly, of how many: of the committed ones, or of those of `seed`."""
    return tally(answers(model, committed() if seed is None else unseen(seed)))
