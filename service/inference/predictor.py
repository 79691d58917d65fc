"""Answers prediction requests with models that stay loaded."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future

from nn.model import Model
from service.domain import JSONObject, ModelReference, ModelVersion
from service.errors import InvalidInput
from service.inference.answer import explanations, predictions
from service.inference.decode import Body
from service.registry import Registry

MAX_ANSWER = 2_000_000  # numbers in one answer


class Predictor:
    """Keeps the versions used last in memory. Safe from several threads at once: a loaded model is only read."""

    def __init__(self, registry: Registry, *, default_model: str, max_loaded: int, max_samples: int) -> None:
        self.default_model = default_model
        self._registry = registry
        self._max_loaded = max_loaded
        self._max_samples = max_samples
        self._models: OrderedDict[str, Future[Model]] = OrderedDict()
        self._lock = threading.Lock()

    def predict(self, name: str | None, body: Body, *, explain: bool = False) -> JSONObject:
        """The answer to one request, by the model `name`, else that which the body names, else the default.

        Raises `NotFound`, and `nn.InputError` or `InvalidInput` for samples that the model cannot take.
        """
        if name is not None and body.model is not None and name != body.model:
            raise InvalidInput(f"the address asks for {name[:80]!r}, the body for {body.model[:80]!r}: name one model")
        named = (given for given in (name, body.model, self.default_model) if given is not None)
        version = self._registry.resolve(ModelReference.parse(next(named)))
        model = self.model(version)
        raw = body.read(model.metadata.features, self._max_samples)
        if len(raw) * model.n_outputs > MAX_ANSWER:
            raise InvalidInput(
                f"{len(raw)} samples with {model.n_outputs} outputs each make too large an answer: send fewer samples"
            )
        answers = predictions(model, model.predict(raw))
        if explain:
            for answer, saw in zip(answers, explanations(model, raw), strict=True):
                answer["saw"] = saw
        return {"model": version.name, "version": version.version, "predictions": answers}

    def model(self, version: ModelVersion) -> Model:
        """A version, loaded; whoever comes while it is being loaded waits for that one. Raises `StorageError`."""
        with self._lock:
            future = self._models.get(version.sha256)
            if future is not None:
                self._models.move_to_end(version.sha256)
            else:
                loading = self._models[version.sha256] = Future()
                if len(self._models) > self._max_loaded:
                    self._models.popitem(last=False)
        if future is not None:
            return future.result()
        try:
            loading.set_result(self._registry.load(version).frozen())
        except BaseException as error:
            with self._lock:
                self._models.pop(version.sha256, None)
            loading.set_exception(error)
            raise
        return loading.result()

    @property
    def loaded(self) -> int:
        """How many versions are in memory."""
        return len(self._models)

    def check(self) -> None:
        """Loads the default model. Raises `NotFound` or `StorageError` with what is missing."""
        self.model(self._registry.resolve(ModelReference.parse(self.default_model)))
