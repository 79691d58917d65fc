from __future__ import annotations

import io
import json
import struct
import time
import zipfile
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nn import ArtifactError, SpecError, npz

Members = dict[str, bytes]
ARRAYS: dict[str, NDArray[Any]] = {
    "matrix": np.arange(6, dtype=np.float32).reshape(2, 3),
    "transposed": np.arange(6, dtype=np.float64).reshape(2, 3).T,
    "every other": np.arange(8, dtype=np.float32)[::2],
    "empty": np.zeros(0, np.float32),
    "rows of nothing": np.zeros((3, 0), np.float64),
    "count": np.array(7, np.int64),
    "number": np.array(0.1),
    "not finite": np.array([np.nan, np.inf, -0.0], np.float32),
    "four axes": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
}
METADATA = {"who": "Ünï ☃", "n": [1, 2.5, None, True], "state": 2**127, "none": {}}
EXPECTED = {name: (array.shape, array.dtype) for name, array in ARRAYS.items()}


@pytest.fixture
def members() -> Members:
    with zipfile.ZipFile(io.BytesIO(npz.dumps(METADATA, ARRAYS))) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(members: Members, compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array)
    return buffer.getvalue()


def read(data: bytes, kind: str) -> tuple[Any, dict[str, NDArray[Any]]]:
    with npz.opened(data, kind) as reader:
        return reader.metadata(), reader.arrays(EXPECTED)


def refused(data: bytes, message: str, kind: str = "thing") -> None:
    with pytest.raises(ArtifactError, match=message) as caught:
        read(data, kind)
    assert len(str(caught.value)) < 1000


class TestRoundTrip:
    def test_metadata_and_arrays_come_back_the_same(self) -> None:
        told, found = read(npz.dumps(METADATA, ARRAYS), "thing")
        assert told == METADATA
        assert list(found) == list(ARRAYS)
        for name, array in ARRAYS.items():
            assert found[name].dtype == array.dtype
            np.testing.assert_array_equal(found[name], array, strict=True)
            assert found[name].tobytes() == array.tobytes(), "-0 and NaN as well"

    def test_numpy_alone_reads_it(self) -> None:
        with np.load(io.BytesIO(npz.dumps(METADATA, ARRAYS)), allow_pickle=False) as archive:
            assert set(archive.files) == {"metadata", *ARRAYS}
            for name, array in ARRAYS.items():
                np.testing.assert_array_equal(archive[name], array, strict=True)
            assert json.loads(archive["metadata"].tobytes()) == METADATA

    def test_equal_contents_give_equal_bytes_whenever(self, monkeypatch: pytest.MonkeyPatch) -> None:
        before = npz.dumps(METADATA, ARRAYS)
        monkeypatch.setattr(time, "time", lambda: 2e9)
        assert npz.dumps(METADATA, {name: array.copy(order="F") for name, array in ARRAYS.items()}) == before

    @pytest.mark.parametrize("number", [float("nan"), float("inf")])
    def test_metadata_that_are_no_json_are_not_written(self, number: float) -> None:
        with pytest.raises(ValueError, match="not JSON compliant"):
            npz.dumps({"x": number}, {})

    def test_no_arrays_are_needed(self) -> None:
        with npz.opened(npz.dumps([1], {}), "thing") as reader:
            assert (reader.metadata(), reader.arrays({})) == ([1], {})


