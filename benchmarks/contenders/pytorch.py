"""PyTorch, eager: the peer to be measured against.

The data set is one tensor of bytes that batches are taken out of; the logits of an epoch are kept, and loss and
accuracy taken of them once, so that no step waits for a number. Optimizer and memory layout are those that one gets
unasked.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from benchmarks.cases import N_CLASSES, PICTURE, Case, Clock, shapes
from benchmarks.digits import Digits


def epochs(
    case: Case, digits: Digits, threads: int, n_epochs: int, clock: Clock, *, tuned: bool = False
) -> list[float]:
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    network, optimizer = build(case, tuned=tuned)
    pictures, labels = torch.from_numpy(digits.pictures), torch.from_numpy(digits.labels)
    seen = torch.empty(len(labels), N_CLASSES)
    seconds = []
    for _ in range(n_epochs):
        started = clock()
        order = torch.randperm(len(labels))
        targets = labels[order]
        start = 0
        for rows, wanted in zip(order.split(case.batch_size), targets.split(case.batch_size), strict=True):
            x = as_input(pictures.index_select(0, rows), case, tuned=tuned)
            logits = network(x)
            loss = functional.cross_entropy(logits, wanted)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            seen[start : start + len(rows)] = logits.detach()
            start += len(rows)
        functional.cross_entropy(seen, targets).item()
        (seen.argmax(1) == targets).float().mean().item()
        seconds.append(clock() - started)
    return seconds


def build(case: Case, *, tuned: bool = False) -> tuple[torch.nn.Sequential, torch.optim.Optimizer]:
    """The network of a case and its optimizer; `tuned`: channels last, and the fused optimizer."""
    modules: list[torch.nn.Module] = []
    for layer, before, after in shapes(case.layers):
        match layer["type"]:
            case "dense":
                modules.append(torch.nn.Linear(math.prod(before), after[0]))
            case "conv2d":
                modules.append(torch.nn.Conv2d(before[2], after[2], layer["kernel_size"]))
            case "max_pool2d":
                modules.append(torch.nn.MaxPool2d(layer["pool_size"]))
            case "flatten":
                modules.append(torch.nn.Flatten())
            case "relu":
                modules.append(torch.nn.ReLU())
            case other:
                raise ValueError(f"expected a layer that the cases have; got {other}")
    network = torch.nn.Sequential(*modules)
    if tuned and case.is_convolutional:
        network = network.to(memory_format=torch.channels_last)
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[case.optimizer["type"]]
    return network, kind(network.parameters(), lr=case.optimizer["learning_rate"], fused=tuned or None)


def as_input(pictures: torch.Tensor, case: Case, *, tuned: bool = False) -> torch.Tensor:
    """Bytes `(n_samples, 784)` as what the network takes, from -0.5 to 0.5."""
    x = pictures.to(torch.float32).mul_(1 / 255).sub_(0.5)
    if not case.is_convolutional:
        return x
    height, width, channels = PICTURE
    x = x.view(-1, channels, height, width)
    return x.contiguous(memory_format=torch.channels_last) if tuned else x
