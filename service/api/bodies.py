"""Reading the bodies of requests."""

from __future__ import annotations

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException

from service.errors import InvalidInput, UnsupportedFormat
from service.inference.decode import Body, JSONBody, NpyBody, PictureBody
from service.settings import Settings

JSON_TYPE = "application/json"
NPY_TYPE = "application/x-npy"
FORM_TYPE = "multipart/form-data"
PICTURE_TYPES = ("image/png", "image/jpeg", "image/webp", "image/bmp")
PREDICT_TYPES = (JSON_TYPE, *PICTURE_TYPES, FORM_TYPE, NPY_TYPE)


def content_type(request: Request, *expected: str) -> str:
    """The media type of the body, without parameters. Raises `UnsupportedFormat` unless it is one of `expected`."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", ""):
        raise UnsupportedFormat(f"expected a body that is not compressed; got Content-Encoding: {encoding[:40]}")
    found = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if found not in expected:
        came = f"Content-Type: {found[:80]}" if found else "no Content-Type"
        raise UnsupportedFormat(f"expected Content-Type {' or '.join(expected)}; got {came}")
    return found


async def read_prediction(request: Request, settings: Settings) -> Body:
    """The body of a prediction request, by its content type; not looked into yet. Raises `ServiceError`."""
    kind = content_type(request, *PREDICT_TYPES)
    if kind == FORM_TYPE:
        return PictureBody(await _form_files(request, settings.max_samples), settings.max_pixels)
    data = await request.body()
    if kind == JSON_TYPE:
        return JSONBody(data)
    if kind == NPY_TYPE:
        return NpyBody(data)
    return PictureBody([data], settings.max_pixels)


async def _form_files(request: Request, max_files: int) -> list[bytes]:
    try:
        form = await request.form(max_files=max_files, max_fields=0)
    except (MultiPartException, HTTPException, ValueError) as error:
        detail = getattr(error, "message", None) or getattr(error, "detail", "its header makes no sense")
        raise InvalidInput(
            f"the multipart body cannot be read: {detail}; send up to {max_files} pictures as files, and nothing else"
        ) from None
    try:
        files = [await value.read() for _, value in form.multi_items() if isinstance(value, UploadFile)]
    finally:
        await form.close()
    if not files:
        raise InvalidInput("expected at least one picture as a file, as in curl -F image=@seven.png; got none")
    return files
