"""Asks the broker how much waits, beside the loop, which a slow broker must not hold."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from worker_kernel import QueueDepth, queue_depth

log = logging.getLogger("worker_autoscale")

IDLE = 30.0
"""Seconds without a question after which the connection is closed."""


class Asker:
    """A thread with a connection of its own; both come into being with the first question."""

    def __init__(self, connect: Callable[[], Any], answered: Callable[[QueueDepth | None], None]) -> None:
        """Args: ``connect`` returns an unconnected kombu connection; ``answered`` is called on the thread."""
        self._connect, self._answered = connect, answered
        self._asked = threading.Event()
        self._queues: tuple[str, ...] = ()
        self._busy = self._closed = False
        self._thread: threading.Thread | None = None

    def ask(self, queues: tuple[str, ...]) -> bool:
        """Have what lies in ``queues`` told: None where the broker cannot be asked. False: one is not answered yet.

        One question at a time.
        """
        if self._busy or self._closed:
            return False
        self._busy, self._queues = True, queues
        self._asked.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="worker-autoscaler", daemon=True)
            self._thread.start()
        return True

    def close(self, timeout: float = 2.0) -> None:
        """End the thread; one that is in the middle of a question is not waited for longer than ``timeout`` seconds."""
        self._closed = True
        self._asked.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        connection: Any = None
        while not self._closed:
            asked = self._asked.wait(IDLE)
            self._asked.clear()
            if asked and not self._closed:
                connection, depth = self._question(connection)
                self._busy = False
                self._answered(depth)
            elif connection is not None:
                _release(connection)
                connection = None
        if connection is not None:
            _release(connection)

    def _question(self, connection: Any) -> tuple[Any, QueueDepth | None]:
        try:
            connection = connection or self._connect()
            return connection, queue_depth(connection, self._queues)
        except Exception as exc:  # noqa: BLE001  (whatever it is, nothing is known)
            log.info("the autoscaler could not ask the broker: %s", exc)
            if connection is not None:
                _release(connection)
            return None, None


def _release(connection: Any) -> None:
    try:
        connection.release()
    except Exception as exc:  # noqa: BLE001  (it is lost, or on its way to be)
        log.debug("closing the autoscaler's connection failed: %s", exc)
