"""PyTorch as its tutorials write it: a `DataLoader` over floats, the optimizer's defaults, loss and hits summed up."""

from __future__ import annotations

import torch
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.cases import Case, Clock
from benchmarks.contenders.pytorch import as_input, build
from benchmarks.digits import Digits


def epochs(case: Case, digits: Digits, threads: int, n_epochs: int, clock: Clock) -> list[float]:
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    network, optimizer = build(case)
    inputs = as_input(torch.from_numpy(digits.pictures), case)
    loader = DataLoader(TensorDataset(inputs, torch.from_numpy(digits.labels)), case.batch_size, shuffle=True)
    seconds = []
    for _ in range(n_epochs):
        started = clock()
        total, hits = torch.zeros(()), torch.zeros((), dtype=torch.int64)
        for x, targets in loader:
            logits = network(x)
            loss = functional.cross_entropy(logits, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(targets)
            hits += (logits.detach().argmax(1) == targets).sum()
        total.item()
        hits.item()
        seconds.append(clock() - started)
    return seconds
