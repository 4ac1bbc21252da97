"""Ends a wait from another thread: a pipe."""

from __future__ import annotations

import os
import selectors
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Waker:
    """A descriptor that can be read after `wake`. `wake` may be called from any thread, all else from the owner's."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._closed = False

    def fileno(self) -> int:
        """The descriptor to wait for."""
        return self._read

    def wake(self) -> None:
        """Make the descriptor readable. Never blocks, never raises."""
        if not self._closed:
            try:
                os.write(self._write, b".")
            except OSError:
                pass  # full, so it is readable; or just closed

    def drain(self) -> None:
        """Make the descriptor unreadable again."""
        try:
            while os.read(self._read, 4096):
                pass
        except OSError:
            pass  # empty

    def close(self) -> None:
        """Give up the pipe. Idempotent."""
        if not self._closed:
            self._closed = True
            os.close(self._read)
            os.close(self._write)


def wait(descriptors: Iterable[int], timeout: float) -> None:
    """Wait until one of the descriptors can be read, at most `timeout` seconds (0 or more)."""
    with selectors.DefaultSelector() as selector:
        for descriptor in set(descriptors):
            selector.register(descriptor, selectors.EVENT_READ)
        selector.select(timeout)
