"""Ink → the picture of a sheet, as a drawing program, a camera or a scanner gives it."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from benchmarks.drawn_digits.writing import Ink

Grey = NDArray[np.float64]  # (height, width), 0 to 255
Colour = tuple[float, float, float]

INKS: tuple[Colour, ...] = ((28, 44, 130), (20, 70, 180), (30, 30, 34), (178, 30, 40), (20, 110, 60), (70, 40, 120))
PAPERS: tuple[Colour, ...] = ((246, 243, 234), (238, 236, 232), (228, 222, 206), (250, 250, 248), (226, 230, 238))
LINES: Colour = (70, 110, 190)
BOARDS: tuple[Colour, ...] = ((34, 66, 50), (40, 44, 48), (24, 30, 30), (52, 74, 62))
CHALKS: tuple[Colour, ...] = ((238, 238, 232), (238, 238, 232), (240, 224, 130), (236, 170, 180))
CRAYONS: tuple[Colour, ...] = ((0, 0, 0), (255, 255, 255), (0, 0, 0), (220, 30, 40), (30, 60, 220), (250, 210, 40))


def plain(ink: Ink, rng: Generator) -> Image.Image:
    """A drawing program's grey sheet: black on white or white on black, now and then two other greys."""
    stroke, ground = (0.0, 255.0) if rng.random() < 0.5 else (255.0, 0.0)
    if rng.random() < 0.2:
        stroke, ground = abs(stroke - rng.uniform(0, 60)), abs(ground - rng.uniform(0, 60))
    return _picture(ground + (stroke - ground) * ink)


def transparent(ink: Ink, rng: Generator) -> Image.Image:
    """Strokes of one colour on a transparent ground; what colour that ground has unseen differs between programs."""
    stroke = CRAYONS[rng.integers(len(CRAYONS))]
    unseen = stroke if rng.random() < 0.5 else (0.0,) * 3 if rng.random() < 0.5 else (255.0,) * 3
    colour = np.where(ink[:, :, np.newaxis] > 0, stroke, unseen)
    return _picture(np.dstack([colour, 255 * ink]))


def paper(ink: Ink, rng: Generator) -> Image.Image:
    """A pen's writing, photographed: coloured ink on paper that is not quite white, nor evenly lit, perhaps lined."""
    shape = ink.shape
    stroke, ground = np.array(INKS[rng.integers(len(INKS))]), np.array(PAPERS[rng.integers(len(PAPERS))])
    flow = np.clip(rng.uniform(0.75, 1.0) + 0.08 * _clouds(shape, shape[0] / 12, rng), 0, 1)
    lined = ground + (np.array(LINES) - ground) * _lines(shape, 0.3, rng)[:, :, np.newaxis]
    mixed = lined + (stroke - lined) * (ink * flow)[:, :, np.newaxis]
    light = 1 - rng.uniform(0.04, 0.3) * _slope(shape, rng) - rng.uniform(0, 0.04) * _clouds(shape, shape[0] / 2, rng)
    if rng.random() < 0.3:
        light *= 1 - rng.uniform(0.08, 0.3) * _cast_shadow(shape, rng)
    mixed *= (rng.uniform(0.8, 1.02) * light)[:, :, np.newaxis]
    mixed += rng.uniform(0.5, 2.5) * _clouds(shape, 2.5, rng)[:, :, np.newaxis]
    return _picture(_blurred(mixed, rng.uniform(0, 0.8)) + rng.normal(0, rng.uniform(1, 4), (*shape, 1)))


def scan(ink: Ink, rng: Generator) -> Image.Image:
    """Pencil or pen on paper, plain, ruled or squared, under a grey scanner; often one edge does not lie flat."""
    shape = ink.shape
    ground, stroke = rng.uniform(215, 250), rng.uniform(30, 130)
    grain = np.clip(1 + 0.15 * _clouds(shape, 1.6, rng), 0, 1)
    mixed = ground + (stroke - ground) * np.maximum(ink * grain, _lines(shape, 0.5, rng))
    if rng.random() < 0.7:
        across = np.broadcast_to(np.linspace(0, 1, shape[0])[:, np.newaxis], shape)
        across = across if rng.random() < 0.5 else np.broadcast_to(np.linspace(0, 1, shape[1]), shape)
        across = across if rng.random() < 0.5 else across[::-1, ::-1]
        mixed = mixed * (1 - rng.uniform(0.05, 0.35) * np.exp(-across / rng.uniform(0.03, 0.12)))
    return _picture(_blurred(mixed, rng.uniform(0.4, 1.1)) + rng.normal(0, rng.uniform(2, 7), shape))


