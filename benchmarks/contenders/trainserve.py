"""The product: `nn` as its users run it, over a data set of their own."""

from __future__ import annotations

import itertools
from dataclasses import replace

import nn
from benchmarks.cases import Case, Clock
from benchmarks.digits import Digits
from nn.datasets import DATASETS


def epochs(case: Case, digits: Digits, threads: int, n_epochs: int, clock: Clock) -> list[float]:
    """From the bytes of the data set to new weights, the epoch's loss and its accuracy; nothing is validated.

    The time is taken where `nn.train` reports an epoch. Before the first, it also builds the network.
    """
    name = "benchmark"
    DATASETS[name] = replace(
        DATASETS["mnist"], name=name, load=lambda: digits.table, n_samples=len(digits.table.inputs), n_test=1
    )
    run = nn.complete(
        name,
        network={"layers": list(case.layers)},
        training={
            "epochs": n_epochs,
            "batch_size": case.batch_size,
            "validation_fraction": 0,
            "optimizer": case.optimizer,
        },
    )
    times = [clock()]
    nn.train(run, threads=threads, on_epoch=lambda _: times.append(clock()))
    return [after - before for before, after in itertools.pairwise(times)]
