"""What the README says is so."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

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
