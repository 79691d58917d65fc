"""Seconds an epoch for `nn`, its peers and the floor: `python -m benchmarks.training`, or `make bench-training`."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from benchmarks import machine
from benchmarks.cases import CASES, CLOCKS, CONTENDERS, N_PICTURES
from benchmarks.picture import draw
from benchmarks.report import Measurement, Results, as_markdown

ROOT = Path(__file__).parent.parent
TIME_LIMIT = 600  # seconds for one measurement


class MeasurementError(Exception):
    """A measuring process that ended without a figure; the message is its last line."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often everything is measured (%(default)s)")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], help="BLAS threads (1 and 2)")
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, help="others than those of the case")
    parser.add_argument("--samples", type=int, default=N_PICTURES, help="fewer pictures an epoch, to try it out")
    parser.add_argument(
        "--clock", choices=CLOCKS, default="wall", help="processor seconds, for one thread on a machine that others use"
    )
    parser.add_argument(
        "--wait",
        type=float,
        default=0,
        metavar="SECONDS",
        help="before each measurement, wait so long for quiet at most",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all measurements")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="write a PNG (needs matplotlib)")
    return parser.parse_args()


def measure(case: str, contender: str, threads: int, number: int, asked: argparse.Namespace) -> Measurement:
    """One measurement in a new process. Raises `MeasurementError`."""
    options = ["--threads", str(threads), "--samples", str(asked.samples), "--clock", asked.clock]
    command = [sys.executable, "-m", "benchmarks.measurement", case, contender, *options]
    try:
        done = subprocess.run(  # noqa: S603  (our own command)
            command, cwd=ROOT, capture_output=True, text=True, timeout=TIME_LIMIT, check=False
        )
    except subprocess.TimeoutExpired:
        raise MeasurementError(f"not done after {TIME_LIMIT} seconds") from None
    if done.returncode:
        *_, last = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise MeasurementError(last)
    return Measurement(round=number, case=case, threads=threads, contender=contender, **json.loads(done.stdout))


def measure_all(asked: argparse.Namespace) -> Iterator[Measurement]:
    """Every round goes through all contenders, so that a machine that slows down slows them all.

    Who cannot be measured, because it is not installed or cannot do a case, is told once and left out.
    """
    absent: set[tuple[str, str]] = set()
    for number in range(1, asked.rounds + 1):
        for case in asked.cases:
            for threads in asked.threads:
                for contender in asked.contenders or CASES[case].contenders:
                    if (case, contender) in absent:
                        continue
                    if asked.wait:
                        machine.wait_until_quiet(asked.wait)
                    try:
                        found = measure(case, contender, threads, number, asked)
                    except MeasurementError as error:
                        absent.add((case, contender))
                        tell(f"{case}: {contender} is left out: {error}")
                    else:
                        told = f"{number}/{asked.rounds} {case}, {contender}, {threads} threads: {found.seconds:.3f} s"
                        tell(told if found.others is None else f"{told}, {found.others:.1f} cores busy otherwise")
                        yield found


def tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def main() -> int:
    asked = arguments()
    results = Results(measure_all(asked))
    described = machine.describe()
    sys.stdout.write(as_markdown(results, described) + "\n")
    if asked.json:
        written = {
            "machine": described,
            "cases": {name: CASES[name].title for name in asked.cases},
            "samples": asked.samples,
            "clock": asked.clock,
            "rows": [asdict(row) for row in results.rows()],
            "targets": [{**asdict(verdict), "met": verdict.met} for verdict in results.verdicts()],
            "measurements": [asdict(measurement) for measurement in results.measurements],
        }
        asked.json.write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n")
    if asked.picture:
        draw(results, asked.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
