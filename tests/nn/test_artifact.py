from __future__ import annotations

import copy
import io
import json
import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nn import ArtifactError, Model, complete, dumps, loads, train
from nn.activations import Array
from nn.artifact import FORMAT_VERSION
from nn.features import TableFeatures
from nn.run import test as measured_again
from nn.schema import to_json
from tests.nn.support import DTYPES

Members = dict[str, bytes]
Metadata = dict[str, Any]
WEIGHT = "layers.0.weight.npy"
NPY_MAGIC = b"\x93NUMPY\x01\x00"
FORMAT_1 = Path(__file__).parent / "data" / "format-1"  # what the first release trained


def small_model(dataset: str, dtype: str = "float32") -> Model:
    n_outputs = 10 if dataset == "few-digits" else 1
    network = {
        "layers": [{"type": "dense", "units": 3}, {"type": "tanh"}, {"type": "dense", "units": n_outputs}],
        "dtype": dtype,
    }
    return train(complete(dataset, network, {"epochs": 1, "batch_size": 1024}))[0]


def model_for_pictures(dtype: str = "float32") -> Model:
    """Of a data set that the fixture `few_digits` puts there, with every kind of array that a network has."""
    layers = [
        *({"type": "conv2d", "filters": 2, "stride": 3}, {"type": "batch_norm"}, {"type": "relu"}),
        *({"type": "max_pool2d"}, {"type": "flatten"}, {"type": "batch_norm"}, {"type": "dense", "units": 10}),
    ]
    training = {"epochs": 1, "batch_size": 16, "class_weights": [1, 2] * 5, "optimizer": {"type": "adamw"}}
    return train(complete("few-digits", {"layers": layers, "dtype": dtype}, training))[0]


@pytest.fixture(scope="module")
def model() -> Model:
    return small_model("toy-regression")


@pytest.fixture(scope="module")
def data(model: Model) -> bytes:
    return dumps(model)


@pytest.fixture
def members(data: bytes) -> Members:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def metadata(model: Model) -> Metadata:
    return copy.deepcopy(to_json(model.metadata))


