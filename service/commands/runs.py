"""The run that the arguments of `train` and `jobs submit` describe, in the form that POST /jobs takes."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from nn import datasets
from service.errors import InvalidInput


def asked(options: argparse.Namespace) -> dict[str, Any]:
    """The file of `--spec`, if there is one, with what the other arguments change in it."""
    body: dict[str, Any] = read_run(options.spec) if options.spec else {}
    for name in ("dataset", "model"):
        if getattr(options, name):
            body[name] = getattr(options, name)
    if "dataset" not in body:
        raise InvalidInput(f"name a data set ({', '.join(datasets.DATASETS)}), or a file with --spec")
    if options.layers:
        body["network"] = {"layers": [_layer(text, options.initializer) for text in options.layers]}
    elif options.initializer:
        raise InvalidInput("--initializer goes with --layers")
    training = dict(body.get("training") or {})
    for name in ("epochs", "batch_size", "seed", "validation_fraction"):
        if getattr(options, name) is not None:
            training[name] = getattr(options, name)
    if options.patience is not None:
        training["early_stopping"] = {"patience": options.patience}
    if options.no_early_stopping:
        training["early_stopping"] = None
    given = {name: getattr(options, name) for name in ("learning_rate", "momentum", "nesterov")}
    given["type"] = options.optimizer
    changed = {name: value for name, value in given.items() if value is not None}
    if changed:
        training["optimizer"] = {**(training.get("optimizer") or {}), **changed}
    if training:
        body["training"] = training
    return body


def read_run(path: Path) -> dict[str, Any]:
    """The run in a JSON file. Raises `InvalidInput` where that is not an object."""
    try:
        body = json.loads(path.read_text())
    except ValueError as error:
        raise InvalidInput(f"{path} is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise InvalidInput(f"{path}: expected an object as POST /jobs takes it")
    return body


def _layer(text: str, initializer: str | None) -> dict[str, Any]:
    if not text.lstrip("-").isdigit():
        return {"type": text}
    return {"type": "dense", "units": int(text)} | ({"initializer": initializer} if initializer else {})
