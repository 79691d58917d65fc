"""What a real server does not take: each a clear 4xx, and nothing half done afterwards."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from nn.features import Raw
from tests.integration.conftest import MAX_BODY, MAX_SAMPLES
from tests.integration.support import JSON, Server, ask, encoded, get, is_problem, nothing_left_behind, npy

NPY = "application/x-npy"
PNG = "image/png"


@pytest.fixture(scope="class", autouse=True)
def _nothing_half_done(server: Server) -> Iterator[None]:
    with nothing_left_behind(server):
        yield


def dense(units: object) -> JSON:
    return {"type": "dense", "units": units}


def network(*layers: object) -> JSON:
    return {"network": {"layers": list(layers)}}


def training(**fields: object) -> JSON:
    return {"training": fields}


def optimizer(**fields: object) -> JSON:
    return training(optimizer={"type": "sgd", **fields})


def mnist(*layers: object) -> JSON:
    return {"dataset": "mnist", **network(*layers)}


def conv(filters: object = 4, **fields: object) -> JSON:
    return {"type": "conv2d", "filters": filters, **fields}


FLATTEN = {"type": "flatten"}


JOBS: dict[str, tuple[JSON, str]] = {
    "no data set": ({}, "#/dataset"),
    "unknown data set": ({"dataset": "iris"}, "mnist, heart, toy-regression"),
    "data set as a number": ({"dataset": 7}, "#/dataset"),
    "unknown field": ({"dataset": "heart", "optimiser": "sgd"}, "#/optimiser"),
    "unknown field of the training": ({"dataset": "heart", **training(epoch=3)}, "#/training/epoch"),
    "unknown layer": ({"dataset": "heart", **network({"type": "transformer"})}, "transformer"),
    "layer without a type": ({"dataset": "heart", **network({"units": 8})}, "type"),
    "layer as a word": ({"dataset": "heart", **network("relu")}, "#/network/layers/0"),
    "unknown field of a layer": ({"dataset": "heart", **network({**dense(1), "bias": False})}, "bias"),
    "unknown initializer": ({"dataset": "heart", **network({**dense(1), "initializer": "zeros"})}, "xavier"),
    "unknown optimizer": ({"dataset": "heart", **training(optimizer={"type": "lion"})}, "sgd"),
    "unknown loss": ({"dataset": "heart", **training(loss="hinge")}, "binary_cross_entropy"),
    "loss of another task": ({"dataset": "heart", **training(loss="mean_squared_error")}, "binary_cross_entropy"),
    "no layers": ({"dataset": "heart", **network()}, "items"),
    "65 layers": ({"dataset": "heart", **network(*[{"type": "relu"}] * 65)}, "64"),
    "layers of another kind": ({"dataset": "heart", "network": {"layers": {}}}, "#/network/layers"),
    "last layer that does not fit": ({"dataset": "mnist", **network(dense(11))}, "dense with 10 units"),
    "last layer of a regression": ({"dataset": "toy-regression", **network(dense(2))}, "dense with 1 unit"),
    "last layer that is no dense one": ({"dataset": "heart", **network({"type": "relu"})}, "dense with 1 unit"),
    "too much memory": ({"dataset": "mnist", **network(dense(1_000_000), dense(10))}, "fewer units"),
    "no early stopping without validation": (
        {"dataset": "heart", **training(validation_fraction=0, early_stopping={"patience": 3})},
        "validation_fraction",
    ),
    "unknown layer, told with all others": (
        mnist({"type": "transformer"}),
        "max_pool2d, average_pool2d, flatten, global_",
    ),
    "picture layer for a table": ({"dataset": "heart", **network(conv(), FLATTEN, dense(1))}, "#/network/layers/0"),
    "picture layer for numbers": ({"dataset": "toy-regression", **network(FLATTEN, dense(1))}, "rows of 1 numbers"),
    "network that ends in pictures": (mnist(conv(10)), "put flatten or global_average_pool2d"),
    "dense layer behind pictures": (mnist(conv(), dense(10)), "#/network/layers/1"),
    "picture layer behind rows": (mnist(FLATTEN, conv(), FLATTEN, dense(10)), "#/network/layers/1"),
    "kernel larger than the picture": (
        mnist(conv(kernel_size=29), FLATTEN, dense(10)),
        "#/network/layers/0/kernel_size",
    ),
    "field larger than the picture": (
        mnist({"type": "max_pool2d", "pool_size": 29}, FLATTEN, dense(10)),
        "#/network/layers/0/pool_size",
    ),
    "unknown padding": (mnist(conv(padding="full"), FLATTEN, dense(10)), "#/network/layers/0/padding"),
    "dropout of all": (mnist({"type": "dropout", "rate": 1}, dense(10)), "#/network/layers/0/rate"),
    "dropout of nothing said": (mnist({"type": "dropout"}, dense(10)), "#/network/layers/0/rate"),
    "too much memory for pictures": (
        mnist(conv(4096, kernel_size=64, padding="same"), FLATTEN, dense(10)),
        "fewer units",
    ),
    "unknown optimizer, told with all others": (
        {"dataset": "heart", **training(optimizer={"type": "lion"})},
        "sgd, rmsprop, adam, adamw",
    ),
    "field of another optimizer": (
        {"dataset": "heart", **training(optimizer={"type": "adam", "momentum": 0.9})},
        "#/training/optimizer/momentum",
    ),
    "nesterov without momentum": ({"dataset": "heart", **optimizer(nesterov=True)}, "set a momentum"),
    "unknown schedule": ({"dataset": "heart", **training(schedule={"type": "linear"})}, "reduce_on_plateau"),
    "schedule without a type": ({"dataset": "heart", **training(schedule={"every": 3})}, "#/training/schedule"),
    "schedule of no length": (
        {"dataset": "heart", **training(schedule={"type": "step", "every": 0})},
        "#/training/schedule/every",
    ),
    "class weights of a regression": (
        {"dataset": "toy-regression", **training(class_weights=[1])},
        "no classes; leave",
    ),
    "class weights of another length": ({"dataset": "heart", **training(class_weights=[1, 1, 1])}, "2 labels"),
    "class weights of 0": ({"dataset": "heart", **training(class_weights=[0, 0])}, "#/training/class_weights"),
    "class weight below 0": ({"dataset": "heart", **training(class_weights=[1, -1])}, "#/training/class_weights/1"),
    "smoothed labels of a regression": (
        {"dataset": "toy-regression", **training(label_smoothing=0.1)},
        "#/training/label_smoothing",
    ),
    "augmentation of a table": ({"dataset": "heart", **training(augmentation={"shift": 1})}, "has none; leave it out"),
    "augmentation beyond its range": (
        {"dataset": "mnist", **training(augmentation={"rotation": 181})},
        "#/training/augmentation/rotation",
    ),
    "metadata as a list": ({"dataset": "heart", "metadata": [1]}, "#/metadata"),
    "network as a list": ({"dataset": "heart", "network": []}, "#/network"),
    "training as a word": ({"dataset": "heart", "training": "long"}, "#/training"),
    **{
        f"model {name!r}": ({"dataset": "heart", "model": name}, "model")
        for name in ("../x", "..", "", "A", "a/b", "a@1", 7)
    },
    **{
        f"{units} units": ({"dataset": "heart", **network(dense(units), dense(1))}, "#/network/layers/0/units")
        for units in (0, -1, 1.5, True, None, "8", 10**12)
    },
    **{
        f"{field} {value!r}": ({"dataset": "heart", **training(**{field: value})}, f"#/training/{field}")
        for field, values in {
            "epochs": (0, -3, 2.0, "5", True, None, 10**9),
            "batch_size": (0, -16, 0.5, 10**9),
            "seed": (-1, 1.5, 2**53),
            "validation_fraction": (-0.1, 1, 0.0001, "0.1"),
            "clip_norm": (0, -1, "1", True),
            "label_smoothing": (-0.1, 1, None),
        }.items()
        for value in values
    },
    **{
        f"{field} {value!r}": ({"dataset": "heart", **optimizer(**{field: value})}, f"#/training/optimizer/{field}")
        for field, values in {
            "learning_rate": (0, -0.1, "0.1", None, 1e300),
            "momentum": (-0.1, 1, 2),
            "nesterov": (1, "yes"),
        }.items()
        for value in values
    },
}


class TestJob:
    @pytest.mark.parametrize("case", JOBS)
    def test_that_cannot_be_carried_out(self, case: str, http: httpx.Client) -> None:
        body, told = JOBS[case]
        is_problem(http.post("/jobs", json=body), 422, told)


ANY_PATH = pytest.mark.parametrize("path", ["/jobs", "/predict"])


class TestJSON:
    @ANY_PATH
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b" ",
            b"{",
            b"{'dataset': 'heart'}",
            b"\xff\xfe{\0}\0",
            b"\0",
            b'{"a": 1,}',
            b'{"a": "\\ud800"}',
            b"{} {}",
        ],
    )
    def test_that_is_none(self, path: str, body: bytes, http: httpx.Client) -> None:
        response = http.post(path, content=body, headers={"Content-Type": "application/json"})
        assert is_problem(response, 400)["type"] == "/problems/malformed-json"

    @ANY_PATH
    @pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1" + "0" * 400])
    def test_with_a_number_that_is_not_finite(self, path: str, number: str, http: httpx.Client) -> None:
        body = '{"dataset": "heart", "metadata": {"x": %s}, "model": "toy-regression", "inputs": [[%s]]}'
        content = (body % (number, number)).encode()
        is_problem(http.post(path, content=content, headers={"Content-Type": "application/json"}), 400)

    @ANY_PATH
    @pytest.mark.parametrize("body", ["null", "[]", "7", '"heart"', "true", "[[0.5]]"])
    def test_of_another_kind(self, path: str, body: str, http: httpx.Client) -> None:
        response = http.post(path, content=body, headers={"Content-Type": "application/json"})
        is_problem(response, 422, "expected an object")

    @ANY_PATH
    @pytest.mark.parametrize("opening", ["[", '{"a":'])
    @pytest.mark.parametrize("depth", [40, 100, 10_000, 200_000])
    def test_nested_deeply(self, path: str, opening: str, depth: int, http: httpx.Client) -> None:
        deep = opening * depth + "1" + ("]" if opening == "[" else "}") * depth
        body = f'{{"dataset": "heart", "metadata": {{"x": {deep}}}}}'
        response = http.post(path, content=body, headers={"Content-Type": "application/json"})
        if depth < 1000:
            is_problem(response, 422, "nested more than")
        else:
            is_problem(response, 400, "depth limit exceeded")


class TestNumbers:
    @pytest.mark.parametrize(
        ("inputs", "pointer"),
        [
            ([], "#/inputs"),
            ([[]], "#/inputs/0"),
            ([[], []], "#/inputs/0"),
            (None, "#/inputs"),
            (0.5, "#/inputs"),
            ("0.5", "#/inputs"),
            ({}, "#/inputs"),
            ([0.5], "#/inputs/0"),
            ([None], "#/inputs/0"),
            ([{"x": 0.5}], "#/inputs/0"),
            ([[0.5, 0.5]], "#/inputs/0"),
            ([[0.5], [0.5, 0.5]], "#/inputs/1"),
            ([[0.5], []], "#/inputs/1"),
            ([[0.5], 0.5], "#/inputs/1"),
            ([["0.5"]], "#/inputs/0/0"),
            ([[True]], "#/inputs/0/0"),
            ([[None]], "#/inputs/0/0"),
            ([[{}]], "#/inputs/0/0"),
            ([[0.5], ["NaN"]], "#/inputs/1/0"),
            ([[1e300]], "#/inputs/0/0"),
            ([[0.5], [-1e300]], "#/inputs/1/0"),
            ([[[0.5]]], "#/inputs"),
            ([[[0.5], 0.5]], "#/inputs/0/0"),
            ([[[[0.5]]]], "#/inputs/0/0/0"),
            ([[[]]], "#/inputs"),
        ],
    )
    def test_rows_that_a_regression_cannot_take(self, inputs: object, pointer: str, http: httpx.Client) -> None:
        response = http.post("/predict?model=toy-regression", json={"inputs": inputs})
        body = is_problem(response, 422)
        assert body["errors"][0]["pointer"] == pointer

    @pytest.mark.parametrize("n", [1, 783, 785])
    def test_a_picture_of_the_wrong_length(self, n: int, http: httpx.Client) -> None:
        is_problem(
            http.post("/predict?model=mnist", json={"inputs": [[0.0] * n]}), 422, "expected 784 numbers", f"got {n}"
        )

    def test_a_picture_of_the_wrong_shape(self, http: httpx.Client) -> None:
        is_problem(http.post("/predict?model=mnist", json={"inputs": [[[0.0] * 27] * 28]}), 422, "28×28")

    @pytest.mark.parametrize("value", [253, 1.01, -0.01])
    def test_intensities_that_are_bytes(self, value: float, http: httpx.Client) -> None:
        inputs = [[0.0] * 784, [0.0] * 700 + [value] + [0.0] * 83]
        is_problem(http.post("/predict?model=mnist", json={"inputs": inputs}), 422, "[0, 1]", "#/inputs/1/700", "255")

    @pytest.mark.parametrize(
        ("body", "told"),
        [
            ({}, "inputs"),
            ({"inputs": [[0.5]], "records": [{}]}, "either"),
            ({"inputs": [[0.5]], "instances": [[0.5]]}, "#/instances"),
            ({"inputs": [[0.5]], "model": 7}, "#/model"),
            ({"inputs": [[0.5]], "model": ["mnist"]}, "#/model"),
            ({"inputs": [[0.5]], "model": ""}, "model"),
        ],
    )
    def test_fields(self, body: JSON, told: str, http: httpx.Client) -> None:
        is_problem(http.post("/predict", json=body), 422, told)


class TestRecords:
    @pytest.fixture
    def record(self, http: httpx.Client) -> JSON:
        record: JSON = get(http, "/models/heart/example")["records"][0]
        return record

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            ({"thal": ...}, "missing column"),
            ({"shoe_size": 43}, "unknown column"),
            ({"a/b~c": 1}, "#/records/1/a~1b~0c"),
            ({"age": "63"}, "expected a number"),
            ({"age": True}, "expected a number"),
            ({"age": [63]}, "expected a number"),
            ({"age": 1e300}, "finite"),
            ({"sex": "Male"}, "'female', 'male'"),
            ({"sex": 1}, "'female', 'male'"),
            ({"sex": True}, "'female', 'male'"),
            ({"sex": ["male"]}, "'female', 'male'"),
        ],
    )
    def test_a_column_that_is_not_as_it_should_be(
        self, change: JSON, told: str, record: JSON, http: httpx.Client
    ) -> None:
        changed = {name: value for name, value in (record | change).items() if value is not ...}
        body = is_problem(http.post("/predict?model=heart", json={"records": [record, changed]}), 422, told)
        (error,) = body["errors"]
        assert error["pointer"].startswith("#/records/1/")

    @pytest.mark.parametrize("records", [[], None, {}, "x", [None], [[1]], ["x"], [{}]])
    def test_what_is_no_list_of_records(self, records: object, http: httpx.Client) -> None:
        is_problem(http.post("/predict?model=heart", json={"records": records}), 422, "#/records")

    def test_to_a_model_that_takes_numbers(self, record: JSON, http: httpx.Client) -> None:
        is_problem(http.post("/predict?model=toy-regression", json={"records": [record]}), 422, "inputs")

    def test_numbers_to_a_model_that_takes_records(self, http: httpx.Client) -> None:
        is_problem(http.post("/predict?model=heart", json={"inputs": [[0.5] * 13]}), 422, "records")
        is_problem(ask(http, npy(np.zeros((1, 13))), NPY, model="heart"), 422, "records")

    def test_of_very_many_mistakes_some_are_told(self, http: httpx.Client) -> None:
        body = is_problem(http.post("/predict?model=heart", json={"records": [{}] * 1000}), 422)
        assert 1 < len(body["errors"]) <= 20


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int = 8, colour: int = 0, pixels: bytes = b"") -> bytes:
    """A PNG file made by hand, which may declare more than it has."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def bmp(width: int, height: int) -> bytes:
    data = bytearray(encoded(Image.new("L", (8, 8)), "BMP"))
    struct.pack_into("<ii", data, 18, width, height)
    return bytes(data)


