from __future__ import annotations

import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nn import InputError, Model, ShapeError, complete, train
from nn.datasets import Table
from nn.features import Raw
from nn.layers import PICTURES
from nn.network import EVALUATION_BLOCK
from nn.normalization import BatchNorm
from nn.spec import DTypeName
from tests.nn.support import DTYPES

CONVOLUTIONAL: dict[str, Any] = {
    "layers": [
        *({"type": "conv2d", "filters": 3, "padding": "same"}, {"type": "batch_norm"}, {"type": "relu"}),
        *({"type": "average_pool2d"}, {"type": "conv2d", "filters": 4}, {"type": "gelu"}, {"type": "batch_norm"}),
        *({"type": "global_average_pool2d"}, {"type": "dropout", "rate": 0.5}, {"type": "dense", "units": 10}),
        {"type": "softmax"},
    ]
}


def trained(dtype: DTypeName) -> Model:
    spec = complete("heart", None, {"epochs": 1})
    return train(replace(spec, network=replace(spec.network, dtype=dtype)))[0]


@pytest.fixture
def for_pictures(few_digits: str) -> Model:
    return train(complete(few_digits, CONVOLUTIONAL, {"epochs": 2}))[0]


@pytest.fixture
def pictures(mnist: Table) -> Raw:
    return mnist.inputs[-100:]


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


class TestPictures:
    @pytest.mark.parametrize("n_samples", [0, 1, PICTURES - 1, PICTURES, PICTURES + 1, 2 * PICTURES + 1])
    def test_any_number_of_them(self, n_samples: int, for_pictures: Model, pictures: Raw) -> None:
        answers = for_pictures.predict(pictures[:n_samples])
        assert answers.shape == (n_samples, for_pictures.n_outputs) == (n_samples, 10)
        assert answers.dtype == np.float32
        np.testing.assert_allclose(answers.sum(axis=1), 1, rtol=1e-5)
        for row in (0, n_samples - 1) if n_samples else ():
            np.testing.assert_allclose(for_pictures.predict(pictures[row : row + 1])[0], answers[row], rtol=1e-5)

    def test_bytes_and_intensities_have_the_same_answer(self, for_pictures: Model, pictures: Raw) -> None:
        expected = for_pictures.predict(pictures)
        for dtype in ("float32", "float64"):
            intensities = (pictures / 255).astype(dtype)
            np.testing.assert_allclose(for_pictures.predict(intensities), expected, rtol=1e-4, atol=1e-6)

    def test_what_is_asked_stays_as_it_is(self, for_pictures: Model, pictures: Raw) -> None:
        asked = pictures.copy()
        asked.flags.writeable = False
        for_pictures.predict(asked)
        np.testing.assert_array_equal(asked, pictures)

    def test_many_of_them_stay_bytes_but_for_their_block(self, for_pictures: Model, pictures: Raw) -> None:
        many = np.tile(pictures, (20, 1))
        tracemalloc.start()
        try:
            few_peak = self.peak(for_pictures, many[:200])
            assert self.peak(for_pictures, many) - few_peak < many.nbytes / 10
        finally:
            tracemalloc.stop()

    def peak(self, model: Model, raw: Raw) -> int:
        tracemalloc.reset_peak()
        model.predict(raw)
        return tracemalloc.get_traced_memory()[1]

    def test_any_number_of_threads_may_ask_at_once(self, for_pictures: Model, pictures: Raw) -> None:
        expected = for_pictures.predict(pictures)
        statistics = for_pictures.network.statistics.copy()
        with ThreadPoolExecutor(4) as pool:
            for answers in pool.map(for_pictures.predict, [pictures] * 12):
                np.testing.assert_array_equal(answers, expected)
        np.testing.assert_array_equal(for_pictures.network.statistics, statistics)


class TestFrozen:
    def test_answers_the_same_and_says_the_same_of_itself(self, for_pictures: Model, pictures: Raw) -> None:
        frozen = for_pictures.frozen()
        assert frozen.metadata is for_pictures.metadata
        np.testing.assert_allclose(frozen.predict(pictures), for_pictures.predict(pictures), rtol=1e-4, atol=1e-6)

    def test_has_no_normalisation_left_where_a_layer_next_to_it_takes_it_in(self, for_pictures: Model) -> None:
        def normalisations(model: Model) -> int:
            return sum(isinstance(layer, BatchNorm) for layer in model.network.layers.values())

        assert (normalisations(for_pictures), normalisations(for_pictures.frozen())) == (2, 1)

    def test_leaves_the_model_as_it_was(self, for_pictures: Model, pictures: Raw) -> None:
        before = for_pictures.predict(pictures)
        for_pictures.frozen().network.vector[...] = 0
        np.testing.assert_array_equal(for_pictures.predict(pictures), before)


class TestWhatItCannotRead:
    @pytest.mark.parametrize("shape", [(3, 1), (28, 28), (2, 28, 28), (784,)])
    def test_pictures_of_another_shape(self, shape: tuple[int, ...], for_pictures: Model) -> None:
        with pytest.raises(ShapeError, match="expected rows of 784 numbers"):
            for_pictures.predict(np.zeros(shape, np.uint8))

    @pytest.mark.parametrize("dtype", ["int64", "int8", "bool"])
    def test_pictures_whose_range_nobody_knows(self, dtype: str, for_pictures: Model) -> None:
        with pytest.raises(InputError, match="uint8"):
            for_pictures.predict(np.ones((1, 784), dtype))

    def test_rows_of_another_width(self) -> None:
        with pytest.raises(ShapeError, match="expected rows of 13 numbers"):
            trained("float32").predict(np.zeros((1, 12)))
