"""Settings → adapters → use cases → application; the only place that knows them all."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

from service.api.app import App, create_app
from service.api.context import Context
from service.dispatch.local import LocalDispatcher
from service.domain import ModelReference
from service.errors import ConfigurationError, ServiceError
from service.inference.predictor import Predictor
from service.jobs import Jobs
from service.ports import Database, Dispatcher
from service.repository import open_repository
from service.settings import Settings
from service.store import SqlJobRows
from service.worker import EXIT_SECONDS, Worker

log = logging.getLogger(__name__)


@dataclass
class Service:
    """A whole service: the application and what runs behind it."""

    settings: Settings
    app: App
    closing: threading.Event
    database: Database
    dispatcher: Dispatcher
    worker: Worker

    def start(self) -> None:
        """Begins to run jobs. Raises `ConfigurationError` where another process runs those of this database."""
        self.dispatcher.start(self.worker.run)


def build(settings: Settings) -> Service:
    """Puts a service together; nothing runs yet. Raises `ConfigurationError`."""
    try:
        ModelReference.parse(settings.default_model)
    except ServiceError as error:
        raise ConfigurationError(f"TRAINSERVE_DEFAULT_MODEL: {error.detail}") from None
    database, artifacts, registry = open_repository(settings)
    rows = SqlJobRows()
    worker = Worker(
        database,
        rows,
        registry,
        lease=settings.lease_seconds,
        max_attempts=settings.max_attempts,
        threads=settings.training_threads,
    )
    assert database.path is not None
    dispatcher = LocalDispatcher(
        database.path.with_suffix(".lock"),
        settings.slots,
        next_job=worker.next_job,
        nudge=worker.nudge,
        recover=lambda expired_only: worker.recover(expired_only=expired_only),
    )
    predictor = Predictor(
        registry,
        default_model=settings.default_model,
        max_loaded=settings.max_loaded_models,
        max_samples=settings.max_samples,
    )
    jobs = Jobs(database, rows, dispatcher, max_training_memory=settings.max_training_memory)
    closing = threading.Event()

    def check() -> None:
        database.ping()
        artifacts.check()
        predictor.check()

    def stop() -> None:
        worker.stop()
        dispatcher.close(EXIT_SECONDS + 1)
        database.close()

    context = Context(settings, jobs, registry, predictor, check, closing)
    return Service(settings, create_app(context, stop), closing, database, dispatcher, worker)
