"""A forward pass that can be run backward, over buffers for batches of one size.

Layers that take pictures work on blocks of a few pictures, which stay in the cache from one layer to the next and which
several threads can share; layers that take rows work on the whole batch. Each block has gradients of its own, which are
added in a fixed order: the result does not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from nn import memory
from nn.activations import Array
from nn.crew import Crew
from nn.layers import PICTURES, Arrays, Drawing, DType, Layer, Shape, Workspace, array_shape, is_picture
from nn.network import Network
from nn.normalization import BatchNorm, BatchNormSpace


@dataclass
class _Step:
    """One layer at work on one block.

    `gradients` are those of its arrays by this block. Without `back` nobody asks for any gradient here or below.
    """

    layer: Layer[Any]
    space: Any
    gradients: Arrays
    back: bool


class _Stage(Protocol):
    """Layers over all blocks of a batch: of arrays, one a block, it makes those that come out."""

    def forward(self, xs: list[Array], crew: Crew) -> None: ...

    def backward(self, dys: list[Array], crew: Crew) -> None: ...


class _Alone:
    """Layers through which each block goes on its own, from one to the next while it is in the cache."""

    def __init__(self, blocks: Sequence[Sequence[_Step]]) -> None:
        self._blocks = blocks
        self._back = [[step for step in reversed(steps) if step.back] for steps in blocks]

    def forward(self, xs: list[Array], crew: Crew) -> None:
        crew.each(lambda block: self._pass_through(block, xs), len(xs))

    def backward(self, dys: list[Array], crew: Crew) -> None:
        crew.each(lambda block: self._pass_back(block, dys), len(dys))

    def _pass_through(self, block: int, xs: list[Array]) -> None:
        x = xs[block]
        for step in self._blocks[block]:
            x = step.layer.forward(x, step.space)
        xs[block] = x

    def _pass_back(self, block: int, dys: list[Array]) -> None:
        dy: Array | None = dys[block]
        for step in self._back[block]:
            assert dy is not None
            dy = step.layer.backward(dy, step.space, step.gradients)
        if dy is not None:
            dys[block] = dy


class _Together:
    """A batch normalisation, where the blocks of a batch wait for each other."""

    def __init__(self, layer: BatchNorm, spaces: list[BatchNormSpace], counts: list[int], gradients: Arrays) -> None:
        self._layer, self._spaces, self._counts, self._gradients = layer, spaces, counts, gradients

    def forward(self, xs: list[Array], crew: Crew) -> None:
        layer, spaces = self._layer, self._spaces
        crew.each(lambda block: layer.measure(xs[block], spaces[block]), len(xs))
        layer.combine(self._counts, spaces)
        crew.each(lambda block: layer.forward(xs[block], spaces[block]), len(xs))
        xs[:] = [space.y for space in spaces]

    def backward(self, dys: list[Array], crew: Crew) -> None:
        layer, spaces = self._layer, self._spaces
        crew.each(lambda block: layer.measure_backward(dys[block], spaces[block]), len(dys))
        layer.combine_backward(spaces, self._gradients)
        crew.each(lambda block: layer.backward(dys[block], spaces[block], self._gradients), len(dys))
        dys[:] = [dy if space.dx is None else space.dx for dy, space in zip(dys, spaces, strict=True)]


class _Arrange(Layer[Workspace]):
    """Pictures `(n, height, width, channels)`, as they come, into a block as `layers` describes it."""

    def workspace(self, n: int, dtype: DType, training: bool, dx: Array | None, y: Array) -> Workspace:
        return Workspace(y=y, training=training)

    def forward(self, x: Array, space: Workspace) -> Array:
        np.copyto(space.y, x.transpose(1, 3, 2, 0))
        return space.y

    def backward(self, dy: Array, space: Workspace, gradients: Arrays) -> None:
        return None


class _Side:
    """Layers one behind another over the same blocks, of `counts` samples: their buffers and the stages they make."""

    def __init__(self, dtype: DType, counts: list[int]) -> None:
        self.stages: list[_Stage] = []
        self.draws: list[tuple[Drawing[Any], Any]] = []
        self.sums: list[tuple[Array, Array]] = []
        self._dtype, self._counts = dtype, counts
        self._steps: list[list[_Step]] = [[] for _ in counts]
        self._spaces: list[Any] = []
        self._before: Layer[Any] | None = None

    def begin(self, ys: list[Array], homes: list[Array]) -> None:
        """Says what goes in, and where its gradient is to be put."""
        self._spaces = [Workspace(y=y, training=True, home=home) for y, home in zip(ys, homes, strict=True)]

    def add(
        self, layer: Layer[Any], gradients: Arrays, *, back: bool, below: bool, outputs: list[Array] | None = None
    ) -> None:
        """Puts a layer behind the others; `below` says that somebody asks for the gradient of what goes into it."""
        spaces: list[Any] = []
        for block, n in enumerate(self._counts):
            before = self._spaces[block] if self._spaces else None
            if outputs is not None:
                y = outputs[block]
            elif layer.in_place and before is not None and not (self._before and self._before.keeps_y):
                y = before.y
            else:
                y = memory.empty(array_shape(layer.output_shape, n), self._dtype)
            dx = None
            if below:
                home = None if before is None else before.home
                dx = memory.empty(array_shape(layer.input_shape, n), self._dtype) if home is None else home
            spaces.append(layer.workspace(n, self._dtype, True, dx, y))
        if isinstance(layer, BatchNorm):
            self.close()
            self.stages.append(_Together(layer, spaces, self._counts, gradients))
        else:
            for steps, space, own in zip(self._steps, spaces, self._by_block(gradients), strict=True):
                steps.append(_Step(layer, space, own, back))
        if isinstance(layer, Drawing):
            self.draws += [(layer, space) for space in spaces]
        self._spaces, self._before = spaces, layer

    def close(self) -> None:
        """Makes a stage of the layers that wait for one."""
        if self._steps[0]:
            self.stages.append(_Alone(self._steps))
            self._steps = [[] for _ in self._counts]

    def _by_block(self, gradients: Arrays) -> list[dict[str, Array]]:
        if len(self._counts) == 1:
            return [dict(gradients)]
        by_block: list[dict[str, Array]] = [{} for _ in self._counts]
        for name, whole in gradients.items():
            parts = np.empty((len(self._counts), *whole.shape), whole.dtype)
            self.sums.append((parts, whole))
            for own, part in zip(by_block, parts, strict=True):
                own[name] = part
        return by_block


class Tape:
    """A forward pass of `network` that can be run backward, for batches of `n_samples`.

    `gradients` is a vector like `network.vector`, which `backward` fills.
    """

    def __init__(self, network: Network, n_samples: int, gradients: Array, crew: Crew | None = None) -> None:
        self._crew = crew or Crew()
        dtype = network.dtype
        order = [(layer, network.of_layer(at, gradients)) for at, layer in network.layers.items()]
        # Below the first layer that has parameters no gradient is of use to anybody.
        first = next((at for at, (_, own) in enumerate(order) if own), len(order))
        n_pictures = sum(is_picture(layer.input_shape) for layer, _ in order)
        self._blocks = [slice(at, min(at + PICTURES, n_samples)) for at in range(0, n_samples, PICTURES)]
        self._pictures, self._rows = _Side(dtype, [b.stop - b.start for b in self._blocks]), _Side(dtype, [n_samples])
        between: Shape = order[n_pictures - 1][0].output_shape if n_pictures else (0,)
        self._between, self._dbetween = (memory.empty((n_samples, *between), dtype) for _ in range(2))
        if n_pictures:
            shape = order[0][0].input_shape
            self._pictures.add(_Arrange(shape, shape), {}, back=False, below=False)
            self._rows.begin([self._between], [self._dbetween])
        for at, (layer, own) in enumerate(order):
            side = self._pictures if at < n_pictures else self._rows
            outputs = [self._between[block] for block in self._blocks] if at == n_pictures - 1 else None
            side.add(layer, own, back=at >= first, below=at > first, outputs=outputs)
        self._has_pictures = n_pictures > 0
        self._reaches_pictures = first < n_pictures
        self._pictures.close()
        self._rows.close()

    def draw(self, rng: np.random.Generator) -> None:
        """Draws the random numbers of the next forward pass."""
        for side in (self._pictures, self._rows):
            for layer, space in side.draws:
                layer.draw(space, rng)

    def forward(self, x: Array) -> Array:
        """The logits for a batch `(n_samples, *input_shape)`; the array is overwritten by the next call.

        `x` must stay as it is until `backward` is done.
        """
        if self._has_pictures:
            xs = [x[block] for block in self._blocks]
            for stage in self._pictures.stages:
                stage.forward(xs, self._crew)
            x = self._between
        xs = [x]
        for stage in self._rows.stages:
            stage.forward(xs, self._crew)
        return xs[0]

    def backward(self, dlogits: Array) -> None:
        """Fills the gradients' vector with the derivatives of the loss, given those by the logits; may change them."""
        dys = [dlogits]
        for stage in reversed(self._rows.stages):
            stage.backward(dys, self._crew)
        if not self._reaches_pictures:
            return
        dys = [dys[0][block] for block in self._blocks]
        for stage in reversed(self._pictures.stages):
            stage.backward(dys, self._crew)
        for parts, whole in self._pictures.sums:
            np.add.reduce(parts, axis=0, out=whole)