def packed(members: Members | list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    """A zip of these members, its checksums right whatever they hold."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items() if isinstance(members, dict) else members:
            archive.writestr(name, content)
    return buffer.getvalue()


def npy(array: np.ndarray[Any, Any], *, allow_pickle: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=allow_pickle)
    return buffer.getvalue()


def npy_of_text(text: str | bytes) -> bytes:
    return npy(np.frombuffer(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"), np.uint8))


def with_metadata(members: Members, metadata: object) -> bytes:
    return packed({**members, "metadata.npy": npy_of_text(json.dumps(metadata))})


def refused(data: bytes, message: str) -> None:
    with pytest.raises(ArtifactError, match=message) as caught:
        loads(data)
    assert len(str(caught.value)) < 1000
    assert " at 0x" not in str(caught.value)


class TestRoundTrip:
    @pytest.mark.usefixtures("few_digits")
    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("dataset", ["few-digits", "heart", "toy-regression"])
    def test_a_model_comes_back_the_same(self, dataset: str, dtype: str) -> None:
        original = small_model(dataset, dtype)
        loaded = loads(dumps(original))
        assert loaded.metadata == original.metadata
        np.testing.assert_array_equal(loaded.network.vector, original.network.vector)
        assert loaded.network.dtype == dtype
        assert dumps(loaded) == dumps(original)

    @pytest.mark.usefixtures("few_digits")
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_with_its_running_statistics(self, dtype: str) -> None:
        original = model_for_pictures(dtype)
        loaded = loads(dumps(original))
        assert loaded.metadata == original.metadata
        assert list(loaded.network.arrays) == [
            *(f"layers.0.{name}" for name in ("weight", "bias")),
            *(f"layers.{at}.{name}" for at in (1,) for name in ("scale", "shift", "mean", "variance")),
            *(f"layers.{at}.{name}" for at in (5,) for name in ("scale", "shift", "mean", "variance")),
            *(f"layers.6.{name}" for name in ("weight", "bias")),
        ]
        for name, values in original.network.arrays.items():
            np.testing.assert_array_equal(loaded.network.arrays[name], values, strict=True)
        raw = loaded.metadata.features.read_array(np.array(original.metadata.example["inputs"]))
        np.testing.assert_array_equal(loaded.predict(raw), original.predict(raw))
        assert dumps(loaded) == dumps(original)

    def test_it_predicts_the_same_from_raw_records(self) -> None:
        original = small_model("heart")
        loaded = loads(dumps(original))
        assert isinstance(loaded.metadata.features, TableFeatures)
        raw = loaded.metadata.features.read_records(original.metadata.example["records"])
        np.testing.assert_array_equal(loaded.predict(raw), original.predict(raw))

    def test_what_is_loaded_is_its_own(self, data: bytes) -> None:
        loaded = loads(data)
        loaded.network.vector[...] = 0
        assert loads(data).network.vector.any()

    def test_numpy_alone_reads_it(self, model: Model, data: bytes) -> None:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            assert set(archive.files) == {"metadata", *model.network.arrays}
            for name, values in model.network.arrays.items():
                np.testing.assert_array_equal(archive[name], values)
                assert archive[name].dtype == values.dtype
            told = json.loads(archive["metadata"].tobytes())
        assert told == to_json(model.metadata)
        assert told["format_version"] == FORMAT_VERSION
        assert told["spec"]["training"]["seed"] == 1

    def test_what_other_zip_tools_write_is_read(self, model: Model, members: Members) -> None:
        """With the clock's time in it, and in another order."""
        again = loads(packed(dict(reversed(members.items()))))
        assert again.metadata == model.metadata
        np.testing.assert_array_equal(again.network.vector, model.network.vector)


def relu(x: Array) -> Array:
    return np.maximum(x, np.float32(0))


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


class TestFormat1:
    """Of the release before convolutions, whose descriptions have fewer fields."""

    def loaded(self, name: str) -> tuple[Model, dict[str, Any]]:
        """The model, and what NumPy alone reads in its file."""
        data = (FORMAT_1 / f"{name}.npz").read_bytes()
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            found = {member: archive[member] for member in archive.files}
        found["metadata"] = json.loads(found["metadata"].tobytes())
        assert found["metadata"]["format_version"] == 1
        return loads(data), found

    def test_of_numbers_answers_what_its_arrays_give(self) -> None:
        model, found = self.loaded("toy-regression")
        x = np.linspace(-2, 2, 101)[:, np.newaxis]
        y = x.astype(np.float32)
        for layer in (0, 2, 4):
            y = y @ found[f"layers.{layer}.weight"] + found[f"layers.{layer}.bias"]
            y = y if layer == 4 else np.tanh(y)
        answers = model.predict(model.metadata.features.read_array(x))
        np.testing.assert_array_equal(answers, y, strict=True)

    def test_of_a_table_answers_what_its_arrays_give(self) -> None:
        model, found = self.loaded("heart")
        (record,) = found["metadata"]["example"]["records"]
        records = [record, {**record, "age": 30, "sex": "female"}, {**record, "thal": None, "cholesterol": None}]
        x = np.zeros((len(records), 23), np.float32)
        for row, cells in zip(x, records, strict=True):
            encoded: list[float] = []
            for column in found["metadata"]["features"]["columns"]:
                cell = cells[column["name"]]
                if column["categories"]:
                    chosen = column["categories"].index(cell) if cell is not None else column["fill"]
                    encoded += [float(index == chosen) for index in range(len(column["categories"]))]
                else:
                    number = column["fill"] if cell is None else cell
                    encoded.append((number - column["mean"]) / column["deviation"])
            row[:] = encoded
        hidden = relu(x @ found["layers.0.weight"] + found["layers.0.bias"])
        logits = hidden @ found["layers.2.weight"] + found["layers.2.bias"]
        np.testing.assert_array_equal(model.network.logits(x), logits, strict=True)
        answers = model.predict(model.metadata.features.read_records(records))
        np.testing.assert_allclose(answers, sigmoid(logits), rtol=1e-6)
        assert len(set(answers[:, 0].tolist())) == 3

    @pytest.mark.parametrize("name", ["heart", "toy-regression"])
    def test_has_its_arrays_bit_for_bit_and_its_old_figures(self, name: str) -> None:
        model, found = self.loaded(name)
        assert set(found) == {"metadata", *model.network.arrays}
        for array, values in model.network.arrays.items():
            np.testing.assert_array_equal(values, found[array], strict=True)
        told = found["metadata"]["metrics"]
        assert measured_again(model) == pytest.approx({name: told[name] for name in told if name.startswith("test_")})

    @pytest.mark.parametrize("name", ["heart", "toy-regression"])
    def test_what_its_description_leaves_out_is_what_it_meant(self, name: str) -> None:
        model, found = self.loaded(name)
        training = to_json(model.metadata.spec.training)
        told = found["metadata"]["spec"]["training"]
        assert training.items() >= (told | {"optimizer": {**told["optimizer"], "weight_decay": 0}}).items()
        assert (training["schedule"], training["clip_norm"]) == ({"type": "constant"}, None)
        assert (training["label_smoothing"], training["class_weights"], training["augmentation"]) == (0, None, None)

    @pytest.mark.parametrize("name", ["heart", "toy-regression"])
    def test_can_be_written_and_read_again(self, name: str) -> None:
        model, _ = self.loaded(name)
        again = loads(dumps(model))
        assert dumps(again) == dumps(model)
        np.testing.assert_array_equal(again.network.vector, model.network.vector)
        assert again.metadata.spec == model.metadata.spec

    @pytest.mark.parametrize("name", ["heart", "toy-regression"])
    def test_the_run_can_be_carried_out_again(self, name: str) -> None:
        model, _ = self.loaded(name)
        spec = model.metadata.spec
        assert complete(spec.dataset, to_json(spec.network), to_json(spec.training)) == spec


class TestDamage:
    """Whatever becomes of the bytes: `ArtifactError`, or the same model where it did no harm; nothing else."""

    def harmless(self, spoilt: bytes) -> bool:
        try:
            loads(spoilt)
        except ArtifactError:
            return False
        return True

    def test_cut_anywhere(self, data: bytes) -> None:
        assert not any(self.harmless(data[:length]) for length in range(len(data)))

    @pytest.mark.parametrize("flip", [0x01, 0xFF])
    def test_any_byte_changed(self, flip: int, data: bytes) -> None:
        for place in range(len(data)):
            spoilt = bytearray(data)
            spoilt[place] ^= flip
            if self.harmless(bytes(spoilt)):
                assert dumps(loads(bytes(spoilt))) == data

    def test_a_gap_or_a_repetition(self, data: bytes) -> None:
        for place in range(0, len(data) - 16, 16):
            for spoilt in (data[:place] + data[place + 16 :], data[:place] + data[place : place + 16] + data[place:]):
                if self.harmless(spoilt):
                    assert dumps(loads(spoilt)) == data

    @pytest.mark.parametrize("name", ["metadata.npy", WEIGHT])
    def test_any_byte_changed_by_someone_who_mends_the_checksum(self, name: str, members: Members) -> None:
        for place in range(len(members[name])):
            content = bytearray(members[name])
            content[place] ^= (0x01, 0x10, 0xFF)[place % 3]
            spoilt = packed({**members, name: bytes(content)})
            if self.harmless(spoilt):  # another number somewhere: a model like any other
                assert np.isfinite(loads(dumps(loads(spoilt))).network.vector).all()

    @pytest.mark.parametrize("name", ["metadata.npy", WEIGHT])
    def test_a_member_cut_or_lengthened(self, name: str, members: Members) -> None:
        content = members[name]
        for spoilt in (*(content[:length] for length in range(len(content))), content + b"\0", content * 2):
            assert not self.harmless(packed({**members, name: spoilt}))


class TestForeign:
    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"PK\x03\x04",
            b"PK\x05\x06" + bytes(18),
            b"not a zip",
            bytes(1000),
            npy(np.ones(3)),
            pickle.dumps({"a": 1}),
            b"\x89PNG\r\n\x1a\n" + bytes(100),
        ],
        ids=["empty", "a start", "no members", "text", "zeros", "npy", "pickle", "png"],
    )
    def test_no_npz(self, data: bytes) -> None:
        refused(data, "not a whole .npz file that trainserve wrote|not an artifact of trainserve")

    @pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
    def test_another_npz(self, save: Callable[..., None]) -> None:
        buffer = io.BytesIO()
        save(buffer, weights=np.ones(3))
        refused(buffer.getvalue(), r"not an artifact of trainserve: it has no member metadata\.npy")

    @pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    def test_compressed(self, compression: int, members: Members) -> None:
        refused(packed(members, compression), "compressed; trainserve stores them plain")

    def test_a_zip_bomb_costs_nothing(self, members: Members) -> None:
        bomb = packed({**members, WEIGHT: bytes(50 * 2**20)}, zipfile.ZIP_DEFLATED)
        assert len(bomb) < 2**20
        tracemalloc.start()
        try:
            refused(bomb, "compressed")
            assert tracemalloc.get_traced_memory()[1] < 2**20
        finally:
            tracemalloc.stop()

    def test_members_that_overlap_or_claim_too_much(self, data: bytes) -> None:
        """The size in the central directory, of a member that claims to be stored plain."""
        entry = data.index(b"PK\x01\x02")
        for claimed in (2**20, 2**31, 2**32 - 2):
            sizes = struct.pack("<II", claimed, claimed)
            refused(data[: entry + 20] + sizes + data[entry + 28 :], "claim more bytes than the file has|not a whole")

    @pytest.mark.parametrize("size", ["right", 0, 2**31, 2**63, 2**64 - 1])
    @pytest.mark.parametrize("offset", [0, 2**63, 2**64 - 1])
    def test_a_directory_that_is_nowhere(self, size: int | str, offset: int, data: bytes) -> None:
        """As zip64 tells it, which has 64 bits for each number."""
        end = data.rindex(b"PK\x05\x06")
        told = end - data.index(b"PK\x01\x02") if isinstance(size, str) else size
        record = struct.pack("<4sQHHLLQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, 5, 5, told, offset)
        locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
        last = struct.pack("<4sHHHHLLH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
        refused(data[:end] + record + locator + last, "not a whole .npz file|not an artifact of trainserve")

    def test_encrypted(self, data: bytes) -> None:
        entry = data.index(b"PK\x01\x02")
        flags = struct.pack("<H", struct.unpack_from("<H", data, entry + 8)[0] | 1)
        refused(data[: entry + 8] + flags + data[entry + 10 :], "encrypted")


class TestMembers:
    @pytest.mark.parametrize("name", [WEIGHT, "layers.2.bias.npy"])
    def test_missing(self, name: str, members: Members) -> None:
        del members[name]
        refused(packed(members), f"not those of what it describes: missing .'{name}'.")

    @pytest.mark.parametrize(
        "name",
        [
            "../../evil.npy",
            "/etc/passwd",
            "..\\evil.npy",
            "layers.9.weight.npy",
            "evil/",
            "layers.0.weight",
            "x" * 60_000,
        ],
    )
    def test_unknown(self, name: str, members: Members) -> None:
        refused(packed({**members, name: b""}), "not those of what it describes: missing .., not known .")

    def test_without_its_suffix(self, members: Members) -> None:
        members["layers.0.weight"] = members.pop(WEIGHT)
        refused(packed(members), f"missing .'{WEIGHT}'., not known .'layers.0.weight'.")

    def test_twice(self, members: Members) -> None:
        with pytest.warns(UserWarning, match="Duplicate name"):
            doubled = packed([*members.items(), (WEIGHT, members[WEIGHT])])
        refused(doubled, "two members of one name")

    @pytest.mark.parametrize(
        "array",
        [
            np.ones((1, 3), np.float64),
            np.ones((1, 3), np.float16),
            np.ones((1, 3), np.int32),
            np.ones((1, 3), ">f4"),
            np.ones((3, 1), np.float32),
            np.ones(3, np.float32),
            np.ones((1, 3, 1), np.float32),
            np.ones((1, 4), np.float32),
            np.ones((0, 3), np.float32),
            np.array(1, np.float32),
            np.ones((1, 3), "f4,f4"),
            np.array([["a", "b", "c"]]),
        ],
        ids=lambda array: f"{array.dtype}{array.shape}",
    )
    def test_of_another_dtype_or_shape(self, array: np.ndarray[Any, Any], members: Members) -> None:
        refused(packed({**members, WEIGHT: npy(array)}), rf"{WEIGHT}: expected .*'<f4'.*\(1, 3\).*; got ")

    def test_in_fortran_s_order(self, members: Members) -> None:
        header = b"{'descr': '<f4', 'fortran_order': True, 'shape': (1, 3), }\n"
        content = NPY_MAGIC + struct.pack("<H", len(header)) + header + bytes(12)
        assert np.load(io.BytesIO(content)).shape == (1, 3)
        refused(packed({**members, WEIGHT: content}), "'fortran_order': True")

    @pytest.mark.parametrize(
        "header",
        [
            b"{[]: 1}",
            b"{1: 2, 'descr': 3}",
            b"(" * 5000,
            b"'''",
            b"\xff\xfe",
            b"{'descr': '<f4', 'fortran_order': False, 'shape': (1L, 3), }",
            b"{'descr': 'a', 'fortran_order': False, 'shape': (1, 3), }",
            b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -3), }",
            b"__import__('os').system('true')",
        ],
    )
    def test_with_a_header_made_to_harm_whoever_evaluates_it(self, header: bytes, members: Members) -> None:
        content = NPY_MAGIC + struct.pack("<H", len(header)) + header + bytes(12)
        refused(packed({**members, WEIGHT: content}), f"{WEIGHT}: expected .npy 1.0 with the header .*; got ")

    @pytest.mark.parametrize("version", [b"\x02\x00", b"\x03\x00", b"\x00\x00", b"\xff\xff"])
    def test_in_another_version_of_the_format(self, version: bytes, members: Members) -> None:
        content = members[WEIGHT]
        refused(packed({**members, WEIGHT: content[:6] + version + content[8:]}), "expected .npy 1.0")

    @pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
    def test_with_numbers_that_are_not_finite(self, number: float, members: Members) -> None:
        array = np.array([[1, number, 1]], np.float32)
        refused(packed({**members, WEIGHT: npy(array)}), r"layers\.0\.weight holds numbers that are not finite")

    @pytest.mark.usefixtures("few_digits")
    @pytest.mark.parametrize(
        ("name", "number", "message"),
        [
            ("layers.1.variance", -1e-6, "holds variances below 0"),
            ("layers.5.variance", np.nan, "holds numbers that are not finite"),
            ("layers.5.mean", np.inf, "holds numbers that are not finite"),
        ],
    )
    def test_with_statistics_that_cannot_be(self, name: str, number: float, message: str) -> None:
        model = model_for_pictures()
        model.network.arrays[name][1] = number
        refused(dumps(model), rf"{name} {message}")

    @pytest.mark.parametrize("name", [WEIGHT, "metadata.npy"])
    def test_with_objects_which_are_never_unpickled(self, name: str, members: Members) -> None:
        array = np.array([[Canary()] * 3], object)
        refused(packed({**members, name: npy(array, allow_pickle=True)}), f"{name}: expected")
        assert not Canary.hatched


