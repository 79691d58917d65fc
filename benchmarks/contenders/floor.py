"""The floor: the matrix products of an epoch alone, into ready buffers."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.cases import Case, Clock, shapes
from benchmarks.digits import Digits

Product = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
TRIALS = 7
CACHE_LINE = 64  # bytes


def epochs(case: Case, digits: Digits, threads: int, n_epochs: int, clock: Clock) -> list[float]:
    """The seconds of the products of forward pass, weights' gradients and inputs' gradients, batch after batch."""
    rng = np.random.default_rng(1)
    n_batches, rest = divmod(len(digits.pictures), case.batch_size)
    whole = [fastest(sizes, rng) for sizes in product_sizes(case, case.batch_size)]
    last = [fastest(sizes, rng) for sizes in product_sizes(case, rest)] if rest else []
    seconds = []
    for _ in range(n_epochs):
        started = clock()
        for _ in range(n_batches):
            for a, b, out in whole:
                np.matmul(a, b, out=out)
        for a, b, out in last:
            np.matmul(a, b, out=out)
        seconds.append(clock() - started)
    return seconds


def product_sizes(case: Case, n_samples: int) -> Iterator[tuple[int, int, int]]:
    """`(m, k, n)` of each product `(m, k) @ (k, n)` of a batch; a convolution is one over all fields of the pictures.

    The first layer has no use for the gradient of its input.
    """
    first = True
    for layer, before, after in shapes(case.layers):
        if layer["type"] == "dense":
            rows, inputs, outputs = n_samples, math.prod(before), layer["units"]
        elif layer["type"] == "conv2d":
            rows, inputs, outputs = n_samples * after[0] * after[1], layer["kernel_size"] ** 2 * before[2], after[2]
        else:
            continue
        yield rows, inputs, outputs
        yield inputs, rows, outputs
        if not first:
            yield rows, outputs, inputs
        first = False


def fastest(sizes: tuple[int, int, int], rng: np.random.Generator) -> Product:
    """Operands and result of a product, each by rows or by columns in memory, whatever this BLAS multiplies fastest."""
    m, k, n = sizes
    found: tuple[float, Product] | None = None
    for a_order, b_order, out_order in itertools.product("CF", repeat=3):
        a = _filled(m, k, a_order, rng)
        b = _filled(k, n, b_order, rng)
        out = _filled(m, n, out_order, rng)
        seconds = min(_timed(a, b, out) for _ in range(TRIALS))
        if found is None or seconds < found[0]:
            found = seconds, (a, b, out)
    assert found is not None
    return found[1]


def _filled(rows: int, columns: int, order: str, rng: np.random.Generator) -> NDArray[Any]:
    """Random numbers that begin where a cache line does: some kernels are a few hundredths faster then."""
    values = rng.standard_normal(rows * columns, np.float32)
    raw = np.empty(values.nbytes + CACHE_LINE, np.uint8)
    start = -raw.ctypes.data % CACHE_LINE
    aligned = raw[start : start + values.nbytes].view(np.float32)
    aligned[...] = values
    return aligned.reshape(rows, columns) if order == "C" else aligned.reshape(columns, rows).T


def _timed(a: NDArray[Any], b: NDArray[Any], out: NDArray[Any]) -> float:
    started = time.perf_counter()
    np.matmul(a, b, out=out)
    return time.perf_counter() - started
