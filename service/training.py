"""The body of a training process: reads a run from standard input, trains, and writes what happens to standard output.

The parent writes one line, the run as JSON, and holds the pipe open: when it closes, because the parent wants no more
or is dead, this process leaves at once. What goes back are JSON lines, each with a `type`; behind the line
`{"type": "artifact", "size": n}` follow the `n` bytes of the artifact.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from typing import BinaryIO

from nn import DivergedError, Epoch, dumps, train
from nn.fitting import steps_per_epoch
from nn.model import RunSpec
from nn.schema import parse

PROGRESS_SECONDS = 0.5
NICENESS = 10


class Reporter:
    """Turns what `nn.train` tells into messages: an `epoch` each, and `progress` twice a second."""

    def __init__(self, run: RunSpec, out: BinaryIO) -> None:
        self._run = run
        self._out = out
        self._steps_per_epoch = 1
        self._reported = 0.0
        self._last: Epoch | None = None
        self._seconds = 0.0

    def send(self, kind: str, **fields: object) -> None:
        self._out.write(json.dumps({"type": kind, **fields}, allow_nan=False).encode() + b"\n")
        self._out.flush()

    def start(self, n_samples: int) -> None:
        self._steps_per_epoch = steps_per_epoch(n_samples, self._run.training)

    def epoch(self, epoch: Epoch) -> None:
        self._last = epoch
        self._seconds += epoch.seconds
        self.send("epoch", row=epoch.row())
        self._progress(epoch.epoch * self._steps_per_epoch)

    def step(self, step: int) -> bool:
        """Is asked before every batch whether to stop: never, but it is the moment to tell how far the run is."""
        if time.monotonic() - self._reported >= PROGRESS_SECONDS:
            self._progress(step)
        return False

    def _progress(self, step: int) -> None:
        self._reported = time.monotonic()
        done = self._last
        epochs = self._run.training.epochs
        progress: dict[str, object] = {
            "percent": round(100 * step / (epochs * self._steps_per_epoch), 1),
            "epoch": done.epoch if done else 0,
            "epochs": epochs,
            "step": step,
            "loss": None,
        }
        if done is not None:
            row = done.row()
            told = {name: value for name, value in row.items() if name not in ("learning_rate", "seconds")}
            progress |= told | {"seconds_per_epoch": round(self._seconds / done.epoch, 4)}
        self.send("progress", progress=progress)


def main() -> None:
    os.nice(NICENESS)
    # Whatever prints, prints to the log: the pipe is for messages alone.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    run = parse(RunSpec, json.loads(sys.stdin.buffer.readline()))
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    reporter = Reporter(run, out)
    try:
        model, result = train(run, on_start=reporter.start, on_epoch=reporter.epoch, should_stop=reporter.step)
    except DivergedError as error:
        reporter.send("error", code="diverged", message=str(error), epoch=error.epoch)
        return
    except MemoryError:
        reporter.send("error", code="out_of_memory", message="the training process could not get the memory it needs")
        return
    data = dumps(model)
    reporter.send("artifact", size=len(data), metrics=model.metadata.metrics, best_epoch=result.best_epoch)
    out.write(data)
    out.flush()


def _leave_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
