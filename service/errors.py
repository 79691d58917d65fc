"""What the service refuses and why; knows no HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # Only the name is needed here, and the command sets the threads of BLAS before anything imports NumPy.
    from nn.errors import Problem


class ServiceError(Exception):
    """Anything that the service raises on purpose. `problems` tell the places in the input, where there are any."""

    def __init__(self, detail: str, problems: Sequence[Problem] = ()) -> None:
        self.detail = detail
        self.problems = tuple(problems)
        super().__init__(detail)


class InvalidInput(ServiceError):
    """What came cannot be used as it is."""


class MalformedInput(InvalidInput):
    """What came is not in the format that it is said to be in."""


class UnsupportedFormat(ServiceError):
    """What came is in a format that is not read here."""


class TooLarge(ServiceError):
    """What came is larger than the limit."""


class NotFound(ServiceError):
    """There is nothing of that name."""


class Conflict(ServiceError):
    """The present state does not allow it."""


class Unavailable(ServiceError):
    """It cannot be had now, through no fault of the asker."""


class StorageError(ServiceError):
    """The artifact store did not take or give what it should: full, not writable, gone, or damaged."""


class ConfigurationError(ServiceError):
    """The service cannot start as it is set up; the detail says what to set."""
