"""Answers prediction requests with models that stay loaded."""

from __future__ import annotations

import threading
from collections import OrderedDict

from nn.model import Model
from service.domain import JSONObject, ModelReference, ModelVersion
from service.inference.answer import explanations, predictions
from service.inference.decode import Body
from service.registry import Registry


class Predictor:
    """Keeps the versions used last in memory. Safe from several threads at once: a loaded model is only read."""

    def __init__(self, registry: Registry, *, default_model: str, max_loaded: int) -> None:
        self.default_model = default_model
        self._registry = registry
        self._max_loaded = max_loaded
        self._loaded: OrderedDict[str, Model] = OrderedDict()
        self._lock = threading.Lock()

    def predict(self, name: str | None, body: Body, *, explain: bool = False) -> JSONObject:
        """The answer to one request, by the model `name`, else that which the body names, else the default.

        Raises `NotFound`, and `nn.InputError` or `InvalidInput` for samples that the model cannot take.
        """
        named = (given for given in (name, body.model, self.default_model) if given is not None)
        version = self._registry.resolve(ModelReference.parse(next(named)))
        model = self.model(version)
        raw = body.read(model.metadata.features)
        answers = predictions(model, model.predict(raw))
        if explain:
            for answer, saw in zip(answers, explanations(model, raw), strict=True):
                answer["saw"] = saw
        return {"model": version.name, "version": version.version, "predictions": answers}

    def model(self, version: ModelVersion) -> Model:
        """A version, loaded. Raises `StorageError`."""
        with self._lock:
            model = self._loaded.get(version.sha256)
            if model is None:
                model = self._registry.load(version)
                while len(self._loaded) >= self._max_loaded:
                    self._loaded.popitem(last=False)
                self._loaded[version.sha256] = model
            else:
                self._loaded.move_to_end(version.sha256)
            return model

    @property
    def loaded(self) -> int:
        """How many versions are in memory."""
        return len(self._loaded)

    def check(self) -> None:
        """Loads the default model. Raises `NotFound` or `StorageError` with what is missing."""
        self.model(self._registry.resolve(ModelReference.parse(self.default_model)))
