"""`trainserve models export`, `download` and `import`: versions to files and back; what is converted is converted here.

The server keeps and gives `.npz` alone, and needs none of the libraries of other formats.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import nn
from nn import weights
from nn.schema import parse
from service.client import Client
from service.commands.runs import read_run
from service.domain import check_name
from service.errors import InvalidInput
from service.exports.source import Source
from service.jobs import JobRequest

JSON = dict[str, Any]


def give_out(client: Client, name: str, number: int, kind: str, output: Path | None) -> JSON:
    """Writes a version of the running server to a file."""
    data = client.artifact(name, number)
    if kind != "npz":
        data = _converted(data, name, number, kind)
    path = output or Path(f"{name}-{number}.{kind}")
    path.write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    return {"model": name, "version": number, "output": str(path), "size": len(data), "sha256": sha256}


def _converted(artifact: bytes, name: str, number: int, kind: str) -> bytes:
    model = nn.loads(artifact)
    source = Source(model=name, version=number, sha256=hashlib.sha256(artifact).hexdigest())
    if kind == "onnx":
        from service.exports import onnx

        return onnx.dumps(model, source)
    from service.exports import safetensors

    return safetensors.dumps(model, source)


def take_in(client: Client, options: argparse.Namespace) -> JSON:
    """Makes a version of weights and the description of a run; publishes it, or writes it to `options.output`."""
    from service.exports import safetensors

    check_name(options.name)
    found = safetensors.loads(options.weights.read_bytes())
    body = read_run(options.spec) if options.spec else found.spec
    if body is None:
        raise InvalidInput(
            f"{options.weights} does not say which network its weights belong to: "
            "give the run with --spec, in the form that POST /jobs takes it"
        )
    request = parse(JobRequest, body)
    # Nothing is trained, so that it does not matter how much memory that would take.
    described = nn.complete(request.dataset, request.network, request.training, sys.maxsize)
    model = weights.with_weights(described, found.arrays)
    # The one trace that this version was not trained as its description says.
    versions = model.metadata.library_versions | {"safetensors": safetensors.VERSION}
    data = nn.dumps(replace(model, metadata=replace(model.metadata, library_versions=versions)))
    told: JSON = {"model": options.name, "metrics": model.metadata.metrics}
    if options.output:
        options.output.write_bytes(data)
        return told | {"output": str(options.output), "sha256": hashlib.sha256(data).hexdigest()}
    version = client.upload(options.name, data)
    return told | {"version": version["version"], "sha256": version["sha256"]}
