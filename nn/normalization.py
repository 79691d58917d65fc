"""Batch normalisation (S. Ioffe, C. Szegedy, Batch Normalization, 2015)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nn import memory
from nn.activations import Array
from nn.layers import Arrays, DType, Layer, Shape, Workspace, is_picture
from nn.spec import BatchNormSpec

Sums = NDArray[np.float64]


@dataclass(slots=True, kw_only=True)
class BatchNormSpace(Workspace):
    """`normal` is the input, normalised; `sums` are those that this block adds to the batch's, `(2, n_channels)`.

    All blocks of a batch are told how many numbers of a channel it has, `count`, their `mean`, the `factor` that makes
    their variance 1, and on the way back `means`, what the sums come to for one of them.
    """

    normal: Array
    sums: Sums
    count: int = 0
    mean: Array
    factor: Array
    means: Array


class BatchNorm(Layer[BatchNormSpace]):
    """Each number of a row, or each channel of pictures, with mean 0 and variance 1 over the batch, then scaled.

    `y = scale · (x - mean) / sqrt(variance + epsilon) + shift`. In training mean and variance (divided by the count)
    are those of the batch; in predictions the running ones, which each batch moves by `1 - momentum` towards its own
    (the variance divided by the count less one). Batches of one row are refused where a run is described.

    A batch may come in several blocks, whose sums are put together in a fixed order: `measure` each block, `combine`
    them all, `forward` each; and the same for the way back.
    """

    def __init__(self, spec: BatchNormSpec, input_shape: Shape) -> None:
        super().__init__(input_shape, input_shape)
        self.spec = spec
        self.n_channels = input_shape[-1]
        # Where the numbers of one channel lie in a batch, and the shape in which a number a channel meets them.
        self.axes: tuple[int, ...] = (0, 2, 3) if is_picture(input_shape) else (0,)
        self.aligned: tuple[int, ...] = (self.n_channels, 1, 1) if is_picture(input_shape) else (self.n_channels,)

    @property
    def offset_shapes(self) -> dict[str, Shape]:
        return {"scale": (self.n_channels,), "shift": (self.n_channels,)}

    @property
    def statistic_shapes(self) -> dict[str, Shape]:
        return {"mean": (self.n_channels,), "variance": (self.n_channels,)}

    @property
    def multiply_adds(self) -> int:
        return math.prod(self.input_shape)

    def bind(self, arrays: Arrays) -> None:
        self.scale, self.shift = arrays["scale"], arrays["shift"]
        self.mean, self.variance = arrays["mean"], arrays["variance"]

    def initialize(self, rng: np.random.Generator) -> None:
        self.scale[...] = self.variance[...] = 1
        self.shift[...] = self.mean[...] = 0

    def workspace(self, n: int, dtype: DType, training: bool, dx: Array | None, y: Array) -> BatchNormSpace:
        told = np.zeros((4, self.n_channels), dtype)
        return BatchNormSpace(
            y=y,
            training=training,
            dx=dx,
            normal=memory.empty(y.shape if training else (0,), dtype),
            sums=np.zeros((2, self.n_channels)),
            mean=told[0],
            factor=told[1],
            means=told[2:],
        )

    def factors(self) -> tuple[Array, Array]:
        """What a prediction multiplies each channel by, and what it then adds, `(n_channels,)` both."""
        factor = self.scale / np.sqrt(self.variance + self.spec.epsilon)
        return factor, self.shift - self.mean * factor

    def forward(self, x: Array, space: BatchNormSpace) -> Array:
        if not space.training:
            factor, summand = self.factors()
            np.multiply(x, factor.reshape(self.aligned), space.y)
            space.y += summand.reshape(self.aligned)
            return space.y
        np.subtract(x, space.mean.reshape(self.aligned), space.normal)
        space.normal *= space.factor.reshape(self.aligned)
        np.multiply(space.normal, self.scale.reshape(self.aligned), space.y)
        space.y += self.shift.reshape(self.aligned)
        return space.y

    def measure(self, x: Array, space: BatchNormSpace) -> None:
        """Takes the sum of a block's numbers, and that of their squared distances from the block's mean."""
        count = x.size // self.n_channels
        space.sums[0] = np.add.reduce(x, axis=self.axes)
        mean = (space.sums[0] / count).astype(x.dtype)
        np.subtract(x, mean.reshape(self.aligned), space.y)
        np.multiply(space.y, space.y, space.y)
        space.sums[1] = np.add.reduce(space.y, axis=self.axes)

    def combine(self, counts: Sequence[int], spaces: Sequence[BatchNormSpace]) -> None:
        """Mean and variance of the batch from the sums of its blocks of so many samples; moves the running ones."""
        per_sample = math.prod(self.input_shape) // self.n_channels
        count = sum(counts) * per_sample
        mean: Sums = np.sum([space.sums[0] for space in spaces], axis=0) / count
        # T. Chan, G. Golub, R. LeVeque, Updating Formulae and a Pairwise Algorithm for Computing Variances, 1979.
        distances: Sums = np.sum(
            [
                space.sums[1] + n * per_sample * (space.sums[0] / (n * per_sample) - mean) ** 2
                for n, space in zip(counts, spaces, strict=True)
            ],
            axis=0,
        )
        variance = distances / count
        factor = 1 / np.sqrt(variance + self.spec.epsilon)
        for space in spaces:
            space.count = count
            space.mean[...], space.factor[...] = mean, factor
        if count > 1:  # one number alone has a variance of 0, which says nothing of those to come
            share = 1 - self.spec.momentum
            self.mean += share * (mean - self.mean)
            self.variance += share * (distances / (count - 1) - self.variance)

    def measure_backward(self, dy: Array, space: BatchNormSpace) -> None:
        """Takes the sums that the gradients of `shift` and `scale` are made of."""
        space.sums[0] = np.add.reduce(dy, axis=self.axes)
        np.multiply(dy, space.normal, space.y)
        space.sums[1] = np.add.reduce(space.y, axis=self.axes)

    def combine_backward(self, spaces: Sequence[BatchNormSpace], gradients: Arrays) -> None:
        """Writes the gradients of the batch from the sums of its blocks."""
        sums: Sums = np.sum([space.sums for space in spaces], axis=0)
        gradients["shift"][...], gradients["scale"][...] = sums
        for space in spaces:
            space.means[...] = sums / space.count

    def backward(self, dy: Array, space: BatchNormSpace, gradients: Arrays) -> Array | None:
        if space.dx is None:
            return None
        of_shift, of_scale = space.means
        np.multiply(space.normal, of_scale.reshape(self.aligned), space.y)
        space.y += of_shift.reshape(self.aligned)
        np.subtract(dy, space.y, space.dx)
        space.dx *= (self.scale * space.factor).reshape(self.aligned)
        return space.dx
