"""The right to read a child's pipe: one thread at a time has it, and the main thread gets it whenever it asks."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from worker_pool_prefork import custody
from worker_pool_prefork.custody import Custody

PATIENCE = 30.0


class Scene:
    """A pipe, its custody, and a control thread that writes down what it does."""

    def __init__(self) -> None:
        self.pipe, self.worker = socket.socketpair()
        self.custody = Custody(self.pipe.fileno())
        self.read: list[bytes] = []
        self.looked, self.idle = threading.Event(), threading.Event()
        self.has_read = threading.Event()
        self.custody.take()
        self.control = threading.Thread(target=self._watch)
        self.control.start()

    def _watch(self) -> None:
        self.custody.watch(self._read, self.looked.set, self.idle.set)

    def _read(self) -> bool:
        data = self.pipe.recv(1)
        self.read.append(data)
        self.has_read.set()
        return bool(data)

    def close(self) -> None:
        self.custody.leave()
        self.worker.close()
        self.control.join(PATIENCE)
        assert not self.control.is_alive(), "it ends when the worker is gone"
        self.pipe.close()
        self.custody.close()


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    yield scene
    scene.close()


def test_while_the_main_thread_is_at_work_the_control_thread_reads_and_looks(scene: Scene) -> None:
    scene.worker.send(b"1")
    assert not scene.looked.is_set()
    scene.custody.leave()
    assert scene.has_read.wait(PATIENCE)
    assert scene.looked.is_set()
    scene.custody.take()
    scene.worker.send(b"2")
    assert scene.idle.wait(PATIENCE)
    assert scene.read == [b"1"], "what comes to an idle main thread is its own"
    assert scene.pipe.recv(1) == b"2"


class SlowlyAsking:
    """A main thread that gets no processor for a while once it has asked."""

    def __init__(self, ask: socket.socket) -> None:
        self._ask = ask

    def send(self, data: bytes) -> None:
        self._ask.send(data)
        time.sleep(10 * custody.TICK)

    def close(self) -> None:
        self._ask.close()


def test_the_main_thread_gets_the_right_though_the_control_thread_comes_back_before_it_runs_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scene.custody, "_ask", SlowlyAsking(scene.custody._ask))
    taken = threading.Event()

    def work() -> None:
        for _ in range(3):
            scene.looked.clear()
            scene.custody.leave()
            scene.looked.wait(PATIENCE)
            scene.custody.take()
        taken.set()

    threading.Thread(target=work, daemon=True).start()
    assert taken.wait(PATIENCE)
