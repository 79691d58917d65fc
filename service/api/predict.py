"""`/predict`: pictures, numbers and records in, answers out."""

from __future__ import annotations

from typing import Annotated

import orjson
from anyio import to_thread
from fastapi import APIRouter, Query, Request, Response

from service.api import schemas
from service.api.bodies import read_prediction
from service.api.context import Here

router = APIRouter(tags=["predict"])

_ANSWER = {
    "model": "mnist",
    "version": 3,
    "predictions": [{"label": 7, "probability": 0.998, "probabilities": [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.998]}],
}


@router.post(
    "/predict",
    openapi_extra=schemas.body(schemas.PREDICT_BODIES),
    responses={200: {"content": {"application/json": {"example": _ANSWER}}}},
)
async def predict(
    request: Request,
    here: Here,
    model: Annotated[str | None, Query(description="name, name@version or name@alias")] = None,
    explain: Annotated[bool, Query(description="tell what the model saw")] = False,
) -> Response:
    """One answer a picture, row or record; each names what the model took it for, or its value."""
    body = await read_prediction(request, here.settings)

    def answer() -> bytes:
        told = here.predictor.predict(model, body, explain=explain)
        return orjson.dumps(told, option=orjson.OPT_SERIALIZE_NUMPY)

    return Response(await to_thread.run_sync(answer, limiter=here.heavy), media_type="application/json")
