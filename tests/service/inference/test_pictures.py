from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.errors import InvalidInput
from service.inference.pictures import LARGEST_SIDE, MAX_SCANS, as_base64, decode, encode_png, open_picture

GREY = Image.linear_gradient("L").resize((40, 30))
RED = Image.new("RGB", (40, 30), (200, 10, 10))


def file(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def read(data: bytes) -> NDArray[np.uint8]:
    return decode(open_picture(data))


def with_transparent_black() -> Image.Image:
    picture = Image.new("P", (40, 30), 0)
    picture.putpalette([0, 0, 0, 255, 255, 255])
    picture.paste(1, (10, 10, 20, 20))
    return picture


@pytest.mark.parametrize(
    ("data", "shape"),
    [
        pytest.param(file(GREY), (30, 40), id="grey PNG"),
        pytest.param(file(GREY.convert("1")), (30, 40), id="PNG of one bit"),
        pytest.param(file(GREY.convert("LA")), (30, 40, 4), id="grey PNG with alpha"),
        pytest.param(file(RED), (30, 40, 3), id="RGB PNG"),
        pytest.param(file(RED.convert("RGBA")), (30, 40, 4), id="RGBA PNG"),
        pytest.param(file(RED.quantize(4)), (30, 40, 3), id="PNG with a palette"),
        pytest.param(file(with_transparent_black(), transparency=0), (30, 40, 4), id="PNG with a transparent colour"),
        pytest.param(file(GREY, transparency=7), (30, 40, 4), id="grey PNG with a transparent grey"),
        pytest.param(file(GREY, "JPEG"), (30, 40), id="grey JPEG"),
        pytest.param(file(RED, "JPEG"), (30, 40, 3), id="RGB JPEG"),
        pytest.param(file(RED.convert("CMYK"), "JPEG"), (30, 40, 3), id="CMYK JPEG"),
        pytest.param(file(RED, "WEBP"), (30, 40, 3), id="WebP"),
        pytest.param(
            file(RED.convert("RGBA"), "WEBP", lossless=True, exact=True), (30, 40, 3), id="WebP without need of alpha"
        ),
        pytest.param(file(GREY, "BMP"), (30, 40), id="grey BMP"),
        pytest.param(file(RED, "BMP"), (30, 40, 3), id="RGB BMP"),
    ],
)
def test_what_comes_out(data: bytes, shape: tuple[int, ...]) -> None:
    pixels = read(data)
    assert pixels.dtype == np.uint8
    assert pixels.shape in (shape, (*shape[:2], 4))


def test_the_pixels_are_those_of_the_file() -> None:
    np.testing.assert_array_equal(read(file(GREY)), np.asarray(GREY))
    np.testing.assert_array_equal(read(file(RED))[0, 0], [200, 10, 10])


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [(1, lambda x: x), (3, lambda x: x[::-1, ::-1]), (6, lambda x: np.rot90(x, -1)), (8, np.rot90)],
)
def test_it_is_turned_as_the_camera_says(orientation: int, turned: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(read(file(GREY, exif=exif)), turned(np.asarray(GREY)))


@pytest.mark.parametrize(
    ("size", "expected"), [((2048, 512), (256, 1024)), ((100, 4096), (1024, 25)), ((1024, 3), (3, 1024))]
)
def test_a_large_one_is_reduced(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert max(expected) == LARGEST_SIDE
    assert read(file(Image.new("L", size))).shape == expected


def test_opening_decodes_nothing() -> None:
    """So that the size a header declares can be judged before any of it is allocated."""
    whole = file(GREY)
    assert open_picture(whole[:60]).size == (40, 30)
    with pytest.raises(InvalidInput, match="not whole"):
        read(whole[:60])


def test_a_jpeg_that_repeats_its_scans() -> None:
    whole = file(GREY, "JPEG")
    with pytest.raises(InvalidInput, match="scans"):
        open_picture(whole + b"\xff\xda" * MAX_SCANS)


def test_the_second_picture_of_a_phone_is_no_animation() -> None:
    photo = file(GREY, "MPO", save_all=True, append_images=[RED.convert("L")])
    assert read(photo).shape[:2] == (30, 40)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
def test_a_file_that_is_cut_anywhere_is_refused(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (30, 40), np.uint8)
    whole = file(Image.fromarray(noise), kind)
    for length in range(0, len(whole) * 9 // 10, max(1, len(whole) // 50)):
        with pytest.raises(InvalidInput):
            read(whole[:length])


@pytest.mark.parametrize("scale", [np.uint8(1), np.float32(255), np.float64(255)])
def test_a_png_of_bytes_or_of_intensities(scale: np.number[Any]) -> None:
    pixels = np.arange(784, dtype=np.uint8).reshape(28, 28)
    given = pixels if isinstance(scale, np.uint8) else (pixels / scale).astype(scale.dtype)
    png = encode_png(given)
    np.testing.assert_array_equal(read(png), pixels)
    assert base64.b64decode(as_base64(given)) == png
