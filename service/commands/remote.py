"""`trainserve predict`, `jobs` and `models`: through the client, against a running server."""

from __future__ import annotations

import argparse
import mimetypes
from pathlib import Path
from typing import Any

from service.client import Client
from service.commands import exchange, show
from service.commands.runs import asked
from service.domain import ModelReference
from service.errors import InvalidInput
from service.settings import Settings

JSON = dict[str, Any]


def _client(options: argparse.Namespace, settings: Settings) -> Client:
    return Client(options.server or settings.server_url)


def predict(options: argparse.Namespace, settings: Settings) -> int:
    given = [bool(options.pictures), options.inputs is not None, options.records is not None]
    if sum(given) != 1:
        raise InvalidInput("give picture files, or --inputs, or --records")
    with _client(options, settings) as client:
        if options.pictures:
            answers = [(str(path), _predict_picture(client, path, options)) for path in options.pictures]
        else:
            answer = client.predict(
                options.inputs, records=options.records, model=options.model, explain=options.explain
            )
            answers = [("", answer)]
    if options.json or options.explain:
        show.as_json([answer for _, answer in answers] if len(answers) > 1 else answers[0][1])
        return 0
    rows = []
    for source, answer in answers:
        for index, told in enumerate(answer["predictions"]):
            value = told.get("label", told.get("value"))
            sure = f"{told['probability']:.4f}" if "probability" in told else None
            rows.append((source or index, value, sure, f"{answer['model']}@{answer['version']}"))
    show.table(("input", "answer", "probability", "model"), rows)
    return 0


def _predict_picture(client: Client, path: Path, options: argparse.Namespace) -> JSON:
    kind = mimetypes.guess_type(path.name)[0] or "image/png"
    return client.predict_picture(path.read_bytes(), content_type=kind, model=options.model, explain=options.explain)


def jobs(options: argparse.Namespace, settings: Settings) -> int:
    with _client(options, settings) as client:
        match options.action:
            case None | "list":
                found = client.jobs(status=options.status)
                return _answer(options, found, lambda: _list_jobs(found["data"]))
            case "submit":
                body = asked(options)
                allowed = ("dataset", "model", "network", "training", "metadata")
                unknown = sorted(set(body) - set(allowed))
                if unknown:
                    raise InvalidInput(f"unknown field {unknown[0]!r} in the run; the fields are {', '.join(allowed)}")
                job = client.submit(body.pop("dataset"), **body)
                if options.wait:
                    return _wait(client, job["id"], options)
                return _answer(options, job, lambda: _show_job(job))
            case "wait":
                return _wait(client, options.id, options)
            case "history":
                rows = client.history(options.id)
                table = show.EpochTable()
                return _answer(options, rows, lambda: table.extend(rows))
            case "delete":
                client.delete(options.id)
                return 0
            case action:
                job = client.cancel(options.id) if action == "cancel" else client.job(options.id)
                return _answer(options, job, lambda: _show_job(job))


def models(options: argparse.Namespace, settings: Settings) -> int:
    with _client(options, settings) as client:
        match options.action:
            case None | "list":
                found = client.models()
                return _answer(options, found, lambda: _list_models(found))
            case "show" if "@" in options.name:
                one = client.version(*_resolve(client, options.name))
                return _answer(options, one, lambda: _show_version(one))
            case "show":
                model = client.model(options.name)
                return _answer(options, model, lambda: _list_models([model]))
            case "alias":
                version = client.set_alias(options.name, options.alias, options.version)
            case "upload":
                version = client.upload(options.name, options.file.read_bytes())
            case "import":
                imported = exchange.take_in(client, options)
                return _answer(options, imported, lambda: _show_imported(imported))
            case action:
                name, number = _resolve(client, options.name)
                kind = options.format if action == "export" else "npz"
                written = exchange.give_out(client, name, number, kind, options.output)
                text = f"{name}@{number} written to {written['output']}"
                return _answer(options, written, lambda: show.out.print(text))
    text = f"{version['name']}@{version['version']}  {', '.join(version['aliases'])}"
    return _answer(options, version, lambda: show.out.print(text))