class TestRefused:
    @pytest.mark.parametrize(("kind", "named"), [("artifact", "an artifact"), ("checkpoint", "a checkpoint")])
    def test_in_the_words_of_its_kind(self, kind: str, named: str, members: Members) -> None:
        refused(packed(members, zipfile.ZIP_DEFLATED), f"a member of the {kind} is compressed", kind)
        with pytest.raises(ArtifactError, match="larger than the file"), npz.opened(packed(members), kind) as reader:
            reader.arrays(EXPECTED | {"matrix": ((10**6, 10**6), np.dtype("float32"))})
        del members["metadata.npy"]
        refused(packed(members), rf"not {named} of trainserve: it has no member metadata\.npy", kind)

    @pytest.mark.parametrize("data", [b"", b"PK\x03\x04", bytes(1000), b"text", npy(np.ones(3))])
    def test_what_is_no_zip(self, data: bytes) -> None:
        refused(data, "not a whole .npz file that trainserve wrote")

    def test_two_members_of_one_name(self, members: Members) -> None:
        buffer = io.BytesIO(packed(members))
        with zipfile.ZipFile(buffer, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("matrix.npy", members["matrix.npy"])
        refused(buffer.getvalue(), "the thing has two members of one name")

    def test_members_that_claim_more_than_there_is(self, members: Members) -> None:
        data = packed(members)
        entry = data.index(b"PK\x01\x02")
        sizes = struct.pack("<II", 2**20, 2**20)
        refused(data[: entry + 20] + sizes + data[entry + 28 :], "the members of the thing claim more bytes than")

    def test_metadata_over_the_limit(self, members: Members) -> None:
        with npz.opened(packed(members), "thing") as reader:
            size = len(members["metadata.npy"])
            assert reader.metadata(size) == METADATA
            with pytest.raises(ArtifactError, match=f"expected at most {size - 1} bytes of metadata; got {size}"):
                reader.metadata(size - 1)

    @pytest.mark.parametrize("text", [b"", b"{", b"\xff{}", b'"\\ud800"', b"[" * 100_000, b"1" * 10_000])
    def test_metadata_that_are_no_json(self, text: bytes, members: Members) -> None:
        spoilt = packed({**members, "metadata.npy": npy(np.frombuffer(text, np.uint8))})
        refused(spoilt, r"metadata\.npy is not JSON in UTF-8")

    @pytest.mark.parametrize("array", [np.zeros((2, 3), np.uint8), np.zeros(3, np.int8), np.array(1, np.uint8)])
    def test_metadata_that_are_no_bytes(self, array: NDArray[Any], members: Members) -> None:
        refused(packed({**members, "metadata.npy": npy(array)}), r"metadata\.npy: expected \.npy 1\.0 with the header")

    def test_arrays_that_are_missing_or_not_known(self, members: Members) -> None:
        members["more.npy"] = members.pop("count.npy")
        refused(packed(members), r"missing \['count\.npy'\], not known \['more\.npy'\]")

    @pytest.mark.parametrize("name", ["matrix", "count", "empty"])
    @pytest.mark.parametrize(
        "array",
        [np.zeros((2, 3)), np.zeros((3, 2), np.float32), np.zeros(7, np.float32), np.zeros(1, np.int64)],
        ids=lambda array: f"{array.dtype}{array.shape}",
    )
    def test_an_array_of_another_dtype_or_shape(self, name: str, array: NDArray[Any], members: Members) -> None:
        refused(packed({**members, f"{name}.npy": npy(array)}), rf"{name}\.npy: expected \.npy 1\.0 with the header")

    @pytest.mark.parametrize("change", [-1, 1, 4])
    def test_an_array_cut_or_lengthened(self, change: int, members: Members) -> None:
        content = members["matrix.npy"]
        members["matrix.npy"] = content[:change] if change < 0 else content + bytes(change)
        refused(packed(members), rf"matrix\.npy: expected .*; got .* and {24 + change} bytes")


class TestOpened:
    """What goes wrong while the file is read."""

    def test_a_description_that_cannot_be_is_one_of_the_file(self, members: Members) -> None:
        message = "^the metadata of the thing cannot be used: #/x: wrong$"
        with pytest.raises(ArtifactError, match=message), npz.opened(packed(members), "thing"):
            raise SpecError.at("#/x", "wrong")

    def test_an_artifact_error_stays_as_it_is(self, members: Members) -> None:
        with pytest.raises(ArtifactError, match=r"^mine$"), npz.opened(packed(members), "thing"):
            raise ArtifactError("mine")

    def test_a_mistake_of_the_program_is_not_hidden(self, members: Members) -> None:
        with pytest.raises(AttributeError), npz.opened(packed(members), "thing"):
            raise AttributeError
