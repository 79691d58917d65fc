"""Any picture of a digit → the 28×28 that MNIST means.

MNIST's digits are grey, bright on a dark ground, scaled with their proportions kept so that their box fits 20×20, and
placed so that their centre of mass is the centre of the 28×28 field (Y. LeCun, C. Cortes, C. Burges, The MNIST
database of handwritten digits). People's pictures are none of that: dark on light, coloured, transparent, off-centre.
"""

from __future__ import annotations

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
BAND = 2**18  # pixels that are worked on at once: a photograph in float64 is many times as large as in bytes
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
    ink = _ink(picture)
    peak = float(ink.max())
    if peak < LEAST_CONTRAST:
        raise InputError.at(
            "#", "expected a picture of a digit that stands out from its ground; got one of an even colour"
        )
    ink[ink < FAINT * peak] = 0
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    digit = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = BOX / max(digit.shape)
    height, width = (max(1, round(side * scale)) for side in digit.shape)
    small = resize(digit, height, width)
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


def resize(picture: Grey, height: int, width: int) -> Grey:
    """`picture` at another size, each pixel the mean of what it covers, weighted by a triangle (no aliasing)."""
    return _weights(picture.shape[0], height) @ picture @ _weights(picture.shape[1], width).T


def _weights(n_from: int, n_to: int) -> Grey:
    """A matrix `(n_to, n_from)` whose rows say what each new pixel takes of the old ones."""
    ratio = n_from / n_to
    support = max(ratio, 1.0)
    centres = (np.arange(n_to) + 0.5) * ratio - 0.5
    weights = np.maximum(0, 1 - np.abs(np.arange(n_from) - centres[:, np.newaxis]) / support)
    scaled: Grey = weights / weights.sum(axis=1, keepdims=True)
    return scaled


def _ink(picture: Bytes) -> Grey:
    """How much of each pixel is not ground: its distance from the ground's colour, `(height, width)`, 0 to 255.

    Polarity and colour need no further thought: ink is whatever the border is not.
    """
    if picture.ndim == 2:
        picture = picture[:, :, np.newaxis]
    behind = _behind(picture) if picture.shape[2] == 4 else None
    ground = np.median(_colour(_border(picture), behind), axis=0)
    ink = np.empty(picture.shape[:2])
    height = max(1, BAND // picture.shape[1])
    for top in range(0, len(picture), height):
        difference = _colour(picture[top : top + height], behind) - ground
        ink[top : top + height] = np.sqrt(np.mean(np.square(difference), axis=2))
    return ink


def _colour(pixels: Bytes, behind: Grey | None) -> Grey:
    """The pixels' colour, `(…, 1)` or `(…, 3)`; that of RGBA laid on the colour behind it."""
    if behind is None:
        return pixels.astype(np.float64)
    alpha = pixels[..., 3:] / 255
    laid: Grey = pixels[..., :3] * alpha + behind * (1 - alpha)
    return laid


def _behind(picture: Bytes) -> Grey:
    """The colour, `(3,)`, from which an RGBA picture's strokes stand out when it is laid on it."""
    alpha = picture[:, :, 3]
    opaque = picture[alpha > min(127, alpha.max() // 2), :3]
    if not len(opaque):
        return np.zeros(3)
    # Strokes of one colour are drawn by their transparency: any ground far from that colour will do. Where the opaque
    # part has a contrast of its own, it is a sheet with a digit on it, and the sheet goes on.
    opaque = opaque[:: 1 + len(opaque) // SAMPLE]
    usual = np.median(opaque, axis=0)
    is_sheet = np.mean(np.abs(opaque - usual).max(axis=1) > 64) > 0.02
    return usual if is_sheet else np.where(usual > 127, 0.0, 255.0)


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
