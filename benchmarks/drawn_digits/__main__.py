"""Tells how a model reads the set: `python -m benchmarks.drawn_digits [model.npz]`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

import nn
from benchmarks.drawn_digits.contact_sheet import contact_sheet
from benchmarks.drawn_digits.evaluation import answers, committed, shipped, tally, unseen


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drawn_digits", description=__doc__)
    parser.add_argument("model", type=Path, nargs="?", help="the file of a model; else the newest shipped version")
    parser.add_argument(
        "--seed", type=int, help="read a set drawn now instead of the committed one, which is that of 1"
    )
    parser.add_argument("--show", type=Path, metavar="DIR", help="write a page of the pictures that were misread")
    parser.add_argument("--json", action="store_true", help="write the figures as JSON")
    given = parser.parse_args()

    file: Path = given.model or shipped()
    model = nn.loads(file.read_bytes())
    found = answers(model, committed() if given.seed is None else unseen(given.seed))
    figures = tally(found)
    n_right, n = (sum(numbers) for numbers in zip(*figures.values(), strict=True))
    misread = [answer for answer in found if not answer.right]

    if given.json:
        document = {
            "model": file.name,
            "seed": given.seed,
            "kinds": {kind: {"right": right, "of": of} for kind, (right, of) in figures.items()},
            "right": n_right,
            "of": n,
            "misread": {answer.sample.name: answer.label for answer in misread},
        }
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        table = Table("kind", "read rightly", "of", "share", title=file.name[:16], show_footer=True)
        for column, footer in zip(table.columns, ("all", str(n_right), str(n), f"{n_right / n:.1%}"), strict=True):
            column.footer = footer
            column.justify = "left" if column.header == "kind" else "right"
        for kind, (right, of) in figures.items():
            table.add_row(kind, str(right), str(of), f"{right / of:.1%}")
        Console().print(table)
    if given.show is not None:
        given.show.mkdir(parents=True, exist_ok=True)
        page = given.show / "misread.png"
        contact_sheet(misread).save(page)
        sys.stderr.write(f"{len(misread)} misread: {page}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
