"""Asking a worker over its control socket."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

from ..errors import ControlError
from . import protocol


def ask(path: str, command: str, arguments: Mapping[str, Any], *, timeout: float = 15.0) -> Mapping[str, Any]:
    """Have the worker at ``path`` carry out a command and return its whole reply, which has ``ok``.

    Args:
        path: of its socket.
        command: by name.
        arguments: by name, JSON-safe.
        timeout: seconds to wait for the worker (> 0).

    Raises:
        ControlError: it answered with an error, or not at all (kind ``unreachable``).
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(path)
            connection.sendall(protocol.encode(command=command, arguments=dict(arguments)))
            with connection.makefile("rb") as lines:
                line = lines.readline()
    except OSError as exc:
        why = f"did not answer within {timeout:g} s" if isinstance(exc, TimeoutError) else str(exc.strerror or exc)
        raise ControlError("unreachable", f"no worker answers at {path}: {why}") from exc
    try:
        reply = protocol.decode(line)
    except ValueError as exc:
        raise ControlError("unreachable", f"what answers at {path} is no worker: {exc}") from exc
    error = reply.get("error")
    if isinstance(error, Mapping):
        raise ControlError(str(error.get("kind")), str(error.get("message")))
    return reply
