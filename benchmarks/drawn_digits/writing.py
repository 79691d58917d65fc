"""A skeleton → one hand's writing of it on a sheet, as the share of every pixel that the stroke covers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from benchmarks.drawn_digits.skeletons import SKELETONS, Skeleton, Stroke

Ink = NDArray[np.float64]  # (height, width), from 0, ground, to 1, all covered
Path = NDArray[np.float64]  # (n_points, 2): x and y

TURN = 15.0  # degrees to either side
STEP = 0.02  # between the points of a path, in heights of the digit
LEAST_DIGIT = 18  # pixels of its longer side: what a person still reads
LEAST_STROKE = 1.4  # pixels


@dataclass(frozen=True)
class Hand:
    """In which sizes and how steadily digits are written: ranges, from which every picture takes its own.

    `share` is the digit's longer side as part of the sheet's shorter one, `thickness` the stroke's width as part of
    the digit's longer side. `pressure` says how much that width varies along a stroke, `shake` how far the stroke
    strays, as part of the digit's height. With `corner` the digit stands in a corner of its sheet.
    """

    sides: Sequence[int]
    share: tuple[float, float]
    thickness: tuple[float, float]
    pressure: float = 0.0
    shake: float = 0.006
    corner: bool = False

    def write(self, digit: int, number: int, rng: Generator) -> Ink:
        """`digit` on a sheet of its own. `number` counts through the skeletons, so that each has its turn."""
        height, width = sheet(self.sides, rng)
        paths = written(SKELETONS[digit][number % len(SKELETONS[digit])], self.shake, rng)
        size = extent(self.share, height, width, rng)
        stroke = max(LEAST_STROKE, size * rng.uniform(*self.thickness))
        return inked(
            placed(paths, size, stroke, height, width, rng, self.corner), stroke, self.pressure, height, width, rng
        )


def sheet(sides: Sequence[int], rng: Generator) -> tuple[int, int]:
    """Height and width of a sheet: mostly a square."""
    side = int(rng.choice(sides))
    other = side if rng.random() < 0.6 else round(side * rng.uniform(0.7, 1.0))
    return (side, other) if rng.random() < 0.5 else (other, side)


def extent(share: tuple[float, float], height: int, width: int, rng: Generator) -> float:
    """How long the digit's longer side is to be, in pixels."""
    shorter = min(height, width)
    least = min(max(share[0], LEAST_DIGIT / shorter), share[1])
    return shorter * rng.uniform(least, share[1])


def written(skeleton: Skeleton, shake: float, rng: Generator) -> list[Path]:
    """The strokes as a hand draws them once: no point quite in its place, slanted, narrow or broad, turned."""
    strokes = [path for stroke in skeleton for path in _smooth(stroke, rng)]
    waves = [(rng.uniform(-1.4, 1.4, 2), rng.uniform(0, 2 * np.pi, 2), rng.normal(0, 0.018, 2)) for _ in range(3)]
    breadth, slant = rng.uniform(0.8, 1.25), rng.normal(0.06, 0.08)
    angle = np.deg2rad(rng.uniform(-TURN, TURN))
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    paths = []
    for path in strokes:
        bent = path + sum(
            amplitude * np.sin(2 * np.pi * path @ frequency[:, np.newaxis] + phase)
            for frequency, phase, amplitude in waves
        )
        bent = bent + _tremor(len(path), 2, shake, rng)
        bent = np.stack([breadth * bent[:, 0] - slant * (bent[:, 1] - 0.5), bent[:, 1]], axis=1)
        paths.append(bent @ turn)
    return paths


def placed(
    paths: list[Path], size: float, stroke: float, height: int, width: int, rng: Generator, corner: bool
) -> list[Path]:
    """`paths` in pixels, their longer side with the stroke's width `size`, anywhere on the sheet or in a corner."""
    points = np.concatenate(paths)
    low, high = points.min(axis=0), points.max(axis=0)
    scale = max(size - stroke, 1.0) / (high - low).max()
    free = np.array([width, height]) - (high - low) * scale - stroke
    where = rng.uniform(0.02, 0.98, 2)
    if corner:
        where = np.where(rng.random(2) < 0.5, rng.uniform(0.02, 0.12, 2), rng.uniform(0.88, 0.98, 2))
    offset = where * free + stroke / 2 - low * scale
    return [path * scale + offset for path in paths]


