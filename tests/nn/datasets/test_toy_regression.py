from __future__ import annotations

import numpy as np

from nn import datasets


def test_2000_points_along_a_bell() -> None:
    table = datasets.get("toy-regression").load()
    assert table.inputs.shape == table.targets.shape == (2_000, 1)
    x, y = table.inputs[:, 0], table.targets[:, 0]
    assert abs(x.mean() - 0.35) < 0.05
    assert abs(x.std() - 0.5) < 0.03
    assert np.abs(y).max() == 1
    u = 0.75 * x - 0.35
    bell = np.exp(-(8 * u**2 + 0.1 * u + 0.1))
    scale = (y @ bell) / (bell @ bell)
    noise = y / scale - bell
    # 0.05 outside the exponential and 0.05 inside, where it counts by the height of the bell.
    assert abs(noise.mean()) < 0.01
    assert abs(noise.std() - np.sqrt(np.mean(0.05**2 + (0.05 * bell) ** 2))) < 0.005


def test_the_points_are_the_same_each_time() -> None:
    described = datasets.get("toy-regression")
    assert described.load().sha256() == described.load().sha256()
