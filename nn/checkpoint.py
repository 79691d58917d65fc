"""A training run between two epochs as bytes: all that it takes to go on as if it had never been interrupted.

The weights and running statistics, the optimizer's and the schedule's state, the best weights so far, the generator,
and the epochs that are done, which are the position in the data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np

from nn import npz
from nn.errors import ArtifactError
from nn.fitting import Epoch, FitState
from nn.model import RunSpec
from nn.network import Network
from nn.schema import Range, parse, shown, to_json

FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class _Counter:
    """The two numbers of PCG64."""

    state: Annotated[int, Range(minimum=0, below=2**128)]
    inc: Annotated[int, Range(minimum=0, below=2**128)]


@dataclass(frozen=True, kw_only=True)
class _Generator:
    """The state of a NumPy generator as its bit generator tells it."""

    bit_generator: Literal["PCG64"]
    state: _Counter
    has_uint32: Annotated[int, Range(minimum=0, maximum=1)]
    uinteger: Annotated[int, Range(minimum=0, below=2**32)]


@dataclass(frozen=True, kw_only=True)
class _Position:
    """What a checkpoint tells beside its arrays."""

    checkpoint_version: Annotated[int, Range(minimum=1)]
    spec: RunSpec
    dataset_sha256: str
    generator: _Generator
    best_loss: float | None
    best_epoch: Annotated[int, Range(minimum=0)]
    epochs: tuple[Epoch, ...]


def dumps(run: RunSpec, dataset_sha256: str, network: Network, state: FitState, rng: np.random.Generator) -> bytes:
    """The checkpoint of a run."""
    position = _Position(
        checkpoint_version=FORMAT_VERSION,
        spec=run,
        dataset_sha256=dataset_sha256,
        generator=parse(_Generator, rng.bit_generator.state),
        best_loss=state.best_loss if np.isfinite(state.best_loss) else None,
        best_epoch=state.best_epoch,
        epochs=tuple(state.epochs),
    )
    return npz.dumps(to_json(position), _arrays(network, state))


def restore(
    data: bytes, run: RunSpec, dataset_sha256: str, network: Network, state: FitState, rng: np.random.Generator
) -> None:
    """Puts a network, a state that has just begun and a generator where the checkpoint of the same run left them.

    Raises `ArtifactError` for anything but a checkpoint of exactly this run, and then changes nothing.
    """
    with npz.opened(data, "checkpoint") as reader:
        found = reader.metadata()
        version = found.get("checkpoint_version") if isinstance(found, dict) else None
        if version != FORMAT_VERSION:
            raise ArtifactError(
                f"expected a checkpoint of version {FORMAT_VERSION}; got {str(version)[:20]}; start without"
            )
        position = parse(_Position, found)
        if to_json(position.spec) != to_json(run):
            raise ArtifactError(
                f"the checkpoint is of another run ({_difference(to_json(position.spec), to_json(run))}); "
                "resume that one, or start this one without a checkpoint"
            )
        if position.dataset_sha256 != dataset_sha256:
            raise ArtifactError("the checkpoint was made with other data; start the run without a checkpoint")
        done = [epoch.epoch for epoch in position.epochs]
        if done != list(range(1, len(done) + 1)) or not position.best_epoch <= len(done) <= run.training.epochs:
            raise ArtifactError(
                "the checkpoint tells of epochs that its run cannot have had; start the run without a checkpoint"
            )
        arrays = _arrays(network, state)
        saved = reader.arrays({name: (array.shape, array.dtype) for name, array in arrays.items()})
    rng.bit_generator.state = to_json(position.generator)
    for name, array in arrays.items():
        array[...] = saved[name]
    state.best_loss = np.inf if position.best_loss is None else position.best_loss
    state.best_epoch = position.best_epoch
    state.epochs = list(position.epochs)


def _arrays(network: Network, state: FitState) -> dict[str, Any]:
    return {
        "vector": network.vector,
        "statistics": network.statistics,
        "best.vector": state.best_vector,
        "best.statistics": state.best_statistics,
        **{f"optimizer.{name}": array for name, array in state.optimizer.items()},
        **{f"schedule.{name}": array for name, array in state.schedule.items()},
    }


def _difference(one: Any, other: Any, at: str = "#") -> str:
    """The first place where two JSON values differ, with both."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in {**one, **other}:
            if one.get(name) != other.get(name):
                return _difference(one.get(name), other.get(name), f"{at}/{name}")
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, pair in enumerate(zip(one, other, strict=True)):
            if pair[0] != pair[1]:
                return _difference(*pair, f"{at}/{index}")
    return f"{at}: {shown(one)} there, {shown(other)} here"
