"""One measurement, in a process of its own: `python -m benchmarks.measurement A nn --threads 1` prints it as JSON.

The process is the contender's alone: BLAS has the threads that it is to have, and the memory is this run's.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import sys
import time

from benchmarks import machine
from benchmarks.cases import CASES, CLOCKS, CONTENDERS, N_PICTURES, Case

# Whatever BLAS this is, one of these tells it; each reads its own once, when it is loaded.
THREAD_VARIABLES = (
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def blas_threads(case: Case, contender: str, threads: int) -> int:
    """Of a convolutional network `nn` trains parts of a batch in threads of its own, in which BLAS has one each."""
    return 1 if contender == "nn" and case.is_convolutional else threads


def main() -> int:
    parser = argparse.ArgumentParser(description="Measures one contender in one case.")
    parser.add_argument("case", choices=CASES)
    parser.add_argument("contender", choices=CONTENDERS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--samples", type=int, default=N_PICTURES, help="at most so many pictures an epoch")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    asked = parser.parse_args()
    case = CASES[asked.case]
    threads = str(blas_threads(case, asked.contender, asked.threads))
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, threads))

    contender = importlib.import_module(CONTENDERS[asked.contender])
    digits = importlib.import_module("benchmarks.digits")
    data = digits.load(min(asked.samples, case.n_samples))
    # What reading the files has left behind is nobody's buffer.
    empty = machine.resident_memory() - data.n_bytes
    machine.forget_peak_memory()

    busy, own, started = machine.busy_seconds(), time.process_time(), time.perf_counter()
    epochs = contender.epochs(case, data, asked.threads, case.epochs + 1, CLOCKS[asked.clock])
    took, worked = time.perf_counter() - started, time.process_time() - own
    busy_after = machine.busy_seconds()

    peak = machine.peak_memory()
    found = {
        "epochs": epochs,
        "seconds": statistics.median(epochs[1:]) * N_PICTURES / len(data.pictures),
        "peak_memory": peak,
        "data_and_buffers": peak - empty,
        "others": None if busy is None or busy_after is None else max(0.0, busy_after - busy - worked) / took,
    }
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
