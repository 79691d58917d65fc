from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nn import Model, complete, train
from nn.network import EVALUATION_BLOCK
from nn.spec import DTypeName
from tests.nn.support import DTYPES


def trained(dtype: DTypeName) -> Model:
    spec = complete("heart", None, {"epochs": 1})
    return train(replace(spec, network=replace(spec.network, dtype=dtype)))[0]


@pytest.mark.parametrize("dtype", DTYPES)
def test_predicts_from_raw_values_in_the_network_s_dtype(dtype: DTypeName) -> None:
    model = trained(dtype)
    features = model.metadata.features
    raw = features.read_records(model.metadata.example["records"])
    encoded = np.empty((1, features.n_inputs), dtype)
    features.encode(raw, encoded)
    answers = model.predict(raw)
    assert answers.dtype == dtype
    np.testing.assert_array_equal(answers, model.network.predict(encoded))


@pytest.mark.parametrize("n_samples", [0, 1, EVALUATION_BLOCK, EVALUATION_BLOCK + 1])
def test_any_number_of_samples(n_samples: int, rng: np.random.Generator) -> None:
    model = trained("float64")
    raw = np.full((n_samples, 13), np.nan)
    raw[:, 0] = rng.uniform(20, 80, n_samples)
    answers = model.predict(raw)
    assert answers.shape == (n_samples, 1)
    if n_samples:
        np.testing.assert_allclose(model.predict(raw[-1:]), answers[-1:])


def test_what_overflows_is_told_by_the_answer_without_a_warning() -> None:
    model = trained("float32")
    model.network.vector[...] = 1e30
    raw = np.full((1, 13), np.nan)
    raw[:, 0] = 3e38
    assert model.predict(raw).shape == (1, 1)
