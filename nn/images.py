"""Any picture of a digit → the 28×28 that MNIST means.

MNIST's digits are grey, bright on a dark ground, scaled with their proportions kept so that their box fits 20×20, and
placed so that their centre of mass is the centre of the 28×28 field (Y. LeCun, C. Cortes, C. Burges, The MNIST
database of handwritten digits). People's pictures are none of that: dark on light, coloured, transparent, off-centre.
"""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from nn.errors import InputError

SIDE = 28
BOX = 20
# Index of the pixel on which the centre of mass comes to lie: in MNIST it is 14 ± ½ for every digit.
CENTRE = 14
FAINT = 0.1  # of the brightest ink: below this it is paper, shadow or compression, and does not stretch the box
LEAST_CONTRAST = 12  # grey levels of 255; less than that is an even surface
SIGHT = 160  # pixels a side that are enough to find a digit and its ground
NEAR = 0.4  # of the picture's side: a digit smaller than that is looked at again from near by
FITS = 4  # rounds in which the surface of the ground settles
STRIP = (0.9, 0.2)  # of the picture's sides: along an edge, longer and thinner than that is no part of a digit
APART = 0.35  # of the digit's size: what lies further from it is something else
PART = 0.03  # of the digit's ink: less is a speck
PARTS = 40  # groups of pixels that are looked at: of noise there may be thousands
PALE = 0.5  # of the digit's darkness: paler is a shadow or what shows through from the back
# Strokes, in pixels of the box of 20: hardly any of MNIST's are thinner than THIN, and a third are thinner than PEN.
THIN, PEN = 1.4, 2.3
FINE = 3  # times the box: the size at which strokes are measured and thickened
SAMPLE = 100_000  # pixels that tell the usual colour of a picture

Bytes = NDArray[np.uint8]
Grey = NDArray[np.float64]
Number = TypeVar("Number", np.uint8, np.float64)


def to_mnist(picture: Bytes) -> Bytes:
    """The 28×28 grey picture, bright on dark, that a network trained on MNIST can read.

    `picture` is `(height, width)` grey, or `(height, width, channels)` with 3 for RGB and 4 for RGBA, of uint8 and of
    any size. A 28×28 picture that is already as MNIST has them comes back unchanged. Raises `InputError` where there
    is nothing to read: a picture of one even colour.
    """
    if is_mnist(picture):
        return (picture if picture.ndim == 2 else picture[:, :, 0]).copy()
    opaque = _without_frame(_laid(picture if picture.ndim == 3 else picture[:, :, np.newaxis]))
    ink, box = _read(_reduced(opaque))
    # A small digit on a large sheet is looked at again from near by.
    near = _enlarged(box, ink.shape, opaque.shape)
    if max(part.stop - part.start for part in box) < NEAR * max(ink.shape) and max(opaque.shape) > max(ink.shape):
        ink, box = _read(_reduced(opaque[near]))
    small = _fitted(_as_thick_as_a_pen(ink[box]), BOX)
    small *= 255 / small.max()
    return _centred(np.clip(np.rint(small), 0, 255).astype(np.uint8))


def is_mnist(picture: Bytes) -> bool:
    """Whether a picture already is as MNIST has them: 28×28, grey, on black, its box and its centre in place."""
    if picture.shape[:2] != (SIDE, SIDE):
        return False
    if picture.ndim == 3:
        if (picture[:, :, 3:] != 255).any() or (picture[:, :, :3] != picture[:, :, :1]).any():
            return False
        picture = picture[:, :, 0]
    peak = int(picture.max())
    if peak < LEAST_CONTRAST or np.median(_border(picture)) > FAINT * peak:
        return False
    rows, columns = (np.flatnonzero((picture > FAINT * peak).any(axis=axis)) for axis in (1, 0))
    sides = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    centre = _centre_of_mass(picture.astype(np.float64))
    return BOX - 3 <= max(sides) <= BOX and all(abs(place - CENTRE) <= 0.6 for place in centre)


def resize(picture: NDArray[Number], height: int, width: int) -> Grey:
    """`picture` at another size, each pixel the mean of what it covers, weighted by a triangle (no aliasing)."""
    resized: Grey = _weights(picture.shape[0], height) @ picture @ _weights(picture.shape[1], width).T
    return resized