class Canary:
    """Unpickling it leaves a trace."""

    hatched: list[int] = []  # noqa: RUF012

    def __reduce__(self) -> tuple[Callable[[int], None], tuple[int]]:
        return Canary.hatched.append, (1,)


def changed(path: str, value: object) -> Callable[[Metadata], None]:
    """A change of one field, `changed("task/n_values", 2)`."""

    def change(metadata: Metadata) -> None:
        *above, last = path.split("/")
        place: Any = metadata
        for step in above:
            place = place[int(step) if isinstance(place, list) else step]
        place[int(last) if isinstance(place, list) else last] = value

    return change


class TestMetadata:
    @pytest.mark.parametrize(
        "text",
        [
            "",
            "metadata",
            "{",
            "nul",
            b"\xff\xfe{}",
            '{"format_version": 1, "dataset_sha256": "\ud800"}',
            '{"format_version": 1, "dataset_sha256": "\\ud800"}',
            "[" * 100_000,
            '{"a":' * 100_000,
            "1" * 10_000,
        ],
        ids=lambda text: repr(text[:20]),
    )
    def test_no_json(self, text: str | bytes, members: Members) -> None:
        refused(packed({**members, "metadata.npy": npy_of_text(text)}), r"metadata\.npy is not JSON in UTF-8")

    @pytest.mark.parametrize("found", [[], "text", 1, None, {}, {"format_version": "1"}])
    def test_no_version(self, found: object, members: Members) -> None:
        refused(with_metadata(members, found), "expected format version 1 or 2; got ")

    @pytest.mark.parametrize("version", [0, 3, -1, True, 10**400, "2", "x" * 1000, [1], 1.5, None])
    def test_another_version(self, version: object, members: Members, metadata: Metadata) -> None:
        refused(with_metadata(members, metadata | {"format_version": version}), "expected format version 1 or 2; got ")

    def test_a_version_that_is_no_whole_number(self, members: Members, metadata: Metadata) -> None:
        refused(with_metadata(members, metadata | {"format_version": 2.0}), "#/format_version: expected a whole number")

    def test_too_long(self, members: Members, metadata: Metadata) -> None:
        metadata["library_versions"]["padding"] = "x" * 9 * 2**20
        refused(with_metadata(members, metadata), "expected at most 8388608 bytes of metadata; got ")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (changed("surprise", 1), "#/surprise: unknown field"),
            (changed("spec/network/layers", []), "#/spec/network/layers: expected 1 to 64 items"),
            (changed("spec/network/layers/1/type", "swish"), "#/spec/network/layers/1/type: expected one of"),
            (changed("spec/network/layers/0/units", 0), "#/spec/network/layers/0/units: expected a whole number"),
            (changed("spec/network/layers/0/units", 10**400), "#/spec/network/layers/0/units: expected"),
            (changed("spec/network/layers/0/units", True), "#/spec/network/layers/0/units: expected"),
            (changed("spec/training/epochs", "many"), "#/spec/training/epochs: expected"),
            (changed("features/type", "words"), "#/features/type: expected one of pixels, numbers, table"),
            (changed("features/n_inputs", 0), "#/features/n_inputs: expected"),
            (changed("features/n_inputs", 10**400), "#/features/n_inputs: expected"),
            (changed("features", None), "#/features: expected an object"),
            (changed("task/name", "clairvoyance"), "#/task/name: expected one of"),
            (changed("task/n_values", 10**400), "#/task/n_values: expected"),
            (changed("task/n_values", 0), "#/task: a classification needs at least two labels"),
            (changed("metrics/test_loss", float("nan")), "#/metrics/test_loss: expected a number"),
            (changed("metrics/test_loss", "low"), "#/metrics/test_loss: expected a number"),
            (
                changed("spec/network/layers/0", {"type": "conv2d", "filters": 3}),
                "#/network/layers/0: conv2d takes pict",
            ),
            (
                changed("spec/network/layers/0", {"type": "dropout", "rate": 1}),
                "#/spec/network/layers/0/rate: expected",
            ),
            (changed("spec/training/optimizer/type", "lion"), "#/spec/training/optimizer/type: expected one of"),
            (changed("spec/training/schedule", {}), "#/spec/training/schedule: expected an object with a"),
            (changed("library_versions", ["numpy"]), "#/library_versions: expected an object"),
            (changed("dataset_sha256", 5), "#/dataset_sha256: expected a string"),
        ],
    )
    def test_out_of_range(
        self, change: Callable[[Metadata], None], message: str, members: Members, metadata: Metadata
    ) -> None:
        change(metadata)
        refused(with_metadata(members, metadata), f"the metadata of the artifact cannot be used: {message}")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (changed("features/n_inputs", 2), "the example of the artifact"),
            (changed("spec/network/layers/0/units", 4), f"{WEIGHT}: expected .*(1, 4)"),
            (changed("spec/network/layers/0/units", 1_000_000), "larger than the file"),
            (changed("spec/network/dtype", "float64"), f"{WEIGHT}: expected .*'<f8'"),
            (changed("spec/network/layers", [{"type": "dense", "units": 1}]), "not known"),
            (changed("spec/network/layers", [{"type": "dense", "units": 1_000_000}] * 64), "missing"),
            (changed("spec/training/loss", "binary_cross_entropy"), "its task, regression, needs"),
            (changed("task/n_values", 2), r"gives \(1,\) by mean_squared_error; its task, regression, needs \(2,\)"),
            (changed("task", {"name": "classification", "labels": ["a", "b"]}), "its task, classification, needs"),
        ],
    )
    def test_that_do_not_go_with_the_numbers(
        self, change: Callable[[Metadata], None], message: str, members: Members, metadata: Metadata
    ) -> None:
        change(metadata)
        tracemalloc.start()
        try:
            refused(with_metadata(members, metadata), message)
            assert tracemalloc.get_traced_memory()[1] < 2**20
        finally:
            tracemalloc.stop()

    def test_inputs_that_do_not_go_with_the_numbers(self, members: Members, metadata: Metadata) -> None:
        metadata["features"]["n_inputs"] = 2
        metadata["example"] = {"inputs": [[0, 0]]}
        refused(with_metadata(members, metadata), rf"{WEIGHT}: expected .*\(2, 3\)")

    @pytest.mark.parametrize(
        "example",
        [
            {},
            {"inputs": []},
            {"inputs": 1},
            {"inputs": None},
            {"inputs": [[1, 2]]},
            {"inputs": [[1], [1, 2]]},
            {"inputs": [["x"]]},
            {"inputs": [[{}]]},
            {"inputs": [[float("nan")]]},
            {"inputs": [[1e300]]},
            {"inputs": [[10**400]]},
            {"inputs": [[1]], "more": 1},
            {"records": [{"x": 1}]},
        ],
        ids=lambda example: str(example)[:40],
    )
    def test_an_example_that_the_model_does_not_take(
        self, example: object, members: Members, metadata: Metadata
    ) -> None:
        refused(with_metadata(members, metadata | {"example": example}), "the example of the artifact")

    def test_an_example_of_lists_without_end(self, members: Members, metadata: Metadata) -> None:
        text = json.dumps(metadata | {"example": {"inputs": "HERE"}}).replace('"HERE"', "[" * 400 + "]" * 400)
        refused(packed({**members, "metadata.npy": npy_of_text(text)}), "the example of the artifact")

    @pytest.mark.parametrize(
        "records",
        [[], [1], [{}], [{"age": "old"}], "text", {"0": {}}],
        ids=str,
    )
    def test_records_that_the_model_does_not_take(self, records: object) -> None:
        heart = small_model("heart")
        with zipfile.ZipFile(io.BytesIO(dumps(heart))) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        refused(
            with_metadata(members, to_json(heart.metadata) | {"example": {"records": records}}),
            "the example of the artifact",
        )
