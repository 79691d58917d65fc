"""What the commands do; what they are called with stands in `service.main`."""

from __future__ import annotations

import argparse
import os
import sys

import httpx

from nn import NNError
from service import settings
from service.client import ProblemError
from service.commands import remote, serve, train
from service.errors import ConfigurationError, ServiceError

COMMANDS = {
    "serve": serve.serve,
    "train": train.train,
    "evaluate": train.evaluate,
    "predict": remote.predict,
    "jobs": remote.jobs,
    "models": remote.models,
}


def run(options: argparse.Namespace) -> int:
    """Carries a command out and returns the status that the process ends with."""
    try:
        return COMMANDS[options.command](options, settings.load())
    except ConfigurationError as error:
        return _complain(error.detail, 2)
    except (NNError, ServiceError, ProblemError, TimeoutError) as error:
        return _complain(str(error), 1)
    except httpx.TransportError as error:
        server = options.server or settings.load().server_url
        return _complain(f"no server answers at {server} ({error}); start one with: trainserve serve", 1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whoever read has seen enough; exit without a second complaint
        return 1
    except OSError as error:
        return _complain(f"{error.strerror or error}: {error.filename or ''}", 1)
    except KeyboardInterrupt:
        return 130


def _complain(message: str, status: int) -> int:
    sys.stderr.write(f"trainserve: {message}\n")
    return status