FRAMES: JSON = {"save_all": True, "append_images": [Image.linear_gradient("L")]}
GRADIENT = Image.radial_gradient("L")
NOT_A_PICTURE = "not a picture that can be read"
PICTURES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "empty"),
    "a text": (b"seven", NOT_A_PICTURE),
    "a GIF": (encoded(GRADIENT, "GIF"), NOT_A_PICTURE),
    "a TIFF": (encoded(GRADIENT, "TIFF"), NOT_A_PICTURE),
    "an SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', NOT_A_PICTURE),
    "the signature alone": (b"\x89PNG\r\n\x1a\n", NOT_A_PICTURE),
    "a truncated PNG": (encoded(GRADIENT)[:1000], "not whole"),
    "a truncated JPEG": (encoded(GRADIENT, "JPEG")[:1000], "not whole"),
    "a truncated BMP": (encoded(GRADIENT, "BMP")[:5000], "not whole"),
    "a PNG with a flipped bit": (encoded(GRADIENT)[:500] + b"\0\1" + encoded(GRADIENT)[502:], "damaged"),
    "a PNG without pixels": (png(28, 28), "not whole"),
    "an animated WebP": (encoded(GRADIENT, "WEBP", **FRAMES), "animation"),
    "an animated PNG": (encoded(GRADIENT, "PNG", **FRAMES), "animation"),
    "a grey PNG of 16 bits": (encoded(Image.fromarray(np.eye(28, dtype=np.uint16) * 40_000)), "16 bits"),
    "a coloured PNG of 16 bits": (png(28, 28, 16, 2, (b"\0" + bytes(6 * 28)) * 28), "16 bits"),
    "a PNG that declares 50,000×50,000": (png(50_000, 50_000, pixels=bytes(1000)), "50000×50000"),
    "a PNG that declares a line of 2³¹-1": (png(2**31 - 1, 1), "limit"),
    "a BMP that declares 50,000×50,000": (bmp(50_000, 50_000), "50000×50000"),
    "a BMP of negative size": (bmp(-8, -8), "the"),
    "a PNG of no size": (png(0, 0), NOT_A_PICTURE),
    "an even surface": (encoded(Image.new("L", (28, 28), 128)), "even colour"),
    "a transparent nothing": (encoded(Image.new("RGBA", (28, 28))), "even colour"),
}


