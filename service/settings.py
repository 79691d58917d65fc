"""Every setting, each from a `TRAINSERVE_*` variable of the environment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from service import resources
from service.errors import ConfigurationError

PREFIX = "TRAINSERVE_"
Positive = Annotated[int, Field(gt=0)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    host: str = Field("127.0.0.1", min_length=1, description="address that `serve` listens on")
    port: int = Field(8000, ge=0, le=65535, description="port that `serve` listens on; 0 takes a free one")
    server: str | None = Field(
        None, description="the running server that `jobs`, `models` and `predict` talk to; that on this port unless set"
    )
    database_url: str = Field(
        "sqlite:///state/trainserve.db", description="where jobs and versions are recorded, as an SQLAlchemy URL"
    )
    artifacts_url: str = Field(
        "models",
        min_length=1,
        description="where artifacts are kept: a directory, `file:///…`, or `memory://` to forget them",
    )
    pretrained: str | None = Field(
        None, description="a directory of model versions that are taken into the store at start where it lacks them"
    )
    default_model: str = Field(
        "mnist", min_length=1, description="the model that `/predict` asks when the request names none"
    )
    slots: Positive = Field(
        default_factory=lambda: max(1, resources.cores() - 1),
        description="jobs that run at once; one core less than there are, at least 1, unless set",
    )
    # Two BLAS threads take a third off a dense network's epoch on idle cores, and make it several times longer beside
    # any other busy process, since they wait for each other by spinning. The threads that share pictures sleep.
    training_threads: Positive | None = Field(
        None, description="threads of a training; 1 unless set, or one a core where the network has layers for pictures"
    )
    max_attempts: Positive = Field(3, description="runs of a job whose process dies, before it fails")
    lease_seconds: float = Field(
        30, gt=2, allow_inf_nan=False, description="a running job is taken back after so long without a heartbeat"
    )
    max_training_memory: Positive = Field(
        2**30, description="bytes that a network and its training buffers may need; more is refused"
    )
    max_body: Positive = Field(16 * 2**20, description="bytes of a request's body; more is answered with 413")
    max_samples: Positive = Field(10_000, description="rows, records or pictures in one request")
    max_pixels: Positive = Field(25_000_000, description="pixels of all pictures in a request, as they are declared")
    max_loaded_models: Positive = Field(8, description="model versions kept in memory; the longest unused one goes")
    drain_seconds: Seconds = Field(
        0.5, description="a server that is told to stop says not-ready for so long before it stops listening"
    )
    grace_seconds: Seconds = Field(5, description="requests in flight are given so long to finish at a shutdown")
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="`json` lines or `text`; `auto` is text on a terminal"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="the least level that is logged"
    )

    @property
    def server_url(self) -> str:
        """The server that the command line talks to."""
        return self.server or f"http://127.0.0.1:{self.port}"


def load(**given: Any) -> Settings:
    """The settings of this process; what is `given` goes before the environment.

    Raises `ConfigurationError` that names the variable.
    """
    try:
        return Settings(**given)
    except ValidationError as error:
        found = [
            f"{PREFIX}{'_'.join(map(str, problem['loc'])).upper()}: {problem['msg']}; got {problem['input']!r}"
            for problem in error.errors()
        ]
        raise ConfigurationError("; ".join(found)) from None


def documented() -> Iterator[tuple[str, str, str]]:
    """Variable, default and meaning of every setting, for the README."""
    for name, field in Settings.model_fields.items():
        default = "" if field.default_factory or field.default is None else f"`{field.default}`"
        yield f"`{PREFIX}{name.upper()}`", default, field.description or ""
