"""A system that refuses: the n-th thread, file, socket or timer that is asked for in one thread cannot be had."""

from __future__ import annotations

import builtins
import errno
import io
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

REFUSED = "refused by the conformance kit"
"""What the exceptions say."""


_FILENO = 4
"""Place of that argument of a socket."""


class Refusal:
    """Counts what the thread that makes it asks for while it is armed, and has the ``at``-th (from 1) fail."""

    def __init__(self, at: int) -> None:
        self._at = at
        self._thread = threading.get_ident()
        self._asked = 0
        self.armed = False
        """Whether it counts."""

    @property
    def happened(self) -> bool:
        """Whether anything was refused."""
        return self._asked >= self._at

    def wrap(self, function: Callable[..., object], error: BaseException) -> Callable[..., object]:
        """Return ``function`` as it is while this is not armed, and raising ``error`` when its turn has come."""

        def wrapped(*args: Any, **kwargs: Any) -> object:
            there_already = kwargs.get("fileno") is not None or len(args) > _FILENO  # a socket around a descriptor
            if self.armed and threading.get_ident() == self._thread and not there_already:
                self._asked += 1
                if self._asked == self._at:
                    raise error
            return function(*args, **kwargs)

        return wrapped


@contextmanager
def refusing(at: int, timers: object) -> Iterator[Refusal]:
    """Have the system, and ``timers`` where there are any, ask a `Refusal` first, which is yet to be armed."""
    refusal = Refusal(at)
    full = OSError(errno.EMFILE, REFUSED)
    with ExitStack() as stack:
        _replace(stack, refusal, threading.Thread, "start", RuntimeError(REFUSED))
        _replace(stack, refusal, builtins, "open", full)
        _replace(stack, refusal, io, "open", full)
        _replace(stack, refusal, socket.socket, "__init__", full)
        if timers is not None:
            for name in ("call_later", "call_repeatedly"):
                _replace(stack, refusal, type(timers), name, RuntimeError(REFUSED))
        yield refusal


def _replace(stack: ExitStack, refusal: Refusal, home: Any, name: str, error: BaseException) -> None:
    kept = getattr(home, name)
    setattr(home, name, refusal.wrap(kept, error))
    stack.callback(setattr, home, name, kept)