class TestPictures:
    @pytest.mark.parametrize("case", PICTURES)
    def test_that_cannot_be_read(self, case: str, http: httpx.Client) -> None:
        data, told = PICTURES[case]
        is_problem(ask(http, data, PNG), 422, told)

    def test_among_others_the_bad_one_is_named(self, http: httpx.Client) -> None:
        good = encoded(GRADIENT)
        response = http.post("/predict", files=[("image", good), ("image", good[:1000]), ("image", good)])
        assert is_problem(response, 422, "not whole")["errors"][0]["pointer"] == "#/1"

    @pytest.mark.parametrize("model", ["heart", "toy-regression"])
    def test_to_a_model_that_takes_none(self, model: str, http: httpx.Client) -> None:
        is_problem(ask(http, encoded(GRADIENT), PNG, model=model), 422, "not picture files", "JSON")


def header(shape: str, descr: str = "'|u1'", data: bytes = b"") -> bytes:
    """An `.npy` file made by hand, whose header may promise anything."""
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


ZEROS = np.zeros((1, 784), np.float32)
ARRAYS: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "not a .npy array"),
    "a text": (b"seven", "not a .npy array"),
    "the magic alone": (b"\x93NUMPY\x01\x00", "not a .npy array"),
    "a version to come": (b"\x93NUMPY\x09\x00" + bytes(100), "1.0 or 2.0"),
    "a header without end": (b"\x93NUMPY\x02\x00" + b"\xff" * 4 + b"{" * 1000, "not a .npy array"),
    "a header that does not end": (header("(1, 784").replace(b"}", b" "), "not a .npy array"),
    "a nested header": (header("(" * 5000 + ")" * 5000), "not a .npy array"),
    "a header that calls": (header("__import__('os').abort()"), "not a .npy array"),
    "Python objects": (npy(np.array([[object]], dtype=object), allow_pickle=True), "never unpickled"),
    "an object that would be unpickled": (header("(1,)", "'|O'", b"cos\nsystem\n(S'true'\ntR."), "never unpickled"),
    "10¹² promised": (header("(1, 1000000000000)"), "promises"),
    "10³⁰ promised": (header(f"(10, {10**30})"), "promises"),
    "cut": (npy(ZEROS)[:-1], "promises float32 of the shape (1, 784)"),
    "more than promised": (npy(ZEROS) + b"\0", "promises float32 of the shape (1, 784)"),
    "a structure": (npy(np.zeros(1, [("a", "f4"), ("b", "i4")])), "real numbers"),
    "strings": (npy(np.full((1, 784), "0")), "real numbers"),
    "bytes strings": (npy(np.full((1, 784), b"0")), "real numbers"),
    "complex numbers": (npy(ZEROS.astype(complex)), "real numbers"),
    "dates": (npy(np.zeros((1, 784), "M8[s]")), "real numbers"),
    "whole numbers": (npy(np.zeros((1, 784), np.int64)), "int64"),
    "truth values": (npy(np.zeros((1, 784), bool)), "bool"),
    "NaN": (npy(np.full((1, 784), np.nan)), "finite"),
    "infinity": (npy(np.full((1, 784), np.inf, np.float16)), "finite"),
    "1e300": (npy(np.full((1, 784), 1e300)), "finite"),
    "bytes as floats": (npy(np.full((1, 784), 255.0)), "[0, 1]"),
    "a scalar": (npy(np.array(0.5)), "()"),
    "a row alone": (npy(ZEROS[0]), "(784,)"),
    "no rows": (npy(ZEROS[:0]), "at least one row"),
    "rows of nothing": (npy(np.zeros((2, 0))), "got 0"),
    "rows of 783": (npy(ZEROS[:, 1:]), "expected 784 numbers"),
    "four axes": (npy(np.zeros((1, 1, 28, 28))), "(1, 1, 28, 28)"),
    "negative sides": (header("(-1, -784)", data=bytes(784)), "(-1, -784)"),
    "a negative side of nothing": (header("(0, -5)"), "(0, -5)"),
    "10³⁰ of nothing": (header(f"({10**30}, 0)"), "shape"),
    "true for 1": (header("(True, 784)", data=bytes(784)), "(True, 784)"),
    "seventy axes": (header(f"({'1,' * 70})", data=b"\0"), "shape"),
}


