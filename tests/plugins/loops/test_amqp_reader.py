"""Reading AMQP: whole frames only, in their order, and nobody waits for the rest of one."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import amqp
import attrs
import pytest
from amqp.transport import TCPTransport

from worker_loops.amqp_reader import PIECE, AmqpReader

Frame = tuple[int, int, bytes]


def packed(*frames: Frame) -> bytes:
    return b"".join(struct.pack(">BHI", kind, channel, len(body)) + body + b"\xce" for kind, channel, body in frames)


ONE, TWO, THREE = (1, 1, b"one"), (8, 0, b""), (3, 1, b"three")


@attrs.define
class Hub:
    """What is asked of a hub; its poller is whoever runs the test."""

    calls: list[Callable[[], None]] = attrs.Factory(list)
    readers: list[Any] = attrs.Factory(list)

    def add_reader(self, fd: Any, callback: Callable[[], None]) -> None:
        self.readers.append(fd)

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.calls.append(callback)


class Wire:
    """A real transport of ``py-amqp`` on one end of a pair of sockets, and a connection that writes frames down."""

    def __init__(self, near: Any, far: socket.socket) -> None:
        self.far = far
        self.frames: list[Frame] = []
        self.on_frame: Callable[[Frame], object] = lambda frame: None
        self.transport = TCPTransport("nowhere")
        self.transport.sock = near
        self.transport._setup_transport()
        self.transport.connected = True
        self.connection = amqp.Connection("nowhere")
        self.connection.transport = self.transport
        self.hub = Hub()
        self.reader = AmqpReader(self.connection)
        self.connection.on_inbound_frame = self._taken
        self.reader.watch(self.hub)

    def _taken(self, frame: Frame) -> bool:
        self.frames.append(frame)
        self.on_frame(frame)
        return True

    def arrives(self, data: bytes) -> None:
        self.far.sendall(data)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    with near, far:
        yield near, far


@pytest.fixture
def wire(ends: tuple[socket.socket, socket.socket]) -> Wire:
    return Wire(*ends)


def test_what_has_come_is_handed_over_in_one_go(wire: Wire) -> None:
    wire.arrives(packed(ONE, TWO, THREE))
    wire.reader.read()
    assert wire.frames == [ONE, TWO, THREE]
    assert wire.hub.calls == []


def test_nothing_is_waited_for_where_nothing_has_come(wire: Wire) -> None:
    wire.reader.read()
    assert wire.frames == []


@pytest.mark.parametrize("cut", range(1, len(packed(ONE, TWO, THREE))))
def test_wherever_a_burst_is_cut_its_frames_are_whole(wire: Wire, cut: int) -> None:
    burst = packed(ONE, TWO, THREE)
    wire.arrives(burst[:cut])
    wire.reader.read()
    whole = len(wire.frames)
    assert packed(*wire.frames) == burst[: len(packed(*wire.frames))]
    assert len(packed(*(ONE, TWO, THREE)[: whole + 1])) > cut or whole == 3
    wire.arrives(burst[cut:])
    wire.reader.read()
    assert wire.frames == [ONE, TWO, THREE]


def test_a_frame_larger_than_a_piece_comes_in_several(wire: Wire) -> None:
    large = (3, 1, bytes(3 * PIECE))
    wire.arrives(packed(large, ONE))
    turns = 0
    while len(wire.frames) < 2:
        wire.reader.read()
        turns += 1
        assert turns < 10
    assert wire.frames == [large, ONE]


def test_a_request_in_the_middle_of_a_delivery_is_handed_first_what_was_read_before(wire: Wire) -> None:
    def ask(frame: Frame) -> None:
        if frame == ONE:
            wire.arrives(packed((1, 1, b"answer")))
            wire.connection.drain_events()
            wire.connection.drain_events()

    wire.on_frame = ask
    wire.arrives(packed(ONE, TWO))
    wire.reader.read()
    assert wire.frames == [ONE, TWO, (1, 1, b"answer")]


def test_a_request_reads_on_where_half_a_frame_was_read_and_no_further_than_it_needs(wire: Wire) -> None:
    wire.arrives(packed(ONE)[:4])
    wire.reader.read()
    wire.arrives(packed(ONE)[4:] + packed(TWO))
    wire.connection.drain_events()
    assert wire.frames == [ONE]
    assert wire.transport.sock.recv(100, socket.MSG_PEEK) == packed(TWO)


def test_what_a_request_has_of_a_frame_when_it_gives_up_is_not_lost(wire: Wire) -> None:
    wire.arrives(packed(ONE)[:9])
    with pytest.raises(TimeoutError):
        wire.connection.drain_events(timeout=0.001)
    wire.arrives(packed(ONE)[9:] + packed(TWO))
    wire.reader.read()
    assert wire.frames == [ONE, TWO]


def test_the_end_of_the_stream_is_the_loss_of_the_connection(wire: Wire) -> None:
    wire.arrives(packed(ONE))
    wire.far.close()
    wire.reader.read()
    with pytest.raises(amqp.Connection.connection_errors, match="closed the connection"):
        wire.reader.read()
    assert wire.frames == [ONE]
    assert not wire.connection.connected


def test_what_does_not_end_like_a_frame_is_the_loss_of_the_connection(wire: Wire) -> None:
    wire.arrives(packed(ONE)[:-1] + b"\0")
    with pytest.raises(amqp.Connection.connection_errors, match="not AMQP"):
        wire.reader.read()


def test_nothing_is_handed_to_a_connection_that_a_frame_has_closed(wire: Wire) -> None:
    wire.on_frame = lambda frame: wire.transport.close()
    wire.arrives(packed(ONE, TWO))
    wire.reader.read()
    assert wire.frames == [ONE]


def test_a_socket_that_was_closed_is_the_loss_of_the_connection(wire: Wire) -> None:
    wire.transport.close()
    with pytest.raises(OSError, match="descriptor"):
        wire.reader.read()
    with pytest.raises(OSError, match="descriptor"):
        wire.reader.drain(0.0)


def test_without_a_hub_all_that_comes_first_is_handed_over_and_the_timeout_put_back(wire: Wire) -> None:
    wire.reader.drain(0.0)
    wire.reader.drain(0.001)
    assert wire.frames == []
    wire.arrives(packed(ONE, TWO))
    wire.reader.drain(60.0)
    assert wire.frames == [ONE, TWO]
    assert wire.transport.sock.gettimeout() is None


# -- TLS ----------------------------------------------------------------------------------------------------------


class Decrypting:
    """A socket as TLS has them: it knows no flags, and hands out less than it has decrypted."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.decrypted = b""
        self.timeouts: list[float | None] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def settimeout(self, seconds: float | None) -> None:
        self.timeouts.append(seconds)
        self._sock.settimeout(seconds)

    def pending(self) -> int:
        return len(self.decrypted)

    def recv(self, size: int, flags: int = 0) -> bytes:
        assert flags == 0
        self.decrypted = self.decrypted or self._sock.recv(1000)
        part, self.decrypted = self.decrypted[:11], self.decrypted[11:]
        return part


def test_what_tls_has_decrypted_is_read_though_no_poller_sees_it(ends: tuple[socket.socket, socket.socket]) -> None:
    tls = Decrypting(ends[0])
    wire = Wire(tls, ends[1])
    wire.reader.read()
    assert (wire.frames, tls.timeouts) == ([], [])  # nothing there: not even asked
    wire.arrives(packed(ONE, TWO, THREE))
    wire.reader.read()
    while wire.hub.calls:
        wire.hub.calls.pop()()
    assert wire.frames == [ONE, TWO, THREE]
    assert all(seconds is None or 0 < seconds < 1 for seconds in tls.timeouts)


def test_half_a_record_is_waited_for_a_moment_only(ends: tuple[socket.socket, socket.socket]) -> None:
    class Half(Decrypting):
        def recv(self, size: int, flags: int = 0) -> bytes:
            raise TimeoutError("The read operation timed out")

    wire = Wire(Half(ends[0]), ends[1])
    wire.arrives(b"half")
    wire.reader.read()
    assert wire.frames == []
    assert wire.connection.connected
