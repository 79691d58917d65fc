"""How the commands show things: tables, a progress bar, JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column, Table

# What is shown is text of other people's making: brackets and colons in it are neither markup nor emoji. Whoever reads
# from a pipe has no width.
out = Console(highlight=False, soft_wrap=True, markup=False, emoji=False, width=None if sys.stdout.isatty() else 10_000)
notes = Console(stderr=True, highlight=False)


def as_json(value: object) -> None:
    out.print(json.dumps(value, indent=2))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], right: Sequence[str] = ()) -> None:
    """Prints a table; the columns in `right` are aligned there, as numbers are."""
    cells = [["-" if cell is None else str(cell) for cell in row] for row in rows]
    headed = [Column(name, justify="right" if name in right else "left") for name in columns]
    shown = Table(*headed, box=None, pad_edge=False, header_style="bold")
    # An id that is cut on a narrow terminal is of no use.
    shown.columns[0].min_width = max((len(row[0]) for row in cells), default=0)
    for row in cells:
        shown.add_row(*row)
    out.print(shown)


def progress_bar() -> Progress:
    """A bar with the loss, on standard error, where that is a terminal; nothing elsewhere."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[told]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=notes,
        disable=not notes.is_terminal,
        transient=True,
    )


class EpochTable:
    """Prints one line an epoch as they come, under one header; `error` is the share of samples read wrongly."""

    def __init__(self) -> None:
        self._columns: list[str] = []

    def extend(self, rows: Iterable[dict[str, Any]]) -> None:
        for row in rows:
            self.add(row)

    def add(self, row: dict[str, Any]) -> None:
        told = _with_errors(row)
        if not self._columns:
            self._columns = list(told)
            out.print("  ".join(f"{name.replace('validation', 'valid.'):>{_width(name)}}" for name in told))
        out.print("  ".join(f"{_cell(told.get(name)):>{_width(name)}}" for name in self._columns))


def _with_errors(row: dict[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for name, value in row.items():
        if name.endswith("accuracy"):
            told[name.replace("accuracy", "error")] = 1 - value
        told[name] = value
    return told


def _width(name: str) -> int:
    return max(7, len(name.replace("validation", "valid.")))


def _cell(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "-" if value is None else str(value)