class TestArrays:
    @pytest.mark.parametrize("case", ARRAYS)
    def test_that_cannot_be_used(self, case: str, http: httpx.Client) -> None:
        data, told = ARRAYS[case]
        is_problem(ask(http, data, NPY, model="mnist"), 422, told)

    def test_numbers_out_of_range_for_a_regression(self, http: httpx.Client) -> None:
        is_problem(ask(http, npy(np.array([[1e39]])), NPY, model="toy-regression"), 422, "float32")


class TestForms:
    @pytest.fixture
    def picture(self, digits: tuple[Raw, list[int]]) -> bytes:
        return encoded(Image.fromarray(digits[0][0]))

    def test_without_a_file(self, http: httpx.Client) -> None:
        is_problem(ask(http, b"--x--\r\n", "multipart/form-data; boundary=x"), 422, "at least one picture")

    def test_with_a_field_of_text(self, picture: bytes, http: httpx.Client) -> None:
        is_problem(http.post("/predict", files={"image": picture}, data={"model": "mnist"}), 422, "nothing else")

    def test_with_too_many_files(self, picture: bytes, http: httpx.Client) -> None:
        is_problem(
            http.post("/predict", files=[("image", picture[:50])] * (MAX_SAMPLES + 1)), 422, f"up to {MAX_SAMPLES}"
        )

    @pytest.mark.parametrize(
        "kind", ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=x"]
    )
    def test_that_is_none(self, kind: str, http: httpx.Client) -> None:
        is_problem(ask(http, b"seven" * 100, kind), 422, "multipart")

    def test_that_ends_too_early(self, picture: bytes, http: httpx.Client) -> None:
        part = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n' + picture[:100]
        is_problem(ask(http, part, "multipart/form-data; boundary=x"), 422)

    def test_with_a_header_without_end(self, http: httpx.Client) -> None:
        is_problem(ask(http, b"--x\r\nX: " + b"y" * 1_000_000, "multipart/form-data; boundary=x"), 422)


