from __future__ import annotations

import queue
import resource
import signal
import socket
import threading
from collections.abc import Iterator

import pytest

from worker_hub.hub import CHAINED_CALLS, KombuHub
from worker_hub.timers import HeapTimers
from worker_hub.waker import Waker
from worker_kernel import KernelBug, SystemClock

LONG = 60.0  # a wait that ends the test by its time limit, if nothing wakes it


class CountingWaker(Waker):
    """Counts the bytes that it sends."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = 0
        self._lock = threading.Lock()

    def wake(self) -> bool:
        sent = super().wake()
        with self._lock:
            self.sent += sent
        return sent


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[KombuHub, CountingWaker]]:
    waker = CountingWaker()
    monkeypatch.setattr("worker_hub.hub.Waker", lambda: waker)
    clock = SystemClock()
    hub = KombuHub(HeapTimers(clock), clock)
    yield hub, waker
    hub.close()


def test_a_readable_descriptor_calls_its_reader(hub: KombuHub, pair: tuple[socket.socket, socket.socket]) -> None:
    got: list[bytes] = []
    hub.add_reader(pair[0].fileno(), lambda: got.append(pair[0].recv(10)))
    hub.run_once(timeout=0.0)
    assert got == []
    pair[1].send(b"x")
    hub.run_once(timeout=LONG)
    assert got == [b"x"]
    hub.remove(pair[0].fileno())
    pair[1].send(b"y")
    hub.run_once(timeout=0.0)
    assert got == [b"x"]


def test_reader_and_writer_of_one_descriptor_are_both_called(
    hub: KombuHub, pair: tuple[socket.socket, socket.socket]
) -> None:
    calls: list[str] = []
    hub.add_reader(pair[0], lambda: calls.append("read"))
    hub.run_once(timeout=0.0)
    hub.add_writer(pair[0], lambda: calls.append("write"))
    hub.run_once(timeout=LONG)
    assert calls == ["write"]
    pair[1].send(b"x")
    hub.run_once(timeout=LONG)
    assert calls == ["write", "read", "write"]


def test_a_second_reader_replaces_the_first(hub: KombuHub, pair: tuple[socket.socket, socket.socket]) -> None:
    calls: list[str] = []
    hub.add_reader(pair[0], calls.append, "first")
    hub.add_reader(pair[0], calls.append, "second")
    pair[1].send(b"x")
    hub.run_once(timeout=LONG)
    assert calls == ["second"]


def test_removing_what_is_unknown_or_closed_leaves_the_others_alone(
    hub: KombuHub, pair: tuple[socket.socket, socket.socket]
) -> None:
    got: list[bytes] = []
    hub.add_reader(pair[0], lambda: got.append(pair[0].recv(1)))
    hub.remove(4711)
    gone = socket.socket()
    gone.close()
    hub.remove(gone)
    assert hub.statistics().descriptors == 1
    pair[1].send(b"x")
    hub.run_once(timeout=LONG)
    assert got == [b"x"]


def test_a_closed_descriptor_cannot_be_added(hub: KombuHub) -> None:
    gone = socket.socket()
    number = gone.fileno()
    gone.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        hub.add_reader(number, lambda: None)
    assert hub.statistics().descriptors == 0


def test_a_callback_can_remove_another_that_is_ready_in_the_same_turn(hub: KombuHub) -> None:
    pairs = [socket.socketpair() for _ in range(2)]
    calls: list[int] = []

    def read(own: int, other: int) -> None:
        calls.append(own)
        hub.remove(pairs[other][0])

    for number in (0, 1):
        hub.add_reader(pairs[number][0], read, number, 1 - number)
        pairs[number][1].send(b"x")
    hub.run_once(timeout=LONG)
    assert len(calls) == 1
    for one, other in pairs:
        one.close()
        other.close()


def test_calls_from_another_thread_wake_the_loop(hub: KombuHub) -> None:
    calls: list[int] = []
    blocked = threading.Event()
    hub.call_soon(blocked.set)

    def other() -> None:
        assert blocked.wait(LONG)
        hub.call_soon(calls.append, 1)

    thread = threading.Thread(target=other)
    thread.start()
    while not calls:
        hub.run_once(timeout=LONG)
    thread.join()
    assert calls == [1]


def test_calls_keep_the_order_of_each_thread_and_share_wake_ups(counting: tuple[KombuHub, CountingWaker]) -> None:
    hub, waker = counting
    threads, each = 8, 1000
    seen: list[tuple[int, int]] = []
    start = threading.Barrier(threads)

    def produce(thread: int) -> None:
        start.wait(LONG)
        for number in range(each):
            hub.call_soon(seen.append, (thread, number))

    producers = [threading.Thread(target=produce, args=(number,)) for number in range(threads)]
    for producer in producers:
        producer.start()
    while len(seen) < threads * each:
        hub.run_once(timeout=LONG)
    for producer in producers:
        producer.join()
    hub.run_once(timeout=0.0)
    for thread in range(threads):
        assert [number for who, number in seen if who == thread] == list(range(each))
    assert hub.statistics().calls == threads * each
    # Without a lock, all threads that call at one moment may send a byte, but only once per wake-up.
    assert waker.sent <= threads * hub.statistics().wakeups


def test_a_whole_batch_takes_one_wake_up(counting: tuple[KombuHub, CountingWaker]) -> None:
    hub, waker = counting
    seen: list[int] = []
    hub.run_once(timeout=0.0)  # from now on this is the loop's thread

    def produce() -> None:
        for number in range(1000):
            hub.call_soon(seen.append, number)

    producer = threading.Thread(target=produce)
    producer.start()
    producer.join()
    hub.run_once(timeout=LONG)
    hub.run_once(timeout=0.0)
    assert seen == list(range(1000))
    assert waker.sent == 1


def test_calls_on_the_loops_own_thread_take_no_wake_up(counting: tuple[KombuHub, CountingWaker]) -> None:
    hub, waker = counting
    seen: list[int] = []
    hub.run_once(timeout=0.0)
    hub.call_soon(seen.append, 1)
    hub.run_once(timeout=LONG)
    assert seen == [1]
    assert waker.sent == 0


def test_a_call_that_asks_for_another_does_not_keep_the_loop_from_its_descriptors(
    hub: KombuHub, pair: tuple[socket.socket, socket.socket]
) -> None:
    counts: list[int] = []

    def chain() -> None:
        counts.append(1)
        hub.call_soon(chain)

    read: list[bytes] = []
    hub.add_reader(pair[0], lambda: read.append(pair[0].recv(1)))
    pair[1].send(b"x")
    hub.call_soon(chain)
    hub.run_once(timeout=LONG)
    assert read == [b"x"]
    assert len(counts) <= 2 * CHAINED_CALLS


def test_wake_before_the_poll_is_not_lost(hub: KombuHub) -> None:
    hub.wake()
    hub.run_once(timeout=LONG)
    assert hub.statistics().wakeups == 1


def test_the_loops_own_thread_wakes_it_without_a_byte(counting: tuple[KombuHub, CountingWaker]) -> None:
    hub, waker = counting
    hub.run_once(timeout=0.0)
    hub.wake()
    hub.run_once(timeout=LONG)
    assert waker.sent == 0


def test_the_handler_of_a_signal_ends_the_wait_that_it_interrupts(hub: KombuHub) -> None:
    before = signal.signal(signal.SIGALRM, lambda *_: hub.wake())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        hub.run_once(timeout=LONG)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
    assert hub.statistics().turns == 1


def test_a_tick_can_ask_for_another_before_the_wait(hub: KombuHub) -> None:
    transport_hub = hub.scope().transport_hub
    ticks: list[int] = []

    def tick() -> None:
        ticks.append(len(ticks))
        if len(ticks) == 1:
            transport_hub.ensure_tick()

    transport_hub.on_tick.add(tick)
    hub.run_once(timeout=LONG)
    transport_hub.ensure_tick()  # it comes by anyway
    hub.run_once(timeout=0.0)
    assert ticks == [0, 1]


def test_a_turn_that_ran_a_call_does_not_block(hub: KombuHub) -> None:
    calls: list[int] = []
    hub.call_soon(calls.append, 1)
    hub.run_once(timeout=LONG)
    assert calls == [1]


def test_timers_fire_in_the_loop_and_bound_its_poll(hub: KombuHub) -> None:
    calls: list[str] = []
    hub.timers.call_later(0.05, calls.append, "due")
    hub.timers.call_later(LONG, calls.append, "later")
    while not calls:
        hub.run_once()
    assert calls == ["due"]
    assert hub.statistics().turns < 10


def test_an_idle_hub_sleeps(hub: KombuHub, pair: tuple[socket.socket, socket.socket]) -> None:
    hub.add_reader(pair[0], lambda: None)
    done: list[int] = []
    hub.timers.call_later(2.0, done.append, 1)
    before = resource.getrusage(resource.RUSAGE_THREAD)
    while not done:
        hub.run_once()
    after = resource.getrusage(resource.RUSAGE_THREAD)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert hub.statistics().turns <= 4
    assert spent < 0.02  # of 2 s: 1 % of a core


def test_errors_of_descriptors_and_calls_leave_the_turn_and_lose_nothing(
    hub: KombuHub, pair: tuple[socket.socket, socket.socket]
) -> None:
    calls: list[str] = []
    errors = iter([ConnectionResetError("first")])

    def read() -> None:
        for error in errors:
            raise error
        calls.append("read")
        pair[0].recv(1)

    def bad() -> None:
        raise LookupError("bad call")

    hub.add_reader(pair[0], read)
    pair[1].send(b"x")
    with pytest.raises(ConnectionResetError, match="first"):
        hub.run_once(timeout=LONG)
    hub.call_soon(bad)
    hub.call_soon(calls.append, "behind")
    with pytest.raises(LookupError, match="bad call"):
        hub.run_once(timeout=LONG)
    hub.run_once(timeout=LONG)
    assert calls == ["behind", "read"]


def test_queue_empty_from_a_reader_means_nothing_to_read(
    hub: KombuHub, pair: tuple[socket.socket, socket.socket]
) -> None:
    got: list[bytes] = []

    def read() -> None:
        got.append(pair[0].recv(1))
        raise queue.Empty

    hub.add_reader(pair[0], read)
    for _ in range(2):
        pair[1].send(b"x")
        hub.run_once(timeout=LONG)
    assert got == [b"x", b"x"], "it is still read from"


def test_close_makes_pending_calls_and_is_final(caplog: pytest.LogCaptureFixture) -> None:
    clock = SystemClock()
    hub = KombuHub(HeapTimers(clock), clock)
    calls: list[str] = []

    def bad() -> None:
        raise RuntimeError("bad at the end")

    hub.call_soon(bad)
    hub.call_soon(calls.append, "made")
    scope = hub.scope()
    scope.timers.call_later(1.0, calls.append, "dropped")
    hub.close()
    hub.close()
    assert calls == ["made"]
    assert "bad at the end" in caplog.text
    assert scope.leftovers() == 0
    hub.wake()
    hub.call_soon(calls.append, "too late")
    with pytest.raises(KernelBug):
        hub.run_once()
    assert calls == ["made"]


def test_two_hubs_live_in_one_process_and_none_is_global(hub: KombuHub) -> None:
    from kombu.asynchronous import get_event_loop

    clock = SystemClock()
    other = KombuHub(HeapTimers(clock), clock)
    calls: list[str] = []
    hub.call_soon(calls.append, "one")
    other.call_soon(calls.append, "other")
    hub.run_once(timeout=0.0)
    assert calls == ["one"]
    other.run_once(timeout=0.0)
    assert calls == ["one", "other"]
    assert get_event_loop() is None
    other.close()
    hub.call_soon(calls.append, "again")
    hub.run_once(timeout=0.0)
    assert calls[-1] == "again"
