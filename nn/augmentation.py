"""Pictures distorted anew each time they are seen: scaled, slanted, turned, shifted and bent.

A digit is still the same digit after that, so each distortion is one more sample that nobody had to label (P. Simard,
D. Steinkraus, J. Platt, Best Practices for Convolutional Neural Networks Applied to Visual Document Analysis, 2003).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nn.spec import AugmentationSpec

BITS = 8
STEPS = 1 << BITS  # to a pixel: places between pixels are whole numbers of these, and so are interpolation's weights
BLOCK = 1 << 16  # pixels that are distorted at once, which bounds the memory; each takes about 35 bytes meanwhile
REACH = 2  # standard deviations beyond the edge from which noise comes; more changes less than the knots' ripple
SHARP = 0.1  # pixels: with a smoothness below this no two pixels have noise in common

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Distortions:
    """What happens to each of `n` pictures: scaled, slanted, turned and shifted, in this order, and all of it bent.

    `scale` is `(n, 2)`, the factors of height and width; `shear` `(n,)`, the degrees by which uprights lean to the
    right; `rotation` `(n,)`, degrees counter-clockwise; `shift` `(n, 2)`, pixels down and to the right; `noise`
    `(n, 2, n_knots_down, n_knots_across)`, from -1 to 1, which smoothed is the displacement of every pixel's source,
    down and to the right.
    """

    scale: Floats
    shear: Floats
    rotation: Floats
    shift: Floats
    noise: Floats

    def __len__(self) -> int:
        return len(self.shift)

    def __getitem__(self, pictures: slice) -> Distortions:
        """Those of some of the pictures, as views."""
        return Distortions(
            self.scale[pictures],
            self.shear[pictures],
            self.rotation[pictures],
            self.shift[pictures],
            self.noise[pictures],
        )


class Augmentation:
    """Distorts pictures of one size about their centre. It never changes, so that threads may share one."""

    def __init__(self, spec: AugmentationSpec, height: int, width: int) -> None:
        self.spec = spec
        self.height = height
        self.width = width
        down, across = _smoothing(height, spec), _smoothing(width, spec)
        self._n_knots = down.shape[1], across.shape[1]
        # Down and across share the mean square of the displacement; that of noise from -1 to 1 is 1/3.
        strength = STEPS * spec.elastic * math.sqrt(3 / 2)
        self._down = np.column_stack([strength * down, _straight(height)])
        self._across = np.vstack([across.T, _straight(width).T])

    def draw(self, n_pictures: int, rng: np.random.Generator) -> Distortions:
        """Distortions for so many pictures, uniform within the spec's bounds: all that is random in augmentation.

        How much is drawn depends on `n_pictures`, on whether there is an elastic distortion and on its smoothness.
        """
        uniform = _uniform((n_pictures, 6), rng)
        return Distortions(
            scale=1 + self.spec.scale * uniform[:, 0:2],
            shear=self.spec.shear * uniform[:, 2],
            rotation=self.spec.rotation * uniform[:, 3],
            shift=self.spec.shift * uniform[:, 4:6],
            noise=_uniform((n_pictures, 2, *self._n_knots), rng),
        )

    def apply(self, pictures: Bytes, distortions: Distortions, out: Bytes) -> None:
        """Writes the distorted `pictures` into `out`, which may be the same array.

        Both are `(n, height · width)` and contiguous. Each pixel is interpolated between the four around the place
        that it comes from, to 1/256 pixel; beyond the edges all is black. A picture comes out the same whichever
        others are distorted in the same call.
        """
        n_at_once = max(1, BLOCK // (self.height * self.width))
        for start in range(0, len(pictures), n_at_once):
            block = slice(start, start + n_at_once)
            self._apply(pictures[block], distortions[block], out[block])

    def _apply(self, pictures: Bytes, distortions: Distortions, out: Bytes) -> None:
        places = self._places(distortions)
        fractions = (places & (STEPS - 1)).view(np.uint32)
        below, right_of = fractions[:, 0], fractions[:, 1]
        places >>= BITS
        index = places[:, 0]
        index *= self.width + 1
        index += places[:, 1]
        index += np.arange(len(pictures), dtype=np.int32)[:, np.newaxis] * ((self.height + 1) * (self.width + 1))
        found = _corners(pictures.reshape(-1, self.height, self.width)).take(index)
        # The upper row's pixels are in the lower half of each number and the lower row's in the upper half, so that
        # one multiplication weighs both; 255 · 256 still fits a half.
        right = found >> 8 & 0x00FF00FF
        right *= right_of
        found &= 0x00FF00FF
        found *= STEPS - right_of
        found += right
        lower = found >> 16
        lower *= below
        found &= 0xFFFF
        found *= STEPS - below
        found += lower
        found += STEPS**2 // 2
        found >>= 16
        np.copyto(out, found, casting="unsafe")

    def _places(self, distortions: Distortions) -> NDArray[np.int32]:
        """Where each pixel comes from, `(n, 2, height · width)`: steps from the black row and column before it."""
        n_pictures, _, n_down, n_across = distortions.noise.shape
        # A place is a sum of products of what depends on the row and what depends on the column: 1 and the
        # coordinate for the straight part of the map, Gaussians for the bent one.
        factors = np.zeros((n_pictures, 2, n_down + 2, n_across + 2), np.float32)
        factors[:, :, :n_down, :n_across] = distortions.noise
        by_row, by_column, constant = np.moveaxis(self._inverses(distortions), 2, 0)
        factors[:, :, n_down, n_across + 1] = by_row
        factors[:, :, n_down + 1, n_across] = by_column
        factors[:, :, n_down + 1, n_across + 1] = constant
        # Products picture by picture: in a joint one the rounding would depend on how many there are.
        places = (self._down @ factors @ self._across).reshape(n_pictures, 2, -1)
        for axis, side in enumerate((self.height, self.width)):
            np.clip(places[:, axis], 0, (side + 1) * STEPS, out=places[:, axis])
        return places.astype(np.int32)

    def _inverses(self, distortions: Distortions) -> Floats:
        """The straight part of the map from each pixel to its place: `(n, 2, 3)`, in steps, with a half for rounding.

        The two places are the products with `(down, right, 1)`, from the picture's centre.
        """
        angle, slant = np.radians(distortions.rotation), np.tan(np.radians(distortions.shear))
        cos, sin = np.cos(angle), np.sin(angle)
        inverses = np.empty((len(distortions), 2, 3), np.float32)
        # diag(1 / scale) @ [[1, 0], [slant, 1]] @ [[cos, sin], [-sin, cos]]
        inverses[:, 0, 0] = cos
        inverses[:, 0, 1] = sin
        inverses[:, 1, 0] = slant * cos - sin
        inverses[:, 1, 1] = slant * sin + cos
        inverses[:, :, :2] /= distortions.scale[:, :, np.newaxis]
        inverses[:, :, 2] = -(inverses[:, :, :2] * distortions.shift[:, np.newaxis]).sum(axis=2)
        inverses[:, :, 2] += (self.height + 1) / 2, (self.width + 1) / 2
        inverses *= STEPS
        inverses[:, :, 2] += 0.5
        return inverses


def _smoothing(side: int, spec: AugmentationSpec) -> Floats:
    """A matrix `(side, n_knots)` that makes noise smooth, with the sum of each row's squares 1."""
    if not spec.elastic:
        return np.zeros((side, 0), np.float32)
    # Knots one standard deviation apart do what noise at every pixel does, for less: in the sum of the squares they
    # leave a ripple of 2 exp(-π²), 0.01 %.
    spacing = max(1.0, spec.smoothness)
    n_knots = math.ceil((side - 1) / spacing) + 1 + 2 * math.ceil(REACH * min(1.0, spec.smoothness))
    distances = _centred(side)[:, np.newaxis] - spacing * _centred(n_knots)
    weights = np.exp(-0.5 * np.square(distances / max(spec.smoothness, SHARP)))
    weights /= np.sqrt(np.square(weights).sum(axis=1, keepdims=True))
    return weights.astype(np.float32)