class TestSize:
    def test_that_is_declared(self, http: httpx.Client) -> None:
        is_problem(ask(http, bytes(MAX_BODY + 1), PNG), 413, f"{MAX_BODY:,}", f"{MAX_BODY + 1:,} are declared")

    @pytest.mark.parametrize("kind", [PNG, NPY, "application/json", "multipart/form-data; boundary=x"])
    def test_that_comes_in_pieces_and_is_not_declared(self, kind: str, http: httpx.Client) -> None:
        def pieces() -> Iterator[bytes]:
            yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
            yield from [bytes(MAX_BODY // 16)] * 17

        response = http.post("/predict", content=pieces(), headers={"Content-Type": kind})
        is_problem(response, 413, f"{MAX_BODY:,} bytes; more came")

    def test_what_just_fits_is_read(self, http: httpx.Client) -> None:
        is_problem(ask(http, bytes(MAX_BODY), PNG), 422, NOT_A_PICTURE)


class TestContentType:
    @pytest.mark.parametrize(
        ("path", "headers"),
        [
            ("/jobs", {}),
            ("/jobs", {"Content-Type": "text/plain"}),
            ("/jobs", {"Content-Type": "application/x-www-form-urlencoded"}),
            ("/jobs", {"Content-Type": "application/json", "Content-Encoding": "gzip"}),
            ("/predict", {}),
            ("/predict", {"Content-Type": ""}),
            ("/predict", {"Content-Type": "image/gif"}),
            ("/predict", {"Content-Type": "image/*"}),
            ("/predict", {"Content-Type": "application/x-www-form-urlencoded"}),
            ("/predict", {"Content-Type": "application/octet-stream"}),
            ("/predict", {"Content-Type": "application/jsonx"}),
            ("/predict", {"Content-Type": "\u00e4" * 1000}),
            ("/predict", {"Content-Type": PNG, "Content-Encoding": "gzip"}),
            ("/predict", {"Content-Type": PNG, "Content-Encoding": "br, gzip"}),
        ],
    )
    def test_that_is_not_read_here(self, path: str, headers: dict[str, str], http: httpx.Client) -> None:
        sent = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        is_problem(http.post(path, content=b'{"dataset": "heart"}', headers=sent), 415, "expected")


class TestModel:
    @pytest.mark.parametrize("where", ["query", "body"])
    @pytest.mark.parametrize(
        ("model", "status"),
        [
            ("unheard-of", 404),
            ("mnist@77", 404),
            ("mnist@champion", 404),
            ("mnist@" + "9" * 40, 404),
            ("mnist@0", 404),
            ("../mnist", 422),
            ("..", 422),
            ("mnist/1", 422),
            ("mnist@", 422),
            ("mnist@../x", 422),
            ("mnist@1@2", 422),
            ("mnist@-1", 422),
            ("mnist@¹", 422),
            ("@", 422),
            ("MNIST", 422),
            ("mnist\0", 422),
            ("mnist\n", 422),
            ("x" * 5000, 422),
        ],
    )
    def test_that_is_not_there_or_cannot_be(self, where: str, model: str, status: int, http: httpx.Client) -> None:
        body: Any = {"inputs": [[0.5]]} | ({"model": model} if where == "body" else {})
        is_problem(http.post("/predict", json=body, params={"model": model} if where == "query" else {}), status)

    @pytest.mark.parametrize("query", ["explain=maybe", "explain=", "model=%ff%fe", "model="])
    def test_parameters(self, query: str, http: httpx.Client) -> None:
        is_problem(http.post(f"/predict?{query}", json={"inputs": [[0.0] * 784]}), 422, query.partition("=")[0])


def test_what_is_told_of_a_very_long_input_is_short(http: httpx.Client) -> None:
    long = "x" * 100_000
    bodies = [{"dataset": long}, {"dataset": "heart", long: 1}, {"dataset": "heart", "metadata": long}]
    bodies += [
        {"dataset": "heart", "model": long},
        {"dataset": "heart", "training": dict.fromkeys(map(str, range(10_000)))},
    ]
    for body in bodies:
        response = http.post("/jobs", json=body)
        is_problem(response, 422)
        assert len(response.content) < 5000
    assert len(json.dumps(bodies)) > 100_000
