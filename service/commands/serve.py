"""`trainserve serve`."""

from __future__ import annotations

import argparse
import signal
import socket
import sys

from service.errors import ConfigurationError
from service.settings import Settings, load


def serve(options: argparse.Namespace, settings: Settings) -> int:
    # The other commands do without the web framework.
    from service import logs, wiring
    from service.api.middleware import request_id
    from service.server import Server

    # As process 1 of a container there is no default action, and the server's own handler comes only with its loop.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    given = {name: value for name in ("host", "port") if (value := getattr(options, name)) is not None}
    settings = settings if not given else load(**given)
    _check_address(settings)
    logs.configure(settings.log_format, settings.log_level, request_id.get)
    service = wiring.build(settings)
    service.start()
    server = Server(service)
    server.run()
    return 0 if server.started else 1


def _check_address(settings: Settings) -> None:
    """Raises `ConfigurationError` where nobody could listen: before anything is set up, and in one line."""
    try:
        family, *_, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        socket.create_server(address[:2], family=family).close()
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {settings.host} port {settings.port} ({error.strerror}); "
            "set TRAINSERVE_HOST and TRAINSERVE_PORT to an address that is free"
        ) from None
