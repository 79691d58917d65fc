"""The systems that trainserve comes from still come out as they must."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from examples.systems import SYSTEMS, Outcome


@pytest.mark.parametrize("system", SYSTEMS, ids=[system.__name__ for system in SYSTEMS])
def test_system(system: Callable[[Path], Outcome], tmp_path: Path) -> None:
    outcome = system(tmp_path)
    assert outcome.met, f"{outcome.system}: expected {outcome.wanted}; got {outcome.told}"
