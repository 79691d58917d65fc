"""The body of a training process: reads a run from standard input, trains, and writes what happens to standard output.

Its argument, if there is one, is the number of threads. The parent writes one line, the run as JSON, and holds the pipe
open: when it closes, because the parent wants no more or is dead, this process leaves at once. What goes back are JSON
lines, each with a `type`; behind the line `{"type": "artifact", "size": n}` follow the `n` bytes of the artifact.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from typing import BinaryIO

from nn import DivergedError, Epoch, dumps, train
from nn.fitting import steps_per_epoch
from nn.model import RunSpec
from nn.network import takes_pictures
from nn.schema import parse
from service.resources import training_threads

REPORT_SECONDS = 0.25
MAX_ROWS = 500
NICENESS = 10


class Reporter:
    """Turns what `nn.train` tells into messages: `epochs`, the rows of those that ended meanwhile, and `progress`.

    Small networks do thousands of epochs a second; whatever their number, a few messages a second go out.
    """

    def __init__(self, run: RunSpec, out: BinaryIO) -> None:
        self._run = run
        self._out = out
        self._steps_per_epoch = 1
        self._reported = 0.0
        self._rows: list[dict[str, float]] = []
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
        self._rows.append(epoch.row())
        if len(self._rows) >= MAX_ROWS or time.monotonic() - self._reported >= REPORT_SECONDS:
            self.report(epoch.epoch * self._steps_per_epoch)

    def step(self, step: int) -> bool:
        """Is asked every few batches whether to stop: never, but it is the moment to tell how far the run is."""
        if time.monotonic() - self._reported >= REPORT_SECONDS:
            self.report(step)
        return False

    def report(self, step: int) -> None:
        """Tells the epochs that have ended since the last time, and the progress."""
        self._reported = time.monotonic()
        if self._rows:
            self.send("epochs", rows=self._rows)
            self._rows = []
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
            progress |= told | {"seconds_per_epoch": self._seconds / done.epoch}
        self.send("progress", progress=progress)

    def finish(self) -> None:
        """Tells the epochs that nobody has heard of yet."""
        if self._last is not None:
            self.report(self._last.epoch * self._steps_per_epoch)


def main() -> None:
    os.nice(NICENESS)
    # Whatever prints, prints to the log: the pipe is for messages alone.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    run = parse(RunSpec, json.loads(sys.stdin.buffer.readline()))
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    reporter = Reporter(run, out)
    threads = training_threads(takes_pictures(run.network), int(sys.argv[1]) if len(sys.argv) > 1 else None)
    try:
        model, result = train(
            run, threads=threads, on_start=reporter.start, on_epoch=reporter.epoch, should_stop=reporter.step
        )
        data = dumps(model)
    except DivergedError as error:
        reporter.finish()
        reporter.send("error", code="diverged", message=str(error), epoch=error.epoch)
    except MemoryError:
        reporter.send("error", code="out_of_memory", message="the training process could not get the memory it needs")
    except Exception:
        told = "training met an error of its own; the log of the service has the details"
        reporter.send("error", code="internal", message=told, traceback=traceback.format_exc())
    else:
        reporter.finish()
        reporter.send("artifact", size=len(data), metrics=model.metadata.metrics, best_epoch=result.best_epoch)
        out.write(data)
        out.flush()


def _leave_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
