"""The `trainserve` command."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from service import resources

EXAMPLES = {
    "trainserve": """examples:
  trainserve serve                             serve on http://127.0.0.1:8000
  trainserve train mnist                       train here; the next version of the model mnist
  trainserve evaluate mnist@2                  its figures on the test set
  trainserve predict seven.png                 ask the running server what is on a picture
  trainserve jobs submit mnist --wait          let the running server train
  trainserve models                            what the running server has
""",
    "serve": """examples:
  trainserve serve
  trainserve serve --host 0.0.0.0 --port 9000
  TRAINSERVE_SLOTS=2 trainserve serve          two jobs at once; the README lists every setting
""",
    "train": """examples:
  trainserve train mnist
  trainserve train mnist --layers 64 relu 10 --initializer standard_normal --epochs 10 \\
                   --batch-size 16 --learning-rate 0.08 --validation-fraction 0
  trainserve train heart --seed 7 --output heart.npz
  trainserve train toy-regression --plot fit.png
  trainserve train --spec examples/mnist-plateau.json --json
  trainserve train mnist --checkpoint mnist.ckpt.npz        interrupted? the same command goes on from there
""",
    "evaluate": """examples:
  trainserve evaluate mnist                    the latest version in the repository
  trainserve evaluate mnist@2 --json
  trainserve evaluate digits.npz               a file
""",
    "predict": """examples:
  trainserve predict seven.png
  trainserve predict --model toy-regression --inputs '[[0.35], [0.7]]'
  trainserve predict --model heart --records '[{"age": 63, "sex": "male", …}]' --explain
""",
    "jobs": """examples:
  trainserve jobs                              the newest jobs
  trainserve jobs submit mnist --epochs 3 --wait
  trainserve jobs submit --spec examples/heart.json
  trainserve jobs show ID
  trainserve jobs cancel ID
""",
    "models": """examples:
  trainserve models                            models, versions, aliases
  trainserve models show mnist
  trainserve models show mnist@2               that version, layer by layer
  trainserve models alias mnist champion 2     point mnist@champion at version 2
  trainserve models download mnist@2 --output digits.npz
  trainserve models upload mnist digits.npz
  trainserve models export mnist@2 --format onnx
  trainserve models export mnist@2 --format safetensors --output digits.safetensors
  trainserve models import mnist --weights digits.safetensors --spec run.json
""",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command; ends the process with 0, 1 where it failed, or 2 where it was called wrongly."""
    options = build_parser().parse_args(arguments)
    # BLAS reads this when NumPy is imported, as the commands do. Where more than one thread is of use, they say so.
    for name, value in resources.thread_limits(1).items():
        os.environ.setdefault(name, value)
    from service import commands

    sys.exit(commands.run(options))


def build_parser() -> argparse.ArgumentParser:
    parser = _parser(argparse.ArgumentParser, "trainserve", "Train neural networks and serve them.", prog="trainserve")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, summary: str) -> argparse.ArgumentParser:
        return _parser(subparsers.add_parser, name, summary, name=name, help=summary)

    serve = add("serve", "serve predictions and run training jobs")
    serve.add_argument("--host", help="address to listen on (TRAINSERVE_HOST)")
    serve.add_argument("--port", type=int, help="port to listen on (TRAINSERVE_PORT)")

    train = add("train", "train a network here and now, and publish it as a version")
    _add_run(train)
    train.add_argument("--output", type=Path, metavar="FILE", help="write the .npz there and publish nothing")
    train.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="keep there what it takes to go on after an interruption, and go on from there where the file exists",
    )
    train.add_argument(
        "--plot",
        type=Path,
        nargs="?",
        const=Path("training.png"),
        metavar="FILE",
        help="draw the loss history, and of a regression data and prediction (default: training.png)",
    )

    evaluate = add("evaluate", "test a model on the test split of its data set")
    evaluate.add_argument("model", help="NAME, NAME@VERSION, NAME@ALIAS, or an .npz file")

    predict = add("predict", "ask a running server for predictions")
    predict.add_argument("pictures", nargs="*", type=Path, help="picture files")
    predict.add_argument("--model", help="NAME, NAME@VERSION or NAME@ALIAS")
    predict.add_argument("--inputs", type=_json, help="rows of numbers, as JSON")
    predict.add_argument("--records", type=_json, help="table rows, as JSON")
    predict.add_argument("--explain", action="store_true", help="tell what the model saw")

    _add_jobs(add("jobs", "submit, list, follow and cancel a server's jobs"))
    _add_models(add("models", "list, move, copy a server's models"))

    for name in ("train", "evaluate", "predict", "jobs", "models"):
        _add_output(subparsers.choices[name], default=None, remote=name in ("predict", "jobs", "models"))
    return parser