def board(ink: Ink, rng: Generator) -> Image.Image:
    """Chalk on a board that has been wiped: strokes with gaps where the board is rough."""
    shape = ink.shape
    ground, stroke = np.array(BOARDS[rng.integers(len(BOARDS))]), np.array(CHALKS[rng.integers(len(CHALKS))])
    rough = 0.6 * _clouds(shape, 1.5, rng) + 0.4 * _clouds(shape, 4, rng)
    chalk = ink * rng.uniform(0.75, 0.95) * np.clip(0.85 + rng.uniform(0.2, 0.55) * rough, 0.1, 1)
    wiped = np.clip(_clouds(shape, shape[0] / 4, rng), 0, 2) * rng.uniform(0, 0.07)
    mixed = ground + (stroke - ground) * np.maximum(chalk, wiped)[:, :, np.newaxis]
    mixed *= (1 - rng.uniform(0, 0.25) * _slope(shape, rng))[:, :, np.newaxis]
    return _picture(_blurred(mixed, rng.uniform(0.3, 0.8)) + rng.normal(0, rng.uniform(1, 4), (*shape, 1)))


def _lines(shape: tuple[int, ...], chance: float, rng: Generator) -> Ink:
    """Ruled or squared paper's faint lines, about one pixel thick and not quite level; with `chance`, else none."""
    found = np.zeros(shape)
    if rng.random() > chance:
        return found
    y, x = np.indices(shape)
    spacing = min(shape) * rng.uniform(0.12, 0.28)
    lean = rng.uniform(-0.02, 0.02)
    for across in (y + lean * x, x - lean * y)[: 1 + int(rng.random() < 0.5)]:
        off = np.abs((across + rng.uniform(0, spacing)) % spacing - spacing / 2)
        found = np.maximum(found, np.clip(1.2 - off, 0, 1))
    return found * rng.uniform(0.06, 0.24)


def _cast_shadow(shape: tuple[int, ...], rng: Generator) -> Grey:
    """From 0 to 1 across the soft edge of what stands in the light, such as a hand with its telephone."""
    y, x = np.meshgrid(np.linspace(-1, 1, shape[0]), np.linspace(-1, 1, shape[1]), indexing="ij")
    angle = rng.uniform(0, 2 * np.pi)
    edge = (x * np.cos(angle) + y * np.sin(angle) - rng.uniform(-0.6, 0.6)) / rng.uniform(0.04, 0.2)
    shadow: Grey = 1 / (1 + np.exp(-edge))
    return shadow


def _slope(shape: tuple[int, ...], rng: Generator) -> Grey:
    """From 0 where the lamp is to 1 at the far end."""
    y, x = np.meshgrid(np.linspace(-1, 1, shape[0]), np.linspace(-1, 1, shape[1]), indexing="ij")
    angle = rng.uniform(0, 2 * np.pi)
    away: Grey = np.hypot(x - np.cos(angle), y - np.sin(angle)) / 2.8
    return away


def _clouds(shape: tuple[int, ...], pixels: float, rng: Generator) -> Grey:
    """Noise of mean 0 and deviation 1, whose clouds are about `pixels` across."""
    coarse = [max(2, round(side / pixels)) for side in shape]
    noise = Image.fromarray(rng.normal(size=coarse).astype(np.float32))
    clouds = np.asarray(noise.resize((shape[1], shape[0]), Image.Resampling.BICUBIC), np.float64)
    even: Grey = (clouds - clouds.mean()) / clouds.std()
    return even


def _blurred(picture: Grey, sigma: float) -> Grey:
    """`picture`, `(height, width, …)`, as a lens or a scanner's step softens it."""
    if sigma < 0.2:
        return picture
    reach = np.arange(-4, 5)
    weights = np.exp(-(reach**2) / (2 * sigma**2))
    weights /= weights.sum()
    for axis in (0, 1):
        padding = [(4, 4) if at == axis else (0, 0) for at in range(picture.ndim)]
        padded, n = np.pad(picture, padding, mode="edge"), picture.shape[axis]
        picture = sum(weight * padded.take(range(at, at + n), axis) for at, weight in enumerate(weights))
    return picture


def _picture(values: Grey) -> Image.Image:
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))
