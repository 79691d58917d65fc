from __future__ import annotations

import hashlib
import struct

import numpy as np
import pytest

from nn import datasets
from nn.datasets import Table
from nn.datasets.mnist import read_idx

# MD5 of the unpacked files as they were published.
MD5_OF_FILES = {
    "train-images": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels": "a25bea736e30d166cdddb491f175f624",
    "t10k-images": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels": "27ae3e4e09519cfbb04c329615203637",
}


def test_it_is_mnist_to_the_byte(mnist: Table) -> None:
    digests = {}
    for part, rows in (("train", slice(60_000)), ("t10k", slice(60_000, None))):
        pictures, labels = mnist.inputs[rows], mnist.targets[rows].astype(np.uint8)
        digests[f"{part}-images"] = hashlib.md5(
            b"\0\0\x08\x03" + struct.pack(">3I", len(pictures), 28, 28) + pictures.tobytes()
        ).hexdigest()
        digests[f"{part}-labels"] = hashlib.md5(
            b"\0\0\x08\x01" + struct.pack(">I", len(labels)) + labels.tobytes()
        ).hexdigest()
    assert digests == MD5_OF_FILES


def test_pictures_stay_bytes_and_labels_are_class_numbers(mnist: Table) -> None:
    described = datasets.get("mnist")
    assert mnist.inputs.shape == (described.n_samples, described.features.n_inputs) == (70_000, 784)
    assert mnist.inputs.dtype == np.uint8
    assert mnist.targets.shape == (70_000,)
    assert set(mnist.targets) == set(described.task.labels) == set(range(10))


class TestReadIdx:
    def test_reads_any_number_of_axes(self) -> None:
        data = b"\0\0\x08\x02" + struct.pack(">2I", 2, 3) + bytes(range(6))
        assert read_idx(data).tolist() == [[0, 1, 2], [3, 4, 5]]

    @pytest.mark.parametrize("data", [b"", b"\0\0\x0d\x01\0\0\0\0", b"PK\x03\x04"])
    def test_refuses_what_is_none(self, data: bytes) -> None:
        with pytest.raises(ValueError, match="not an IDX file of bytes"):
            read_idx(data)

    def test_refuses_a_file_that_is_cut(self) -> None:
        with pytest.raises(ValueError, match="buffer"):
            read_idx(b"\0\0\x08\x01" + struct.pack(">I", 3) + b"ab")
