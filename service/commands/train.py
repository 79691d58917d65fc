"""`trainserve train` and `trainserve evaluate`: in this process, without a server."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nn
from nn import run
from nn.fitting import steps_per_epoch
from nn.network import takes_pictures
from nn.schema import parse
from service import resources
from service.commands import show
from service.commands.runs import asked
from service.domain import ModelReference, check_name
from service.errors import InvalidInput
from service.jobs import JobRequest
from service.settings import Settings

CHECKPOINT_SECONDS = 1.0  # an epoch of a small network takes less time than it takes to write a file


def train(options: argparse.Namespace, settings: Settings) -> int:
    request = parse(JobRequest, asked(options))
    described = nn.complete(request.dataset, request.network, request.training, settings.max_training_memory)
    name = described.dataset if request.model is None else request.model
    check_name(name)
    # Before the training, which is lost where its result cannot be kept.
    for path in (options.output, options.plot, options.checkpoint):
        if path and (not path.parent.is_dir() or path.is_dir()):
            raise InvalidInput(f"{path} cannot be written: expected the name of a file in a directory that is there")
    if options.checkpoint and options.checkpoint in (options.output, options.plot):
        raise InvalidInput("--checkpoint names the file of another option; the result would overwrite it")
    if options.plot:
        from service.commands import plots

        plots.check(options.plot)
    model, result = _fit(described, settings, options.checkpoint, quiet=bool(options.json))
    data = nn.dumps(model)
    told: dict[str, Any] = {
        "model": name,
        "metrics": model.metadata.metrics,
        "best_epoch": result.best_epoch,
        "epochs": [epoch.row() for epoch in result.epochs],
    }
    if options.output:
        options.output.write_bytes(data)
        told["output"] = str(options.output)
    else:
        told |= _publish(settings, name, data)
    if options.plot:
        plots.draw(model, result, options.plot)
        told["plot"] = str(options.plot)
    if options.json:
        show.as_json(told)
    else:
        _tell(told)
    return 0


def evaluate(options: argparse.Namespace, settings: Settings) -> int:
    metrics = run.test(nn.loads(_artifact(options.model, settings)))
    if options.json:
        show.as_json({"model": options.model, "metrics": metrics})
    else:
        show.table(("metric", "value"), [(name, f"{value:.4f}") for name, value in metrics.items()])
    return 0


def _fit(
    described: nn.RunSpec, settings: Settings, checkpoint: Path | None, *, quiet: bool
) -> tuple[nn.Model, nn.FitResult]:
    table = show.EpochTable()
    resume = checkpoint.read_bytes() if checkpoint is not None and checkpoint.is_file() else None
    kept = time.monotonic()
    with show.progress_bar() as bar:
        task = bar.add_task(described.dataset, total=None, told="")

        def start(n_samples: int) -> None:
            bar.update(task, total=described.training.epochs * steps_per_epoch(n_samples, described.training))

        def epoch(done: nn.Epoch) -> None:
            bar.update(task, told=f"loss {done.training['loss']:.4f}")
            if not quiet:
                table.add(done.row())

        def step(number: int) -> bool:
            bar.update(task, completed=number)
            return False

        def keep(make: Callable[[], bytes]) -> None:
            nonlocal kept
            if checkpoint is not None and time.monotonic() - kept >= CHECKPOINT_SECONDS:
                _replace(checkpoint, make())
                kept = time.monotonic()

        return nn.train(
            described,
            threads=resources.training_threads(takes_pictures(described.network), settings.training_threads),
            resume=resume,
            on_start=start,
            on_epoch=epoch,
            on_checkpoint=keep,
            should_stop=step,
        )


def _replace(path: Path, data: bytes) -> None:
    """Writes a file so that a crash leaves the old one or the new one, whole."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def _publish(settings: Settings, name: str, data: bytes) -> dict[str, Any]:
    from service.repository import open_repository

    database, _, registry = open_repository(settings)
    try:
        version = registry.publish(name, data)
    finally:
        database.close()
    return {"version": version.version, "sha256": version.sha256}


def _artifact(model: str, settings: Settings) -> bytes:
    if model.endswith(".npz") or Path(model).is_file():
        if not Path(model).is_file():
            raise InvalidInput(f"there is no file {model}")
        return Path(model).read_bytes()
    from service.repository import open_repository

    database, _, registry = open_repository(settings)
    try:
        return registry.artifact(registry.resolve(ModelReference.parse(model)))
    finally:
        database.close()


def _tell(told: dict[str, Any]) -> None:
    show.out.print()
    for name, value in told["metrics"].items():
        show.out.print(f"{name:<20} {value:.4f}")
    show.out.print(f"{'best epoch':<20} {told['best_epoch']}")
    if "output" in told:
        show.out.print(f"written to {told['output']}")
    else:
        show.out.print(f"published as {told['model']}@{told['version']}")
    if "plot" in told:
        show.out.print(f"drawn in {told['plot']}")