def inked(paths: list[Path], stroke: float, pressure: float, height: int, width: int, rng: Generator) -> Ink:
    """What round nibs along `paths` cover of each pixel: antialiased over the pixel at the edge."""
    ink = np.zeros((height, width))
    for path in paths:
        radius = stroke / 2 * np.clip(1 + pressure * _tremor(len(path), 1, 1.0, rng)[:, 0], 0.45, 1.8)
        for start, stop, reach in zip(path[:-1], path[1:], radius[1:], strict=True):
            _line(ink, start, stop, float(reach))
    return ink


def _line(ink: Ink, start: Path, stop: Path, radius: float) -> None:
    """Lays one straight piece over `ink`, looking only at the pixels near it."""
    low = np.floor(np.minimum(start, stop) - radius - 1).astype(int)
    high = np.ceil(np.maximum(start, stop) + radius + 1).astype(int)
    left, top = np.maximum(low, 0).tolist()
    right, bottom = np.minimum(high, (ink.shape[1], ink.shape[0])).tolist()
    if left >= right or top >= bottom:
        return
    x = np.arange(left, right) + 0.5 - start[0]
    y = (np.arange(top, bottom) + 0.5 - start[1])[:, np.newaxis]
    along = stop - start
    share = np.clip((x * along[0] + y * along[1]) / max(float(along @ along), 1e-9), 0, 1)
    distance = np.hypot(x - share * along[0], y - share * along[1])
    part = ink[top:bottom, left:right]
    np.maximum(part, np.clip(radius + 0.5 - distance, 0, 1), out=part)


def _smooth(stroke: Stroke, rng: Generator) -> Iterator[Path]:
    """Curves through the points, each a little beside its place, one curve from corner to corner."""
    points = np.array(stroke)
    corners = np.flatnonzero((points[1:] == points[:-1]).all(axis=1))
    points = points + rng.normal(0, 0.014, points.shape)
    points[corners + 1] = points[corners]
    for piece in np.split(points, corners + 1):
        yield _curve(piece)


def _curve(points: Path) -> Path:
    """Cubic Hermite splines through `points`, with the chords' lengths as the time between them."""
    chords = np.hypot(*np.diff(points, axis=0).T)
    times = np.concatenate([[0.0], np.cumsum(np.sqrt(np.maximum(chords, 1e-4)))])
    slopes = np.gradient(points, times, axis=0)
    at = np.linspace(0, times[-1], max(2, round(float(chords.sum()) / STEP)))
    piece = np.clip(np.searchsorted(times, at, side="right") - 1, 0, len(points) - 2)
    span = (times[piece + 1] - times[piece])[:, np.newaxis]
    t = (at - times[piece])[:, np.newaxis] / span
    curve: Path = (
        (1 + 2 * t) * (1 - t) ** 2 * points[piece]
        + t * (1 - t) ** 2 * span * slopes[piece]
        + t**2 * (3 - 2 * t) * points[piece + 1]
        + t**2 * (t - 1) * span * slopes[piece + 1]
    )
    return curve


def _tremor(n_points: int, n_values: int, size: float, rng: Generator) -> Path:
    """A slow and a quick unsteadiness along a stroke, `(n_points, n_values)`, of standard deviation `size` or so."""
    noise = rng.normal(size=(n_points + 24, n_values))
    unsteady = np.zeros((n_points, n_values))
    for reach, part in ((12, 0.9), (4, 0.45)):
        window = np.hanning(reach + 2)[1:-1]
        window /= np.sqrt(np.sum(window**2))
        for value in range(n_values):
            unsteady[:, value] += part * np.convolve(noise[:, value], window, mode="same")[12 : 12 + n_points]
    return unsteady * size
