from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import nn
from nn.datasets import DATASETS


def rows(n: int = 200, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal((n, 3)) * [1, 100, 0.01] + [5, -1000, 0]


class TestRegression:
    def test_in_the_targets_own_units_whatever_those_of_the_columns(self) -> None:
        x, unseen = rows(), rows(seed=1)

        def truth(x: NDArray[np.float64]) -> NDArray[np.float64]:
            return 1e4 + 500 * (x[:, 0] - 5) * (x[:, 1] + 1000) / 100 + 3e4 * x[:, 2]

        found = nn.fit_arrays(x, truth(x)).predict(unseen)
        assert found.shape == (200,)
        assert 1 - np.var(found - truth(unseen)) / np.var(truth(unseen)) > 0.9

    def test_several_values_a_row(self) -> None:
        x = rows()
        found = nn.fit_arrays(x, x[:, :2] * [1, 10]).predict(x)
        assert found.shape == (200, 2)
        assert np.corrcoef(found[:, 1], x[:, 1])[0, 1] > 0.99

    def test_targets_that_are_all_alike(self) -> None:
        np.testing.assert_allclose(nn.fit_arrays(rows(20), np.full(20, 7.0)).predict(rows(5)), 7, atol=0.5)

    def test_has_no_probabilities(self) -> None:
        with pytest.raises(nn.InputError, match="ask for predict"):
            nn.fit_arrays(rows(20), np.arange(20.0)).probabilities(rows(2))


class TestClassification:
    @pytest.mark.parametrize("labels", [np.array([3, -1, 8]), np.array(["a", "b", "c"])], ids=["numbers", "words"])
    def test_answers_are_the_labels_that_came_in(self, labels: NDArray[Any]) -> None:
        x = rows()
        told = labels[np.digitize(x[:, 0], [4.6, 5.4])]
        model = nn.fit_arrays(x, told)
        assert np.mean(model.predict(x) == told) > 0.95
        np.testing.assert_allclose(model.probabilities(x).sum(axis=1), 1, rtol=1e-5)

    def test_heart_with_its_missing_cells(self) -> None:
        table = DATASETS["heart"].load()
        assert np.isnan(table.inputs).any()
        order = np.random.default_rng(0).permutation(len(table.targets))
        x, told = table.inputs[order], table.targets[order]
        model = nn.fit_arrays(x[:240], told[:240])
        assert np.mean(model.predict(x[240:]) == told[240:]) > 0.7


def test_the_seed_decides() -> None:
    x, y = rows(50), np.arange(50.0)
    one, same, other = (nn.fit_arrays(x, y, seed=seed).predict(x) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


@pytest.mark.parametrize(
    ("inputs", "targets", "told"),
    [
        (np.ones(5), np.ones(5), "expected rows of numbers"),
        (np.array([["a"], ["b"]]), [1.0, 2.0], "expected rows of numbers"),
        (rows(5), np.ones(4), "a target for each"),
        (rows(1), [1.0], "at least 2 rows"),
        (np.full((3, 2), np.inf), [1.0, 2.0, 3.0], "NaN for a missing cell"),
        (rows(3), [1.0, np.nan, 2.0], "finite"),
        (rows(3), [1, 1, 1], "two kinds"),
        (rows(2), [[1, 2], [2, 1]], "one target a row"),
    ],
)
def test_what_is_no_table_is_refused(inputs: Any, targets: Any, told: str) -> None:
    with pytest.raises(nn.InputError, match=told):
        nn.fit_arrays(inputs, targets)


def test_rows_of_another_width_are_refused() -> None:
    with pytest.raises(nn.ShapeError, match="expected rows of 3 numbers; got 2"):
        nn.fit_arrays(rows(20), np.arange(20.0)).predict(np.ones((1, 2)))
