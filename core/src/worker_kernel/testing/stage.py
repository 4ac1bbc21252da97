"""Where jobs that run in other processes tell the test what happens to them.

The kit's own channel beside the pool's: a `Stage` listens on a socket in the test's process, and the twin of a
`FakeJob`, which a child process has made from the job's frame, tells it each thing that the job is to have recorded,
one connection for each. A twin goes on when it was told that this is recorded, so whoever has heard from the pool how a
job ended finds everything there. Nothing is left half done when a task is interrupted, or its process killed, between
two words.

What is told travels pickled: both ends are the kit's.
"""

from __future__ import annotations

import pickle
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

_BACKLOG = 128
_JOIN = 5.0
"""Seconds for what still speaks when the stage is closed: its processes have been ended by then."""

CALL_BACK = "call back"
"""What a twin says to have a body run in the test's process."""


class Actor(Protocol):
    """What may be put on the stage: a job of the test's process."""

    def record(self, what: str, value: object = None) -> None:
        """Write down what the job's twin tells."""
        ...

    def body_of(self, step: str) -> Callable[..., object] | None:
        """Return what is to be run here in a step of the twin."""
        ...


class Stage:
    """Listens to twins until it is closed. One thread accepts; one for each word that is spoken answers it.

    A job is released by a file: looking for that costs a twin no word, so that a busy task stays busy.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="kit-"))
        self._actors: list[Actor] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.address)
        self._listener.listen(_BACKLOG)
        self._closed = False
        self._threads: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._listen, name="kit-stage")
        self._thread.start()

    @property
    def address(self) -> str:
        """Where twins speak."""
        return str(self._folder / "stage")

    def admit(self, actor: Actor) -> int:
        """Take a job in, and return the number by which its twin speaks of it."""
        self._actors.append(actor)
        return len(self._actors) - 1

    def mark(self, number: int) -> Path:
        """Return the path of the file that is there once a job is released."""
        return self._folder / f"released-{number}"

    def close(self) -> None:
        """Listen no more. To be called when no process of the pool is left."""
        self._closed = True
        with socket.socket(socket.AF_UNIX) as waker:
            waker.connect(self.address)
        self._thread.join()
        self._listener.close()
        for thread in self._threads:
            thread.join(_JOIN)
        self.discard()

    def discard(self) -> None:
        """Remove what is on disk: for a process that ends before it could close anything."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _listen(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if self._closed:
                connection.close()
                return
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            thread = threading.Thread(target=self._answer, args=(connection,), name="kit-stage-answer", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _answer(self, connection: socket.socket) -> None:
        try:
            with connection, connection.makefile("rb") as stream:
                number, what, value = pickle.load(stream)  # noqa: S301  (our own)
                connection.sendall(portable(self._obey(self._actors[number], what, value)))
        except (OSError, EOFError, pickle.UnpicklingError):
            pass  # whoever spoke was interrupted, or is dead

    def _obey(self, actor: Actor, what: str, value: Any) -> tuple[bool, object]:
        """Return whether it went well, and what it came to."""
        try:
            if what != CALL_BACK:
                actor.record(what, value)
                return True, None
            body = actor.body_of(value)
            return True, None if body is None else body(actor)
        except BaseException as exc:
            return False, exc


def speak(address: str, number: int, what: str, value: object = None) -> object:
    """Tell a stage something, or ask it, and wait for the answer.

    Raises:
        OSError: the stage is closed.
        BaseException: what was raised there.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        connection.sendall(portable((number, what, value)))
        with connection.makefile("rb") as stream:
            well, answer = pickle.load(stream)  # noqa: S301  (our own)
    if not well:
        raise answer
    return answer


def portable(told: tuple[object, ...]) -> bytes:
    """Pickle what is told; where that is impossible, the last of it is told by its ``repr``."""
    try:
        return pickle.dumps(told)
    except Exception:  # pickle raises whatever it meets
        *rest, value = told
        stand_in = RuntimeError(repr(value)) if isinstance(value, BaseException) else repr(value)
        return pickle.dumps((*rest, stand_in))
