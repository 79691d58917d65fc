"""From single measurements to medians, ratios and tables."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.cases import CASES, TARGETS


@dataclass(frozen=True)
class Measurement:
    """What one process found: seconds an epoch of all pictures, memory in bytes.

    `others` is the processor time, in cores, that everything else on the machine took meanwhile; None where that is
    not known.
    """

    round: int
    case: str
    threads: int
    contender: str
    seconds: float
    epochs: list[float]
    peak_memory: int
    data_and_buffers: int
    others: float | None


@dataclass(frozen=True)
class Figure:
    """The median of some numbers, between their quartiles."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(numbers: Sequence[float]) -> Figure:
        if len(numbers) == 1:
            return Figure(numbers[0], numbers[0], numbers[0])
        low, median, high = statistics.quantiles(numbers, n=4, method="inclusive")
        return Figure(median, low, high)


@dataclass(frozen=True)
class Row:
    """A contender in a case: seconds an epoch, as a multiple of the floor, what `nn` takes of it, and bytes.

    The floor is no training run, and what it keeps in memory no measure of one.
    """

    case: str
    threads: int
    contender: str
    seconds: Figure
    to_floor: Figure | None
    nn_share: Figure | None
    peak_memory: float | None
    data_and_buffers: float | None


@dataclass(frozen=True)
class Verdict:
    """A target and what came of it; `figure` is None where one of the two was not measured."""

    case: str
    threads: int
    other: str
    limit: float
    figure: Figure | None

    @property
    def met(self) -> bool | None:
        return None if self.figure is None else self.figure.median <= self.limit


class Results:
    """All measurements of a run of the benchmark, in the order in which they were made."""

    def __init__(self, measurements: Iterable[Measurement]) -> None:
        self.measurements = list(measurements)
        self._seconds = {(m.case, m.threads, m.contender, m.round): m.seconds for m in self.measurements}
        self._groups: dict[tuple[str, int, str], list[Measurement]] = {}
        for m in self.measurements:
            self._groups.setdefault((m.case, m.threads, m.contender), []).append(m)

    def ratio(self, case: str, threads: int, one: str, other: str) -> Figure | None:
        """Seconds of `one` to those of `other`: taken in each round, so that both met the same machine."""
        ratios = [
            m.seconds / self._seconds[case, threads, other, m.round]
            for m in self._groups.get((case, threads, one), [])
            if (case, threads, other, m.round) in self._seconds
        ]
        return Figure.of(ratios) if ratios else None

    def rows(self) -> list[Row]:
        return [
            Row(
                case=case,
                threads=threads,
                contender=contender,
                seconds=Figure.of([m.seconds for m in group]),
                to_floor=self.ratio(case, threads, contender, "floor"),
                nn_share=self.ratio(case, threads, "nn", contender),
                peak_memory=None if contender == "floor" else statistics.median(m.peak_memory for m in group),
                data_and_buffers=None if contender == "floor" else statistics.median(m.data_and_buffers for m in group),
            )
            for (case, threads, contender), group in self._groups.items()
        ]

    def verdicts(self) -> list[Verdict]:
        measured = {(m.case, m.threads) for m in self.measurements}
        return [
            Verdict(t.case, threads, t.other, t.limit, self.ratio(t.case, threads, "nn", t.other))
            for t in TARGETS
            for threads in t.threads
            if (t.case, threads) in measured
        ]

    def others(self) -> Figure | None:
        """Cores that were busy with other things, over the measurements."""
        known = [m.others for m in self.measurements if m.others is not None]
        return Figure.of(known) if known else None


def as_markdown(results: Results, machine: dict[str, Any]) -> str:
    """The machine in a line, the table of the contenders and the table of the targets."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    head = f"{machine['processor']}, {machine['cores']} cores; {machine['blas']}; {versions}."
    others = results.others()
    if others is not None:
        head += f"\nOther work on the machine meanwhile: {others.median:.2f} cores in the median measurement, "
        head += f"{others.low:.2f} and {others.high:.2f} at the quartiles."
    header = (
        "case",
        "threads",
        "",
        "s an epoch",
        "quartiles",
        "× floor",
        "nn takes of it",
        "peak MB",
        "data, buffers MB",
    )
    rows = [
        (
            row.case,
            str(row.threads),
            row.contender,
            f"{row.seconds.median:.3f}",
            f"{row.seconds.low:.3f} to {row.seconds.high:.3f}",
            _number(row.to_floor),
            _number(row.nn_share),
            *(f"{n_bytes / 1e6:.0f}" if n_bytes else "–" for n_bytes in (row.peak_memory, row.data_and_buffers)),
        )
        for row in results.rows()
    ]
    verdicts = [
        (
            f"{verdict.case}, {_threads(verdict.threads)}: nn ÷ {verdict.other}",
            f"≤ {verdict.limit:.3g}",
            _number(verdict.figure),
            "–" if verdict.figure is None else f"{verdict.figure.low:.2f} to {verdict.figure.high:.2f}",
            {None: "not measured", True: "yes", False: "no"}[verdict.met],
        )
        for verdict in results.verdicts()
    ]
    named = "\n".join(f"- {name}: {CASES[name].title}" for name in dict.fromkeys(row[0] for row in rows))
    parts = [
        head,
        named,
        table(header, rows),
        table(("target", "at most", "came out", "quartiles", "met"), verdicts),
    ]
    return "\n\n".join(parts)


def _threads(threads: int) -> str:
    return "1 thread" if threads == 1 else f"{threads} threads"


def _number(figure: Figure | None) -> str:
    return "–" if figure is None else f"{figure.median:.2f}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )
