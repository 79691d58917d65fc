"""What goes into the image, and what does not."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent.parent


def found(pattern: str, name: str) -> list[str]:
    return re.findall(pattern, (REPOSITORY / name).read_text(), re.MULTILINE)


def test_the_models_that_ship_are_in_the_image() -> None:
    ships = found(r"^!/models/([\w-]+)/$", ".gitignore")
    assert ships
    assert found(r"^!models/([\w-]+)/1$", ".dockerignore") == ships


def test_the_context_holds_what_the_image_is_made_of_and_nothing_else() -> None:
    copied = {
        source.rstrip("/") for sources in found(r"^COPY (?!--)(.+) \S+$", "Dockerfile") for source in sources.split()
    }
    assert copied == set(found(r"^!([^/\n]+)", ".dockerignore"))