def _resolve(client: Client, text: str) -> tuple[str, int]:
    """The name and the number of the version that `name`, `name@version` or `name@alias` means now."""
    reference = ModelReference.parse(text)
    if reference.version is not None:
        return reference.name, reference.version
    aliases = client.model(reference.name)["aliases"]
    if reference.alias not in aliases:
        raise InvalidInput(f"{reference.name} has no alias {reference.alias}; it has {', '.join(aliases)}")
    return reference.name, aliases[reference.alias]


def _answer(options: argparse.Namespace, value: object, tell: Any) -> int:
    if options.json:
        show.as_json(value)
    else:
        tell()
    return 0


def _wait(client: Client, job_id: str, options: argparse.Namespace) -> int:
    with show.progress_bar() as bar:
        task = bar.add_task(job_id[:8], total=100, told="")

        def look(job: JSON) -> None:
            loss = job["progress"].get("loss")
            told = job["status"] if loss is None else f"loss {loss:.4f}"
            bar.update(task, completed=job["progress"]["percent"], told=told)

        try:
            job = client.wait(job_id, on_progress=look)
        except KeyboardInterrupt:
            show.notes.print(f"job {job_id} goes on; trainserve jobs wait {job_id}, or cancel {job_id}")
            raise
    _answer(options, job, lambda: _show_job(job))
    return 0 if job["status"] == "succeeded" else 1


def _show_job(job: JSON) -> None:
    progress = job["progress"]
    rows: list[tuple[str, object]] = [(name, job[name]) for name in ("id", "status", "dataset", "model", "created_at")]
    rows.append(("progress", f"{progress['percent']:.0f} %, epoch {progress['epoch']} of {progress['epochs']}"))
    rows += [(name, f"{progress[name]:.4f}") for name in ("loss", "validation_loss") if progress.get(name) is not None]
    if job["error"]:
        rows.append(("error", f"{job['error']['code']}: {job['error']['message']}"))
    if job["result"]:
        rows.append(("version", f"{job['result']['model']}@{job['result']['version']}"))
        rows += [(name, f"{value:.4f}") for name, value in job["result"]["metrics"].items()]
    show.table(("field", "value"), rows)


def _list_jobs(found: list[JSON]) -> None:
    rows = [
        (job["id"], job["status"], job["model"], f"{job['progress']['percent']:.0f} %", _loss(job), job["created_at"])
        for job in found
    ]
    show.table(("id", "status", "model", "progress", "loss", "created"), rows)


def _loss(job: JSON) -> str | None:
    loss = job["progress"].get("loss")
    return None if loss is None else f"{loss:.4f}"


def _list_models(found: list[JSON]) -> None:
    rows = []
    for model in found:
        for version in model["versions"]:
            told = [f"{name} {value:.4f}" for name, value in version["metrics"].items() if name.startswith("test_")]
            place = f"{model['name']}@{version['version']}"
            rows.append((place, ", ".join(version["aliases"]), ", ".join(told), version["created_at"]))
    show.table(("version", "aliases", "on the test set", "created"), rows)


def _show_version(version: JSON) -> None:
    rows: list[tuple[str, object]] = [
        ("version", f"{version['name']}@{version['version']}"),
        ("aliases", ", ".join(version["aliases"])),
        *((name, version[name]) for name in ("created_at", "task", "dataset", "seed", "sha256", "size")),
        *((name, f"{value:.4f}") for name, value in version["metrics"].items()),
    ]
    show.table(("field", "value"), rows)
    show.out.print()
    _show_summary(version["summary"])


def _show_summary(summary: JSON) -> None:
    counted = ("parameters", "multiply_adds", "array_bytes", "activation_bytes")
    rows: list[tuple[object, ...]] = [("", "input", _shape(summary["input_shape"]), *[None] * len(counted))]
    rows += [
        (layer["index"], layer["type"], _shape(layer["output_shape"]), *(f"{layer[name]:,}" for name in counted))
        for layer in summary["layers"]
    ]
    rows.append(("", "total", None, *(f"{summary[name]:,}" for name in counted)))
    titles = tuple(name.replace("_", " ") for name in counted)
    show.table(("layer", "type", "output", *titles), rows, right=titles)


def _shape(sides: list[int]) -> str:
    return " × ".join(map(str, sides))


def _show_imported(told: JSON) -> None:
    show.table(("metric", "value"), [(name, f"{value:.4f}") for name, value in told["metrics"].items()])
    if "output" in told:
        show.out.print(f"written to {told['output']}")
    else:
        show.out.print(f"published as {told['model']}@{told['version']}")