def _weights(n_from: int, n_to: int) -> Grey:
    """A matrix `(n_to, n_from)` whose rows say what each new pixel takes of the old ones."""
    ratio = n_from / n_to
    support = max(ratio, 1.0)
    centres = (np.arange(n_to) + 0.5) * ratio - 0.5
    weights = np.maximum(0, 1 - np.abs(np.arange(n_from) - centres[:, np.newaxis]) / support)
    scaled: Grey = weights / weights.sum(axis=1, keepdims=True)
    return scaled


def _fitted(picture: Grey, side: int) -> Grey:
    """`picture` with `side` as its longer side."""
    scale = side / max(picture.shape)
    return resize(picture, *(max(1, round(old * scale)) for old in picture.shape))


def _laid(picture: Bytes) -> Bytes:
    """`picture`, `(height, width, channels)`, without transparency: RGBA is laid on a colour it stands out from."""
    if picture.shape[2] != 4:
        return picture
    alpha = picture[:, :, 3]
    opaque = picture[alpha > min(127, alpha.max() // 2), :3]
    if not len(opaque):
        return np.zeros((*alpha.shape, 1), np.uint8)
    # Strokes of one colour are drawn by their transparency: any ground far from that colour will do. Where the opaque
    # part has a contrast of its own, it is a sheet with a digit on it, and the sheet goes on.
    opaque = opaque[:: 1 + len(opaque) // SAMPLE]
    usual = np.median(opaque, axis=0)
    is_sheet = np.mean(np.abs(opaque - usual).max(axis=1) > 64) > 0.02
    behind = usual if is_sheet else np.where(usual > 127, 0.0, 255.0)
    laid = np.empty((*alpha.shape, 3), np.uint8)
    for channel in range(3):
        # behind + (colour - behind) · alpha, a channel at a time for the sake of memory.
        mixed = picture[:, :, channel].astype(np.float32)
        mixed -= behind[channel]
        mixed *= alpha
        mixed /= 255
        mixed += behind[channel]
        laid[:, :, channel] = np.rint(mixed)
    return laid


def _reduced(picture: Bytes) -> Grey:
    """`picture`, `(height, width, channels)`, at most `SIGHT` pixels a side: what is averaged away is mostly noise."""
    scale = min(1.0, SIGHT / max(picture.shape[:2]))
    height, width = (max(1, round(side * scale)) for side in picture.shape[:2])
    channels = [resize(picture[:, :, channel], height, width) for channel in range(picture.shape[2])]
    return np.stack(channels, axis=2)


def _without_frame(picture: Bytes) -> Bytes:
    """What lies within a thin frame of another colour, if there is one, such as the edge of a scan."""
    colour = _reduced(picture)
    usual = np.median(colour, axis=(0, 1))

    def distance(depth: int) -> float:
        ring = _border(colour[depth : len(colour) - depth, depth : colour.shape[1] - depth])
        return float(np.abs(np.median(ring, axis=0) - usual).max())

    deepest = min(colour.shape[:2]) // 10
    if deepest and distance(0) > 64:
        inside = next((depth for depth in range(1, deepest + 1) if distance(depth) < 32), None)
        if inside is not None:
            margin = -(-inside * max(picture.shape) // max(colour.shape))
            return picture[margin:-margin, margin:-margin]
    return picture


def _read(colour: Grey) -> tuple[Grey, tuple[slice, slice]]:
    """How much ink each pixel has, `(height, width)`, and the box of the digit.

    Ink is distance from the ground's colour, so that polarity and colour need no further thought. Raises `InputError`
    where nothing stands out.
    """
    difference = colour - _ground(colour)
    ink: Grey = np.sqrt(np.mean(np.square(difference), axis=2))
    # Most of a picture is ground: what is usual there is noise, and so is three times that.
    ink = np.maximum(ink - min(3 * float(np.median(ink)), 0.25 * float(ink.max())), 0)
    peak = float(ink.max())
    if peak < LEAST_CONTRAST:
        raise InputError.at(
            "#", "expected a picture of a digit that stands out from its ground; got one of an even colour"
        )
    ink[ink < FAINT * peak] = 0
    # A speck must not stretch the box; where the strokes themselves are no wider than specks, there is no telling.
    firm = _median_3x3(ink) > 2 * FAINT * peak
    if firm.sum() < 9:
        firm = ink > 0
    firm = _digit(firm, ink)
    ink = np.where(_spread(firm, max(2, max(ink.shape) // 25)), ink, 0)
    rows, columns = _box(firm)
    vertical = _with_faint_ends(rows.start, rows.stop, np.asarray(ink[:, columns].any(axis=1)))
    horizontal = _with_faint_ends(columns.start, columns.stop, np.asarray(ink[vertical].any(axis=0)))
    return ink, (vertical, horizontal)


def _with_faint_ends(start: int, stop: int, has_ink: NDArray[np.bool_]) -> slice:
    """The run from `start` to `stop` with the ink that it ends in on either side, a stroke's soft edge, and no more."""
    furthest = max(3, (stop - start) // 8)
    first = next(
        (at for at in range(start, max(0, start - furthest), -1) if not has_ink[at - 1]), max(0, start - furthest)
    )
    end = min(len(has_ink), stop + furthest)
    last = next((at for at in range(stop, end) if not has_ink[at]), end)
    return slice(first, last)


def _ground(colour: Grey) -> Grey:
    """The ground's colour at every pixel: a surface of the second degree, since light falls off over a photograph.

    It is fitted to the border, then to whatever lies near it, which are least squares without the strokes.
    """
    height, width, channels = colour.shape
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    terms = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=2).reshape(-1, 6)
    flat = colour.reshape(-1, channels)
    usual = np.median(_border(colour), axis=0)
    surface: Grey = np.broadcast_to(usual, flat.shape)
    reach = 48.0
    for _ in range(FITS):
        off = np.abs(flat - surface).max(axis=1)
        near = off < reach
        if near.sum() < 64:
            break
        factors, *_ = np.linalg.lstsq(terms[near], flat[near], rcond=None)
        surface = terms @ factors
        reach = max(8.0, 4 * float(np.median(np.abs(flat - surface).max(axis=1)[near])))
    fitted: Grey = surface.reshape(colour.shape)
    return fitted


def _digit(firm: NDArray[np.bool_], ink: Grey) -> NDArray[np.bool_]:
    """The part of `firm` that is the digit: its heaviest group, and those near it that are as dark and no specks."""
    groups = _groups(_spread(firm, 1))
    groups[~firm] = 0
    weight = np.bincount(groups.ravel(), ink.ravel())
    weight[0] = 0
    heaviest = np.argsort(weight)[::-1][: min(PARTS, np.count_nonzero(weight))]
    boxes = {int(group): _box(groups == group) for group in heaviest}
    inner = [group for group, box in boxes.items() if not _is_strip(box, ink.shape)] or list(boxes)
    main = max(inner, key=lambda group: float(weight[group]))
    darkness = np.bincount(groups.ravel(), np.square(ink).ravel()) / np.maximum(weight, 1e-9)
    reach = APART * max(part.stop - part.start for part in boxes[main])
    parts = [
        group
        for group in inner
        if weight[group] > PART * weight[main]
        and darkness[group] > PALE * darkness[main]
        and _gap(boxes[group], boxes[main]) < reach
    ]
    return np.isin(groups, parts)


def _is_strip(box: tuple[slice, slice], shape: tuple[int, ...]) -> bool:
    """Whether a box lies along an edge from end to end, as the shadow of a scanner's lid does."""
    at_edge = [part.start <= 1 or part.stop >= side - 1 for part, side in zip(box, shape, strict=True)]
    share = [(part.stop - part.start) / side for part, side in zip(box, shape, strict=True)]
    long, thin = STRIP
    return any(at_edge[axis] and share[axis] < thin and share[1 - axis] > long for axis in (0, 1))


def _gap(one: tuple[slice, slice], other: tuple[slice, slice]) -> int:
    """How far two boxes are apart, in rows or columns, whichever is more; below 0 where they overlap."""
    gaps: list[int] = [max(a.start - b.stop, b.start - a.stop) for a, b in zip(one, other, strict=True)]
    return max(gaps)


def _groups(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """The number of its connected group for every pixel of `mask`, from 1 on; 0 beside it."""
    groups = np.zeros(mask.shape, np.intp)
    parents = [0]

    def first(group: int) -> int:
        while parents[group] != group:
            parents[group] = group = parents[parents[group]]
        return group

    above: list[tuple[int, int, int]] = []
    for y, row in enumerate(mask):
        turns = np.flatnonzero(np.diff(row, prepend=False, append=False)).tolist()
        runs = []
        for start, stop in zip(turns[::2], turns[1::2], strict=True):
            met = {first(group) for begin, end, group in above if begin <= stop and end >= start}
            group = min(met, default=len(parents))
            if not met:
                parents.append(group)
            for other in met:
                parents[other] = group
            groups[y, start:stop] = group
            runs.append((start, stop, group))
        above = runs
    return np.array([first(group) for group in range(len(parents))])[groups]


def _spread(mask: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    """`mask` grown by `reach` pixels to every side."""
    for axis in (0, 1):
        counts = np.cumsum(np.pad(mask, [(reach + 1, reach) if at == axis else (0, 0) for at in (0, 1)]), axis=axis)
        n = mask.shape[axis]
        mask = counts.take(range(2 * reach + 1, 2 * reach + 1 + n), axis) > counts.take(range(n), axis)
    return mask


def _as_thick_as_a_pen(digit: Grey) -> Grey:
    """`digit` with strokes as MNIST has them, if its own are thinner than any there: they would come out grey."""
    fine = np.pad(_fitted(digit / digit.max(), FINE * BOX), FINE)
    # A stroke of length l and thickness t has the area l·t and two edges of length l; along an edge the ink's slope
    # sums up to 1 for every pixel of its length, however soft it is.
    edges = np.hypot(fine[2:, 1:-1] - fine[:-2, 1:-1], fine[1:-1, 2:] - fine[1:-1, :-2]).sum() / 2
    thickness = 2 * float(fine.sum() / edges) / FINE
    if thickness > THIN:
        return digit
    radius = (PEN - thickness) / 2 * FINE
    n = math.ceil(radius)
    fine = np.pad(fine, n)
    height, width = fine.shape
    thick = np.zeros((height - 2 * n, width - 2 * n))
    for dy in range(2 * n + 1):
        for dx in range(2 * n + 1):
            share = min(1.0, max(0.0, radius + 1 - math.hypot(dy - n, dx - n)))
            np.maximum(thick, share * fine[dy : dy + thick.shape[0], dx : dx + thick.shape[1]], out=thick)
    return thick[_box(thick > FAINT)]


def _box(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _median_3x3(picture: Grey) -> Grey:
    padded = np.pad(picture, 1)
    height, width = picture.shape
    shifted = [padded[dy : dy + height, dx : dx + width] for dy in range(3) for dx in range(3)]
    middle: Grey = np.median(shifted, axis=0)
    return middle


def _enlarged(box: tuple[slice, slice], seen: tuple[int, ...], whole: tuple[int, ...]) -> tuple[slice, slice]:
    """The box with half its size around it, in the pixels of the whole picture."""
    scale = max(whole[:2]) / max(seen)
    margin = max(part.stop - part.start for part in box) / 2
    rows, columns = (
        slice(max(0, int((part.start - margin) * scale)), int((part.stop + margin) * scale) + 1) for part in box
    )
    return rows, columns


def _border(picture: NDArray[Number]) -> NDArray[Number]:
    """The pixels along the four edges, `(n_pixels, …)`."""
    return np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])


def _centre_of_mass(picture: Grey) -> tuple[float, float]:
    total = picture.sum()
    return tuple(float(picture.sum(axis=1 - axis) @ np.arange(picture.shape[axis]) / total) for axis in (0, 1))  # type: ignore[return-value]


def _centred(digit: Bytes) -> Bytes:
    """`digit` in a black 28×28 field, its centre of mass on the field's, as far as its box allows."""
    field = np.zeros((SIDE, SIDE), np.uint8)
    top, left = (
        min(max(round(CENTRE - centre), 0), SIDE - side)
        for centre, side in zip(_centre_of_mass(digit.astype(np.float64)), digit.shape, strict=True)
    )
    field[top : top + digit.shape[0], left : left + digit.shape[1]] = digit
    return field
