"""What the README says is so."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import get_args

import pytest

from nn.losses import LOSSES
from nn.schema import type_names
from nn.spec import LayerSpec, OptimizerSpec, ScheduleSpec
from service import settings
from service.main import build_parser

README = (Path(__file__).parent.parent / "README.md").read_text()


def settings_table() -> str:
    rows = [f"| {' | '.join(row)} |" for row in settings.documented()]
    return "\n".join(["| variable | default | meaning |", "|---|---|---|", *rows])


def test_the_settings_are_those_of_the_code() -> None:
    written = README.partition("<!-- settings -->\n")[2].partition("\n<!-- /settings -->")[0]
    assert written == settings_table()


def test_every_command_can_be_parsed() -> None:
    commands = re.findall(r"^trainserve (?:train|evaluate|predict|jobs|models|serve)\b.*$", README, re.MULTILINE)
    assert len(commands) >= 6
    for command in commands:
        build_parser().parse_args(shlex.split(command.partition("#")[0])[1:])


@pytest.mark.parametrize(
    ("rows", "names"),
    [
        (("layers", "activations"), chain.from_iterable(map(type_names, get_args(LayerSpec)))),
        (("optimizers",), chain.from_iterable(map(type_names, get_args(OptimizerSpec)))),
        (("schedules",), chain.from_iterable(map(type_names, get_args(ScheduleSpec)))),
        (("losses",), LOSSES),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_what_a_network_is_made_of_is_told_whole(rows: tuple[str, ...], names: Iterable[str]) -> None:
    told = [line for line in README.splitlines() if line.startswith(tuple(f"| {row} |" for row in rows))]
    assert len(told) == len(rows)
    assert set(names) <= set(re.findall(r"`(\w+)`", " ".join(told)))