def _add_output(parser: argparse.ArgumentParser, default: object, *, remote: bool) -> None:
    """The options that stand anywhere behind a command, also behind the action of a command."""
    parser.add_argument("--json", action="store_true", default=default, help="print JSON, for scripts")
    if remote:
        parser.add_argument("--server", metavar="URL", default=default, help="the running server (TRAINSERVE_SERVER)")
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                # An option that the action's own parser does not see keeps what stood before the action.
                _add_output(sub, default=argparse.SUPPRESS, remote=remote)


def _parser(make: Any, key: str, summary: str, **options: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = make(
        description=summary, epilog=EXAMPLES[key], formatter_class=argparse.RawDescriptionHelpFormatter, **options
    )
    return parser


def _json(text: str) -> object:
    try:
        value = json.loads(text)
        json.dumps(value, allow_nan=False)  # Python reads NaN and 1e400, which are no JSON
        return value
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from None


def _add_run(parser: argparse.ArgumentParser) -> None:
    """The arguments that describe a run: a file as POST /jobs takes it, and what is to be different."""
    parser.add_argument("dataset", nargs="?", help="name of a data set")
    parser.add_argument("--spec", type=Path, metavar="FILE", help="the run as JSON, as POST /jobs takes it")
    parser.add_argument("--model", help="name of the model (default: the data set's)")
    parser.add_argument(
        "--layers", nargs="+", metavar="LAYER", help="units of a dense layer, or an activation: 64 relu 10"
    )
    parser.add_argument("--initializer", help="of the dense layers in --layers")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--validation-fraction", type=float)
    parser.add_argument("--patience", type=int, help="stop after so many epochs without a lower validation loss")
    parser.add_argument("--no-early-stopping", action="store_true")
    parser.add_argument("--optimizer", metavar="NAME", help="sgd, adam, …; with its own defaults, not the data set's")
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--momentum", type=float)
    parser.add_argument("--nesterov", action="store_true", default=None)


def _add_jobs(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    listing = actions.add_parser("list", help="the newest jobs")
    parser.set_defaults(status=None)
    listing.add_argument("--status", help="only those with this status")
    submit = actions.add_parser("submit", help="start a job")
    _add_run(submit)
    submit.add_argument("--wait", action="store_true", help="show its progress until it has ended")
    for action, summary in (
        ("show", "one job"),
        ("history", "its loss by epoch"),
        ("wait", "show its progress until it has ended"),
        ("cancel", "end it"),
        ("delete", "take an ended job away"),
    ):
        actions.add_parser(action, help=summary).add_argument("id")


def _add_models(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    actions.add_parser("list", help="models, versions, aliases")
    shown = actions.add_parser("show", help="one model, or one version with a summary of its network")
    shown.add_argument("name", help="NAME, NAME@VERSION or NAME@ALIAS")
    alias = actions.add_parser("alias", help="point an alias at a version")
    alias.add_argument("name")
    alias.add_argument("alias")
    alias.add_argument("version", type=int)
    download = actions.add_parser("download", help="save the .npz of a version")
    download.add_argument("name", help="NAME, NAME@VERSION or NAME@ALIAS")
    download.add_argument("--output", type=Path, metavar="FILE")
    upload = actions.add_parser("upload", help="publish an .npz as the next version")
    upload.add_argument("name")
    upload.add_argument("file", type=Path)
    export = actions.add_parser("export", help="save a version in a format that others read")
    export.add_argument("name", help="NAME, NAME@VERSION or NAME@ALIAS")
    export.add_argument("--format", required=True, choices=("onnx", "safetensors", "npz"))
    export.add_argument("--output", type=Path, metavar="FILE", help="default: NAME-VERSION.FORMAT")
    imported = actions.add_parser("import", help="publish weights from a safetensors file as the next version")
    imported.add_argument("name")
    imported.add_argument("--weights", type=Path, required=True, metavar="FILE", help="a safetensors file")
    imported.add_argument(
        "--spec",
        type=Path,
        metavar="FILE",
        help="the run as JSON, as POST /jobs takes it (default: what an export wrote into the file of the weights)",
    )
    imported.add_argument("--output", type=Path, metavar="FILE", help="write the .npz there and publish nothing")


if __name__ == "__main__":
    main()
