from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from worker_hub.hub import KombuHub
from worker_hub.timers import HeapTimers
from worker_kernel import SystemClock


@pytest.fixture
def hub() -> Iterator[KombuHub]:
    clock = SystemClock()
    hub = KombuHub(HeapTimers(clock), clock)
    yield hub
    hub.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    yield ours, theirs
    ours.close()
    theirs.close()
