"""`POST /predict` of a real server with bodies that it takes."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from nn.datasets import DATASETS
from nn.features import Raw
from tests.integration.support import ask, encoded, get, is_problem, npy

NPY = "application/x-npy"
Digits = tuple[Raw, list[int]]


def labels(response: httpx.Response) -> list[int]:
    assert response.status_code == 200, response.text
    return [prediction["label"] for prediction in response.json()["predictions"]]


@pytest.mark.parametrize("name", DATASETS)
def test_the_example_of_a_model_is_a_body_it_accepts(name: str, http: httpx.Client) -> None:
    example = http.get(f"/models/{name}/example", headers={"Accept": "application/json"})
    assert example.headers["Content-Type"] == "application/json"
    response = ask(http, example.content, model=name)
    assert (response.status_code, response.json()["model"], response.json()["version"]) == (200, name, 1)
    assert len(response.json()["predictions"]) == 1


def test_the_example_picture_is_a_body_that_is_accepted(http: httpx.Client) -> None:
    picture = http.get("/models/mnist/example", headers={"Accept": "image/png"})
    assert picture.headers["Content-Type"] == "image/png"
    as_numbers = http.post("/predict", json=get(http, "/models/mnist/example"))
    assert labels(ask(http, picture.content, "image/png")) == labels(as_numbers)


@pytest.mark.parametrize("name", ["heart", "toy-regression"])
def test_a_model_without_pictures_has_no_picture_for_an_example(name: str, http: httpx.Client) -> None:
    assert 400 <= http.get(f"/models/{name}/example", headers={"Accept": "image/png"}).status_code < 500


class TestAnswer:
    def test_of_a_classifier(self, http: httpx.Client, digits: Digits) -> None:
        pictures, truth = digits
        body = {"inputs": (pictures[:20].reshape(20, -1) / 255).tolist()}
        response = http.post("/predict", json=body)
        assert labels(response) == truth[:20]
        for told in response.json()["predictions"]:
            assert len(told["probabilities"]) == 10
            assert sum(told["probabilities"]) == pytest.approx(1, abs=1e-5)
            assert told["probability"] == max(told["probabilities"]) == told["probabilities"][told["label"]]

    def test_of_a_binary_classifier(self, http: httpx.Client) -> None:
        (told,) = http.post("/predict?model=heart", json=get(http, "/models/heart/example")).json()["predictions"]
        assert told["label"] in (0, 1)
        assert told["probabilities"][told["label"]] == told["probability"] >= 0.5
        assert sum(told["probabilities"]) == pytest.approx(1, abs=1e-6)

    def test_of_a_regression(self, http: httpx.Client) -> None:
        response = http.post("/predict", json={"model": "toy-regression", "inputs": [[0.35], [0.7], [-1]]})
        values = [told["value"] for told in response.json()["predictions"]]
        assert [len(value) for value in values] == [1, 1, 1]
        # The bell of the data: near its top, on its right side, and where it has all but ended.
        assert values[0] == pytest.approx([0.8], abs=0.1)
        assert values[0][0] > values[1][0] > 0.4 > 0.1 > values[2][0]

    def test_a_missing_cell_is_null(self, http: httpx.Client) -> None:
        (record,) = get(http, "/models/heart/example")["records"]
        nothing_known = dict.fromkeys(record)
        response = http.post("/predict?model=heart", json={"records": [record, nothing_known]})
        assert response.status_code == 200
        assert len(response.json()["predictions"]) == 2

    def test_numbers_that_overflow_in_the_network_are_null_and_not_nan(self, http: httpx.Client) -> None:
        (record,) = get(http, "/models/heart/example")["records"]
        response = http.post("/predict?model=heart", json={"records": [record | {"age": 3e38, "cholesterol": -3e38}]})
        assert response.status_code == 200
        assert "NaN" not in response.text
        assert "Infinity" not in response.text


class TestWhichModel:
    @pytest.mark.parametrize("reference", ["toy-regression", "toy-regression@1", "toy-regression@latest"])
    @pytest.mark.parametrize("where", ["query", "body"])
    def test_by_name_version_or_alias(self, reference: str, where: str, http: httpx.Client) -> None:
        body = {"inputs": [[0.5]]} | ({"model": reference} if where == "body" else {})
        response = http.post("/predict", json=body, params={"model": reference} if where == "query" else {})
        assert (response.json()["model"], response.json()["version"]) == ("toy-regression", 1)

    def test_without_a_name_the_default(self, http: httpx.Client) -> None:
        assert http.post("/predict", json=get(http, "/models/mnist/example")).json()["model"] == "mnist"

    def test_the_query_and_the_body_must_not_name_two(self, http: httpx.Client) -> None:
        body = {"model": "mnist", "inputs": [[0.5]]}
        is_problem(http.post("/predict?model=toy-regression", json=body), 422)
        body["model"] = "toy-regression"
        assert http.post("/predict?model=toy-regression", json=body).json()["model"] == "toy-regression"


class TestArrays:
    @pytest.mark.parametrize(
        "arrange",
        [
            pytest.param(lambda x: x, id="bytes"),
            pytest.param(lambda x: x.reshape(len(x), -1), id="rows of bytes"),
            pytest.param(lambda x: (x / 255).astype("<f4"), id="float32"),
            pytest.param(lambda x: (x / 255).astype(">f4"), id="big-endian"),
            pytest.param(lambda x: (x / 255).astype("f8"), id="float64"),
            pytest.param(lambda x: (x / 255).astype("f2").reshape(len(x), -1), id="float16"),
            pytest.param(lambda x: np.asfortranarray(x / 255), id="Fortran order"),
            pytest.param(lambda x: np.asfortranarray(x.reshape(len(x), -1)), id="rows in Fortran order"),
        ],
    )
    def test_an_array_in_any_dress(
        self, arrange: Callable[[Raw], NDArray[Any]], http: httpx.Client, digits: Digits
    ) -> None:
        pictures, truth = digits
        assert labels(ask(http, npy(arrange(pictures[:8])), NPY)) == truth[:8]

    def test_one_picture_needs_no_outer_axis(self, http: httpx.Client, digits: Digits) -> None:
        pictures, truth = digits
        assert labels(ask(http, npy(pictures[0]), NPY)) == truth[:1]
        assert labels(http.post("/predict", json={"inputs": (pictures[0] / 255).tolist()})) == truth[:1]

    @pytest.mark.parametrize("dtype", ["f4", ">f8", "i8", "u1"])
    def test_numbers_for_a_regression(self, dtype: str, http: httpx.Client) -> None:
        response = ask(http, npy(np.array([[0], [1]], dtype)), NPY, model="toy-regression")
        same = http.post("/predict?model=toy-regression", json={"inputs": [[0], [1.0]]})
        assert response.json() == same.json()


def enlarged(digit: Image.Image) -> Image.Image:
    return digit.resize((280, 280), Image.Resampling.BICUBIC)


def coloured(digit: Image.Image) -> Image.Image:
    return ImageOps.colorize(enlarged(digit), (250, 230, 90), (20, 30, 120))


def transparent(digit: Image.Image) -> Image.Image:
    """Dark strokes on nothing at all."""
    picture = Image.new("RGBA", (280, 280), (10, 10, 10, 0))
    picture.putalpha(enlarged(digit))
    return picture


def off_centre(digit: Image.Image) -> Image.Image:
    picture = Image.new("L", (400, 300), 255)
    picture.paste(ImageOps.invert(digit.resize((90, 90))), (10, 200))
    return picture


def turned_by_exif(digit: Image.Image) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side: to be shown turned clockwise
    return encoded(enlarged(digit).rotate(90), "JPEG", exif=exif)


PICTURES: dict[str, tuple[str, Callable[[Image.Image], bytes]]] = {
    "as it is": ("png", encoded),
    "enlarged": ("png", lambda digit: encoded(enlarged(digit))),
    "inverted": ("png", lambda digit: encoded(ImageOps.invert(enlarged(digit)))),
    "coloured": ("png", lambda digit: encoded(coloured(digit))),
    "transparent": ("png", lambda digit: encoded(transparent(digit))),
    "off the centre": ("png", lambda digit: encoded(off_centre(digit))),
    "palette": ("png", lambda digit: encoded(coloured(digit).quantize(16))),
    "one bit": ("png", lambda digit: encoded(enlarged(digit).convert("1", dither=Image.Dither.NONE))),
    "grey with alpha": ("png", lambda digit: encoded(transparent(digit).convert("LA"))),
    "jpeg": ("jpeg", lambda digit: encoded(ImageOps.invert(enlarged(digit)), "JPEG", quality=60)),
    "jpeg of four inks": ("jpeg", lambda digit: encoded(coloured(digit).convert("CMYK"), "JPEG")),
    "jpeg turned by EXIF": ("jpeg", turned_by_exif),
    "webp": ("webp", lambda digit: encoded(coloured(digit), "WEBP")),
    "bmp": ("bmp", lambda digit: encoded(coloured(digit), "BMP")),
    "very large": ("png", lambda digit: encoded(digit.resize((3000, 2800)))),
}


class TestPictures:
    @pytest.mark.parametrize("dress", PICTURES)
    def test_a_digit_is_read_in_any_dress(self, dress: str, http: httpx.Client, digits: Digits) -> None:
        pictures, truth = digits
        kind, make = PICTURES[dress]
        for index in range(4):  # 7, 2, 1, 0
            body = make(Image.fromarray(pictures[index]))
            assert labels(ask(http, body, f"image/{kind}")) == [truth[index]]

    def test_several_in_one_form_are_answered_in_their_order(self, http: httpx.Client, digits: Digits) -> None:
        pictures, truth = digits
        files = [("image", (f"{i}.png", encoded(Image.fromarray(pictures[i])), "image/png")) for i in range(5)]
        assert labels(http.post("/predict", files=files)) == truth[:5]

    def test_parameters_of_the_content_type_do_not_matter(self, http: httpx.Client, digits: Digits) -> None:
        pictures, truth = digits
        assert labels(ask(http, encoded(Image.fromarray(pictures[0])), "IMAGE/PNG; charset=binary")) == truth[:1]


class TestExplain:
    def test_a_picture_is_told_as_the_model_saw_it(self, http: httpx.Client, digits: Digits) -> None:
        pictures, _ = digits
        own = Image.fromarray(pictures[0])
        for picture in (own, ImageOps.invert(own), coloured(own)):
            (told,) = ask(http, encoded(picture), "image/png", explain="true").json()["predictions"]
            saw = Image.open(io.BytesIO(base64.b64decode(told["saw"]["png"])))
            assert (saw.format, saw.size, saw.mode) == ("PNG", (28, 28), "L")
            assert np.abs(np.asarray(saw).astype(int) - pictures[0]).mean() < 8

    def test_numbers_are_told_as_they_went_in(self, http: httpx.Client) -> None:
        response = http.post("/predict?model=heart&explain=true", json=get(http, "/models/heart/example"))
        inputs = response.json()["predictions"][0]["saw"]["inputs"]
        assert len(inputs) == get(http, "/models/heart/versions/1")["inputs"]["n_inputs"]
        assert all(abs(number) < 10 for number in inputs), "scaled and one-hot"

    def test_without_it_nothing_is_told(self, http: httpx.Client) -> None:
        assert "saw" not in http.post("/predict", json=get(http, "/models/mnist/example")).text
