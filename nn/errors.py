"""What can go wrong in `nn`: one small tree of exceptions that knows no HTTP."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with what came in.

    `pointer` is a JSON pointer as a URI fragment (`#/layers/0/units`), `detail` says what was expected, what came and,
    where it helps, what to do.
    """

    pointer: str
    detail: str


class NNError(Exception):
    """Anything that `nn` raises on purpose."""


class _Problems(NNError):
    """An error that is a list of problems, each at its own place."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{problem.pointer}: {problem.detail}" for problem in self.problems))

    @classmethod
    def at(cls, pointer: str, detail: str) -> Self:
        return cls([Problem(pointer, detail)])


class SpecError(_Problems):
    """A description of a network or of a training run that cannot be carried out."""


class InputError(_Problems):
    """Samples that a network cannot take: wrong type, range, column or shape."""


class ShapeError(InputError):
    """Samples of the wrong shape."""


class DivergedError(NNError):
    """Training that left the finite numbers.

    `epoch` counts from 1.
    """

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        super().__init__(
            f"training diverged in epoch {epoch}: the loss is no longer a finite number; "
            "lower the learning rate or choose smaller initial weights"
        )


class ArtifactError(NNError):
    """Bytes that are not an artifact which this version of `nn` wrote."""
