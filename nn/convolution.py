"""Convolution and pooling of pictures.

Pictures lie in blocks `(height, channels, width, n_pictures)`. A row of the output then is one matrix product,
`(filters, kernel · kernel · channels) @ (kernel · kernel · channels, out_width · n_pictures)`: of the usual "im2col"
only the shifts along the width are copied, those along the height are views, since the rows of a picture lie one behind
another. The gradient of the input is the same product the other way round. K. Chellapilla, S. Puri and P. Simard, High
Performance Convolutional Neural Networks for Document Processing, 2006, have the idea of the matrix product.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from nn import memory
from nn.activations import Array
from nn.errors import SpecError
from nn.initializers import initialize
from nn.layers import Arrays, DType, Layer, Shape, Workspace, require_picture
from nn.spec import Conv2DSpec, Pool2DSpec, ReshapeSpec


@dataclass(slots=True, kw_only=True)
class ConvSpace(Workspace):
    """`columns` is `(padded rows, kernel, channels, out_width, n)`: the input, shifted along its width, its edge of 0.

    `patches` is a view of it, `(out_height, kernel · kernel · channels, out_width · n)`. For training, `dweight` has
    the gradient of the weight by each row of the output. For the gradient of the input, `spread` is the output's
    gradient with rows of 0 between and around it, `fields` a view of it like `patches`, and `dcolumns` like `columns`.
    """

    columns: Array
    patches: Array
    dweight: Array
    spread: Array
    fields: Array
    dcolumns: Array


class Conv2D(Layer[ConvSpace]):
    """A convolution with square kernels; `weight` is `(filters, kernel, kernel, channels)`, `bias` `(filters,)`.

    Padding "valid" takes only what lies wholly within the picture; "same" puts 0 around it, so that the output's sides
    are the input's divided by the stride, rounded up (the odd one of the rows of 0 comes last, as in TensorFlow).
    """

    def __init__(self, spec: Conv2DSpec, input_shape: Shape) -> None:
        require_picture(spec.type, input_shape)
        height, width, _ = input_shape
        kernel, stride = spec.kernel_size, spec.stride
        if spec.padding == "valid" and kernel > min(height, width):
            raise SpecError.at(
                "#/kernel_size",
                f"a kernel of {kernel} × {kernel} does not fit into pictures of {height} × {width}; "
                'take a smaller one, or padding "same"',
            )
        out_height, self.top = _extent(height, kernel, stride, spec.padding)
        out_width, self.left = _extent(width, kernel, stride, spec.padding)
        super().__init__(input_shape, (out_height, out_width, spec.filters))
        self.spec = spec
        # Rows of the padded input that a kernel touches, and how many of them are rows of the picture.
        self.padded_height = (out_height - 1) * stride + kernel
        self.used_height = min(height, self.padded_height - self.top)
        # For each column of the kernel: which columns of the output see the picture there, and which of its columns.
        self.shifts: list[tuple[slice, slice]] = []
        for j in range(kernel):
            first = max(0, -((j - self.left) // stride))
            last = min(out_width, (width - 1 - j + self.left) // stride + 1)
            start = first * stride + j - self.left
            seen = slice(start, start + max(0, last - first - 1) * stride + 1 if last > first else start, stride)
            self.shifts.append((slice(first, max(first, last)), seen))

    @property
    def weight_shapes(self) -> dict[str, Shape]:
        kernel = self.spec.kernel_size
        return {"weight": (self.spec.filters, kernel, kernel, self.input_shape[2])}

    @property
    def offset_shapes(self) -> dict[str, Shape]:
        return {"bias": (self.spec.filters,)}

    @property
    def multiply_adds(self) -> int:
        height, width, filters = self.output_shape
        return height * width * filters * self.spec.kernel_size**2 * self.input_shape[2]

    @property
    def training_numbers(self) -> int:
        _, _, channels = self.input_shape
        height, width, filters = self.output_shape
        kernel = self.spec.kernel_size
        columns = (self.padded_height + self.used_height) * kernel * channels * width
        gradients = (height + self.padded_height + kernel) * filters * width
        return super().training_numbers + columns + gradients

    @property
    def block_numbers(self) -> int:
        # The gradient of the weight by each row of the output, their sum, and that of the bias.
        kernel, (height, _, filters) = self.spec.kernel_size, self.output_shape
        return (height + 2) * filters * kernel**2 * self.input_shape[2]

    def bind(self, arrays: Arrays) -> None:
        self.weight, self.bias = arrays["weight"], arrays["bias"]
        self.matrix = self.weight.reshape(self.spec.filters, -1)

    def initialize(self, rng: np.random.Generator) -> None:
        area = self.spec.kernel_size**2
        initialize(self.weight, self.spec.initializer, rng, area * self.input_shape[2], area * self.spec.filters)
        self.bias[...] = 0

    def workspace(self, n: int, dtype: DType, training: bool, dx: Array | None, y: Array) -> ConvSpace:
        _, _, channels = self.input_shape
        out_height, out_width, filters = self.output_shape
        kernel, stride = self.spec.kernel_size, self.spec.stride
        columns = memory.zeros((self.padded_height, kernel, channels, out_width, n), dtype)
        row = kernel * channels
        patches = _stacked_rows(columns.reshape(self.padded_height, row, out_width * n), out_height, kernel, stride)
        dweight = np.empty((out_height, filters, kernel * row) if training else (0,), dtype)
        home, spread = None, np.empty(0, dtype)
        fields = dcolumns = spread
        if dx is not None:
            spread = memory.zeros((self.padded_height + kernel - 1, filters, out_width * n), dtype)
            home = spread[kernel - 1 : self.padded_height : stride]
            home = home.reshape(out_height, filters, out_width, n)
            fields = _stacked_rows(spread[self.top :], self.used_height, kernel, 1)
            dcolumns = memory.empty((self.used_height, row, out_width * n), dtype)
        return ConvSpace(
            y=y,
            training=training,
            dx=dx,
            home=home,
            columns=columns,
            patches=patches,
            dweight=dweight,
            spread=spread,
            fields=fields,
            dcolumns=dcolumns,
        )

    def forward(self, x: Array, space: ConvSpace) -> Array:
        rows = space.columns[self.top : self.top + self.used_height]
        for j, (target, source) in enumerate(self.shifts):
            np.copyto(rows[:, j, :, target], x[: self.used_height, :, source])
        y = space.y
        np.matmul(self.matrix, space.patches, y.reshape(*y.shape[:2], -1))
        y += self.bias[:, np.newaxis, np.newaxis]
        return y

    def backward(self, dy: Array, space: ConvSpace, gradients: Arrays) -> Array | None:
        if space.home is not None and dy is not space.home:
            np.copyto(space.home, dy)
        by_row = dy.reshape(*dy.shape[:2], -1)
        np.matmul(by_row, space.patches.transpose(0, 2, 1), space.dweight)
        np.add.reduce(space.dweight, axis=0, out=gradients["weight"].reshape(self.matrix.shape))
        np.add.reduce(np.add.reduce(by_row, axis=2), axis=0, out=gradients["bias"])
        dx = space.dx
        if dx is None:
            return None
        # (kernel column, channel) × (kernel row from the last, filter): a row of the input meets the rows of the
        # output that saw it, the first of them by the kernel's last row.
        turned = self.weight[:, ::-1].transpose(2, 3, 1, 0).reshape(space.dcolumns.shape[1], -1)
        np.matmul(turned, space.fields, space.dcolumns)
        dcolumns = space.dcolumns.reshape(self.used_height, len(self.shifts), self.input_shape[2], *dy.shape[2:])
        dx.fill(0)
        for j, (target, source) in enumerate(self.shifts):
            dx[: self.used_height, :, source] += dcolumns[:, j, :, target]
        return dx


def _extent(side: int, kernel: int, stride: int, padding: str) -> tuple[int, int]:
    """How long a side of the output is, and how many rows or columns of 0 stand before the input."""
    if padding == "valid":
        return (side - kernel) // stride + 1, 0
    out = -(-side // stride)
    return out, max(0, (out - 1) * stride + kernel - side) // 2


def _stacked_rows(rows: Array, n: int, kernel: int, stride: int) -> Array:
    """A view `(n, kernel · row, numbers)` of C-contiguous `(n_rows, row, numbers)`: `kernel` rows each, by `stride`."""
    _, row, numbers = rows.shape
    return as_strided(rows, (n, kernel * row, numbers), (stride * rows.strides[0], *rows.strides[1:]))


@dataclass(slots=True, kw_only=True)
class PoolSpace(Workspace):
    """`across` is `(out_height, channels, width, n)`: pooled along the height only; `dacross` its gradient.

    `x` is the input of the last forward pass; `hit` has room for which number of a field was the largest.
    """

    x: Array
    across: Array
    dacross: Array
    hit: NDArray[np.bool_]


class _Pool2D(Layer[PoolSpace]):
    """Pooling of square fields, along the height first and then along the width; what is left over is left out."""

    def __init__(self, spec: Pool2DSpec, input_shape: Shape) -> None:
        require_picture(spec.type, input_shape)
        height, width, channels = input_shape
        size, stride = spec.pool_size, spec.stride or spec.pool_size
        if size > min(height, width):
            raise SpecError.at(
                "#/pool_size", f"a field of {size} × {size} does not fit into pictures of {height} × {width}; take less"
            )
        out_height, out_width = (height - size) // stride + 1, (width - size) // stride + 1
        super().__init__(input_shape, (out_height, out_width, channels))
        self.spec = spec
        # One number of each field a slice; the fields that a stride below the size makes overlap share numbers.
        self.down = [slice(i, i + (out_height - 1) * stride + 1, stride) for i in range(size)]
        self.along = [slice(i, i + (out_width - 1) * stride + 1, stride) for i in range(size)]
        self.covers = (out_height * stride == height, out_width * stride == width) if stride == size else (False, False)
        self.overlaps = stride < size

    @property
    def training_numbers(self) -> int:
        across = self.output_shape[0] * self.input_shape[1] * self.input_shape[2]
        return super().training_numbers + 3 * across

    def workspace(self, n: int, dtype: DType, training: bool, dx: Array | None, y: Array) -> PoolSpace:
        across = memory.empty((self.output_shape[0], self.input_shape[2], self.input_shape[1], n), dtype)
        back = across.shape if dx is not None else (0,)
        return PoolSpace(
            y=y, training=training, dx=dx, x=y, across=across, dacross=np.zeros(back, dtype), hit=np.empty(back, bool)
        )


class MaxPool2D(_Pool2D):
    """The largest number of each field; its gradient goes to the first that is the largest of its row or column."""

    keeps_y = True

    def forward(self, x: Array, space: PoolSpace) -> Array:
        space.x = x
        _largest([x[part] for part in self.down], space.across)
        return _largest([space.across[:, :, part] for part in self.along], space.y)

    def backward(self, dy: Array, space: PoolSpace, gradients: Arrays) -> Array | None:
        dx = space.dx
        if dx is None:
            return None
        across, dacross = space.across, space.dacross
        if not self.covers[1]:
            dacross.fill(0)
        if not self.covers[0]:
            dx.fill(0)
        self._spread(
            dy, space.y, [across[:, :, at] for at in self.along], [dacross[:, :, at] for at in self.along], space
        )
        self._spread(dacross, across, [space.x[at] for at in self.down], [dx[at] for at in self.down], space)
        return dx

    def _spread(self, dy: Array, y: Array, xs: list[Array], dxs: list[Array], space: PoolSpace) -> None:
        """Gives each number of `dy` to the first of `xs` that is the largest; `dy` is used up."""
        hit = space.hit[:, :, : dy.shape[2]]
        for x, dx in zip(xs[:-1], dxs[:-1], strict=True):
            np.equal(x, y, hit)
            if self.overlaps:
                part = dy * hit
                dx += part
                dy -= part
            elif len(xs) == 2:
                np.multiply(dy, hit, dx)
            else:
                np.multiply(dy, hit, dx)
                dy -= dx
        if self.overlaps:
            dxs[-1] += dy
        elif len(xs) == 2:
            np.subtract(dy, dxs[0], dxs[1])
        else:
            np.copyto(dxs[-1], dy)


class AveragePool2D(_Pool2D):
    """The mean of each field."""

    def forward(self, x: Array, space: PoolSpace) -> Array:
        _sum([x[part] for part in self.down], space.across)
        y = _sum([space.across[:, :, part] for part in self.along], space.y)
        y *= 1 / len(self.down) ** 2
        return y

    def backward(self, dy: Array, space: PoolSpace, gradients: Arrays) -> Array | None:
        dx = space.dx
        if dx is None:
            return None
        dy *= 1 / len(self.down) ** 2
        space.dacross.fill(0)
        for part in self.along:
            space.dacross[:, :, part] += dy
        dx.fill(0)
        for part in self.down:
            dx[part] += space.dacross
        return dx


def _largest(parts: list[Array], out: Array) -> Array:
    if len(parts) == 1:
        np.copyto(out, parts[0])
        return out
    np.maximum(parts[0], parts[1], out=out)
    for part in parts[2:]:
        np.maximum(out, part, out=out)
    return out


def _sum(parts: list[Array], out: Array) -> Array:
    np.copyto(out, parts[0])
    for part in parts[1:]:
        out += part
    return out


class GlobalAveragePool2D(Layer[Workspace]):
    """The mean of each channel of a picture, `(n_samples, channels)`."""

    def __init__(self, spec: ReshapeSpec, input_shape: Shape) -> None:
        require_picture(spec.type, input_shape)
        super().__init__(input_shape, (input_shape[2],))
        self.area = input_shape[0] * input_shape[1]

    def workspace(self, n: int, dtype: DType, training: bool, dx: Array | None, y: Array) -> Workspace:
        return Workspace(y=y, training=training, dx=dx)

    def forward(self, x: Array, space: Workspace) -> Array:
        np.multiply(np.add.reduce(x, axis=(0, 2)).T, 1 / self.area, space.y)
        return space.y

    def backward(self, dy: Array, space: Workspace, gradients: Arrays) -> Array | None:
        if space.dx is not None:
            np.multiply(dy.T[:, np.newaxis], 1 / self.area, space.dx)
        return space.dx
