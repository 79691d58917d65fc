from __future__ import annotations

import pytest

from nn import ArtifactError, DivergedError, InputError, NNError, ShapeError, SpecError
from nn.errors import Problem


def test_every_error_is_an_nn_error() -> None:
    for error in (SpecError, InputError, ShapeError, DivergedError, ArtifactError):
        assert issubclass(error, NNError)
    assert issubclass(ShapeError, InputError)


@pytest.mark.parametrize("kind", [SpecError, InputError, ShapeError])
def test_problems_keep_their_places(kind: type[SpecError | InputError]) -> None:
    error = kind([Problem("#/a", "expected a number"), Problem("#/b/0", "missing")])
    assert str(error) == "#/a: expected a number; #/b/0: missing"
    assert [problem.pointer for problem in error.problems] == ["#/a", "#/b/0"]
    alone = kind.at("#/c", "unknown")
    assert type(alone) is kind
    assert alone.problems == (Problem("#/c", "unknown"),)


def test_a_diverged_run_names_its_epoch() -> None:
    assert DivergedError(3).epoch == 3
    assert "epoch 3" in str(DivergedError(3))
