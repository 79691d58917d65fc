"""Picture files → arrays of bytes, and back."""

from __future__ import annotations

import base64
import io
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from service.errors import InvalidInput
from service.resources import cores

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_DEPTH = 24  # the place of the bit depth, behind signature, chunk header, width and height
LARGEST_SIDE = 1024  # a digit does not need more; the arithmetic that follows is in floats

JPEG_SIGNATURE = b"\xff\xd8"
JPEG_SCAN = b"\xff\xda"
MAX_SCANS = 100  # a progressive JPEG has about ten; each costs a pass over the whole picture
_decoders = threading.Semaphore(cores())  # decoding is all arithmetic and memory: more at once would only wait

# The limit on pixels is checked by the reader of the request, against the setting, before anything is decoded.
Image.MAX_IMAGE_PIXELS = None


def open_picture(data: bytes) -> Image.Image:
    """The picture in a PNG, JPEG, WebP or BMP file; only its header has been read.

    Raises `InvalidInput` that says what is wrong with the file.
    """
    if not data:
        raise InvalidInput("expected a picture; got an empty body")
    if data.startswith(PNG_SIGNATURE) and data[PNG_DEPTH : PNG_DEPTH + 1] == b"\x10":
        raise InvalidInput("expected 8 bits a channel; got a PNG of 16 bits: save it with 8")
    if data.startswith(JPEG_SIGNATURE) and data.count(JPEG_SCAN) > MAX_SCANS:
        raise InvalidInput("the JPEG repeats its scans more often than any encoder does: save it anew")
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
        # A photo may carry a preview or a gain map behind its first picture (MPO); that is no animation.
        animated = picture.format != "MPO" and getattr(picture, "n_frames", 1) > 1
    except Exception:  # noqa: BLE001, RUF100  (decoders raise whatever a hostile file drives them to)
        raise InvalidInput(f"not a picture that can be read; expected {', '.join(FORMATS)}") from None
    if animated:
        raise InvalidInput("expected one picture; got an animation: send one of its frames")
    return picture


def decode(picture: Image.Image) -> NDArray[np.uint8]:
    """Its pixels: `(height, width)` grey, or `(height, width, 3 or 4)`; at most 1024 a side, larger ones are reduced.

    Raises `InvalidInput` where the file is damaged.
    """
    try:
        with _decoders:
            picture.load()
            return _pixels(picture)
    except Exception:  # noqa: BLE001, RUF100
        raise InvalidInput(f"the {picture.format} file is damaged or not whole; send it again") from None


def _pixels(picture: Image.Image) -> NDArray[np.uint8]:
    upright = ImageOps.exif_transpose(picture)
    if "A" in upright.getbands() or "a" in upright.getbands() or "transparency" in upright.info:
        upright = upright.convert("RGBA")
    else:
        upright = upright.convert("L" if upright.mode in ("1", "L") else "RGB")
    if max(upright.size) > LARGEST_SIDE:
        upright.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.BOX)
    return np.asarray(upright)


def encode_png(pixels: NDArray[Any]) -> bytes:
    """A grey PNG of `(height, width)` bytes, or intensities in [0, 1]."""
    if pixels.dtype != np.uint8:
        pixels = np.rint(pixels * 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def as_base64(pixels: NDArray[Any]) -> str:
    return base64.b64encode(encode_png(pixels)).decode()
