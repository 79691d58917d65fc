"""Trains the versions that ship, `models/<name>/1/`, again from their seeds: `make pretrained`."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import nn
from nn.datasets import DATASETS
from nn.network import takes_pictures
from service.resources import training_threads

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples"
VERSION = "1"
# A data set trains with its own defaults, which a minute is enough for; these took more.
RUNS = {"mnist": "mnist-shipped.json"}


def main(names: list[str]) -> None:
    for name in names or DATASETS:
        asked: dict[str, Any] = json.loads((EXAMPLES / RUNS[name]).read_text()) if name in RUNS else {}
        run = nn.complete(name, asked.get("network"), asked.get("training"))
        model, _ = nn.train(run, threads=training_threads(takes_pictures(run.network), None))
        data = nn.dumps(model)
        place = HERE / name / VERSION
        place.mkdir(parents=True, exist_ok=True)
        for earlier in place.glob("*.npz"):
            earlier.unlink()
        (place / f"{hashlib.sha256(data).hexdigest()}.npz").write_bytes(data)
        figures = ", ".join(f"{metric} {value:.4f}" for metric, value in model.metadata.metrics.items())
        sys.stdout.write(f"{name}: {figures}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
