from __future__ import annotations

import numpy as np
import pytest

from nn import datasets
from nn.datasets import Table
from nn.features import TableFeatures


@pytest.fixture(scope="module")
def heart() -> Table:
    return datasets.get("heart").load()


@pytest.fixture(scope="module")
def columns() -> TableFeatures:
    features = datasets.get("heart").features
    assert isinstance(features, TableFeatures)
    return features


def test_it_has_303_patients_13_columns_and_six_empty_cells(heart: Table, columns: TableFeatures) -> None:
    assert heart.inputs.shape == (303, 13) == (datasets.get("heart").n_samples, len(columns.columns))
    assert np.isnan(heart.inputs).sum() == 6
    assert heart.targets.tolist().count(1) == 139
    assert set(heart.targets) == {0, 1}


def test_a_row_is_what_the_file_says(heart: Table, columns: TableFeatures) -> None:
    (first,) = columns.as_request(heart.inputs[:1])["records"]
    assert first == {
        "age": 63,
        "sex": "male",
        "chest_pain": "typical ang",
        "resting_bp": 145,
        "cholesterol": 233,
        "fasting_blood_sugar": 1,
        "resting_ecg": "left vent hypertrophy",
        "max_heart_rate": 150,
        "exercise_angina": 0,
        "st_depression": 2.3,
        "st_slope": "downsloping",
        "major_vessels": 0,
        "thal": "fixed defect",
    }


def test_every_category_occurs(heart: Table, columns: TableFeatures) -> None:
    for column, cells in zip(columns.fitted(heart.inputs).columns, heart.inputs.T, strict=True):
        assert all(column.seen)
        assert not column.categories or set(cells[~np.isnan(cells)]) == set(range(len(column.categories)))


def test_all_rows_are_records_that_are_read_back(heart: Table, columns: TableFeatures) -> None:
    records = columns.as_request(heart.inputs)["records"]
    np.testing.assert_array_equal(columns.read_records(records), heart.inputs)
