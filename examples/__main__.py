"""Trains the example systems and prints their figures: `make examples`; `make accuracy` those that take longer."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from examples.systems import ACCURATE, SYSTEMS


def main() -> int:
    console = Console()
    if not console.is_terminal:
        console.width = 140
    table = Table("system", "what came out", "what must come out", "met")
    all_met = True
    with tempfile.TemporaryDirectory() as work, console.status("training"):
        for system in ACCURATE if "accuracy" in sys.argv[1:] else SYSTEMS:
            outcome = system(Path(work))
            met = outcome.met and outcome.in_time
            table.add_row(outcome.system, outcome.told, outcome.wanted, "yes" if met else "NO")
            all_met &= met
    console.print(table)
    return 0 if all_met else 1


if __name__ == "__main__":
    sys.exit(main())
