"""Heartbeats past the library: due, whole, and never within a frame."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from worker_kernel.testing import FakeClock
from worker_loops.lifeline import HEARTBEAT, Lifeline


class Transport:
    """What `amqp` has: a socket, and its ``sendall`` under another name."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._write: Callable[[bytes], None] = sock.sendall

    def send(self, data: bytes) -> None:
        self._write(data)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    far.setblocking(False)
    with near, far:
        yield near, far


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def transport(ends: tuple[socket.socket, socket.socket]) -> Transport:
    return Transport(ends[0])


@pytest.fixture
def lifeline(transport: Transport, clock: FakeClock) -> Iterator[Lifeline]:
    line = Lifeline(transport, 10.0, clock)
    yield line
    line.close()


def read(ends: tuple[socket.socket, socket.socket]) -> bytes:
    try:
        return ends[1].recv(1 << 20)
    except BlockingIOError:
        return b""


def test_a_heartbeat_is_sent_when_half_the_interval_is_over(lifeline: Lifeline, clock: FakeClock, ends: Any) -> None:
    lifeline.beat()
    assert read(ends) == b""
    clock.advance(5.0)
    lifeline.beat()
    lifeline.beat()
    assert read(ends) == HEARTBEAT == bytes([8, 0, 0, 0, 0, 0, 0, 0xCE])
    clock.advance(5.0)
    lifeline.beat()
    assert read(ends) == HEARTBEAT


def test_what_the_library_writes_counts_as_a_heartbeat(
    lifeline: Lifeline, transport: Transport, clock: FakeClock, ends: Any
) -> None:
    clock.advance(5.0)
    transport.send(b"frame")
    lifeline.beat()
    assert read(ends) == b"frame"


def test_nothing_is_sent_while_a_frame_is_half_written(transport: Transport, clock: FakeClock, ends: Any) -> None:
    lines: list[Lifeline] = []

    def halfway(data: bytes) -> None:
        ends[0].sendall(data[:3])
        clock.advance(60.0)
        lines[0].beat()  # as another thread would, while the greenlet waits for room
        ends[0].sendall(data[3:])

    transport._write = halfway
    lines.append(Lifeline(transport, 10.0, clock))
    transport.send(b"a frame")
    assert read(ends) == b"a frame"
    lines[0].close()


def test_after_a_write_that_failed_nothing_is_sent_any_more(transport: Transport, clock: FakeClock, ends: Any) -> None:
    def broken(data: bytes) -> None:
        raise OSError("reset")

    transport._write = broken
    lifeline = Lifeline(transport, 10.0, clock)
    with pytest.raises(OSError, match="reset"):
        transport.send(b"frame")
    clock.advance(60.0)
    lifeline.beat()
    assert read(ends) == b""
    lifeline.close()


def test_a_heartbeat_that_found_little_room_is_finished_by_the_next_write(
    lifeline: Lifeline, transport: Transport, clock: FakeClock, ends: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Narrow:
        def send(self, data: bytes, flags: int) -> int:
            ends[0].sendall(data[:3])
            return 3

        def close(self) -> None: ...

    lifeline._socket.close()
    monkeypatch.setattr(lifeline, "_socket", Narrow())
    clock.advance(5.0)
    lifeline.beat()
    clock.advance(5.0)
    lifeline.beat()  # not before the first is whole
    transport.send(b"frame")
    assert read(ends) == HEARTBEAT + b"frame"


def test_a_full_socket_is_no_error_and_is_left_alone(lifeline: Lifeline, clock: FakeClock, ends: Any) -> None:
    ends[0].setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while ends[0].send(b"x" * 65536):
            pass
    clock.advance(5.0)
    lifeline.beat()
    assert set(read(ends)) == set(b"x"), "nothing was written into what is on its way"


def test_a_closed_lifeline_beats_no_more(lifeline: Lifeline, clock: FakeClock, ends: Any) -> None:
    lifeline.close()
    lifeline.close()
    clock.advance(60.0)
    lifeline.beat()
    assert read(ends) == b""
