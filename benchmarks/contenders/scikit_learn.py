"""scikit-learn's `MLPClassifier`, on pictures that are floats from the start."""

from __future__ import annotations

import contextlib
import io
import itertools
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from benchmarks.cases import Case, Clock
from benchmarks.digits import Digits


class Times(io.TextIOBase):
    """Notes when each line about an epoch is printed.

    `verbose` prints one at the end of every epoch of one call of `fit`: its seconds are then those of a user, without
    the checks and the copies at the start of `fit`, and without the noise of a difference of two calls.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.marks = [clock()]

    def write(self, text: str) -> int:
        if text.startswith("Iteration"):
            self.marks.append(self.clock())
        return len(text)


def epochs(case: Case, digits: Digits, threads: int, n_epochs: int, clock: Clock) -> list[float]:
    """The first epoch holds the checks and copies of `fit` too; it is the one that does not count."""
    if case.is_convolutional:
        raise ValueError(f"scikit-learn has no convolutions; case {case.name} is one")
    inputs = digits.pictures.astype(np.float32)
    inputs *= 1 / 255
    inputs -= 0.5
    network = MLPClassifier(
        hidden_layer_sizes=[layer["units"] for layer in case.layers[:-1] if layer["type"] == "dense"],
        solver=case.optimizer["type"],
        learning_rate_init=case.optimizer["learning_rate"],
        momentum=0.0,
        alpha=0.0,
        batch_size=case.batch_size,
        max_iter=n_epochs,
        n_iter_no_change=n_epochs,
        random_state=1,
        verbose=True,
    )
    times = Times(clock)
    with warnings.catch_warnings(), contextlib.redirect_stdout(times):
        warnings.simplefilter("ignore", ConvergenceWarning)
        network.fit(inputs, digits.labels)
    return [after - before for before, after in itertools.pairwise(times.marks)]