def _straight(side: int) -> Floats:
    """`(side, 2)`: the distance from the centre, and 1."""
    return np.column_stack([_centred(side), np.ones(side)]).astype(np.float32)


def _centred(n: int) -> NDArray[np.float64]:
    return np.arange(n, dtype=np.float64) - (n - 1) / 2


def _corners(pictures: Bytes) -> NDArray[np.uint32]:
    """Each pixel with those to its right, below it, and below that to the right: a byte each, the first the lowest.

    `pictures` is `(n, height, width)`; what comes is flat, with one black row before each picture and one black pixel
    before each row, which are also what ends the picture and the row before.
    """
    n_pictures, height, width = pictures.shape
    stride = width + 1
    n_fields = n_pictures * (height + 1) * stride
    padded = np.zeros(n_fields + 3 * stride, np.uint32)
    padded[:n_fields].reshape(n_pictures, height + 1, stride)[:, 1:, 1:] = pictures
    pairs = np.left_shift(padded[1:], 8)
    pairs |= padded[:-1]
    corners: NDArray[np.uint32] = np.left_shift(pairs[stride:], 16)
    corners |= pairs[:-stride]
    return corners


def _uniform(shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Numbers from -1 to 1."""
    uniform = rng.random(shape, np.float32)
    uniform *= 2
    uniform -= 1
    return uniform
