"""Acknowledgements that are gathered: nothing open is settled by them, and what was not sent is not forgotten."""

from __future__ import annotations

import struct
from types import SimpleNamespace
from typing import Any, cast

import kombu.message
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_kernel import OutcomeKind, TaskOptions
from worker_loops.acks import Acks
from worker_loops.connection import Generation


class Channel:
    """A ``py-amqp`` channel and the broker behind it, which knows what is open and refuses a tag that is not."""

    channel_id = 7
    no_ack_consumers = None

    def __init__(self) -> None:
        self.open: set[int] = set()
        self.writes: list[list[tuple[int, bool]]] = []
        self.rejected: list[int] = []
        self.lost = False
        self.connection: Any = SimpleNamespace(transport=SimpleNamespace(write=self._write), bytes_sent=0)

    def _write(self, data: bytes) -> None:
        if self.lost:
            raise ConnectionResetError("gone")
        frames = [struct.unpack(">BHIHHQBB", data[at : at + 21]) for at in range(0, len(data), 21)]
        assert all(frame[:5] + frame[7:] == (1, 7, 13, 60, 80, 0xCE) for frame in frames)
        self.writes.append([(tag, bool(multiple)) for *_, tag, multiple, _ in frames])
        for tag, multiple in self.writes[-1]:
            self._settle(tag, multiple)

    def _settle(self, tag: int, multiple: bool = False) -> None:
        assert tag in self.open, "unknown delivery tag"
        self.open -= {one for one in self.open if one <= tag} if multiple else {tag}

    def basic_ack(self, delivery_tag: int, multiple: bool = False) -> None:
        self._settle(delivery_tag, multiple)

    def basic_reject(self, delivery_tag: int, requeue: bool) -> None:
        self._settle(delivery_tag)
        self.rejected.append(delivery_tag)

    def deliver(self, tag: int) -> Any:
        self.open.add(tag)
        return kombu.message.Message(channel=self, delivery_tag=tag)


@pytest.fixture
def channel() -> Channel:
    return Channel()


def key(tag: int) -> tuple[str, int]:
    return (str(tag), 0)


def test_a_batch_without_gaps_is_one_frame(channel: Channel) -> None:
    acks = Acks(channel)
    messages = [channel.deliver(tag) for tag in (1, 2, 3)]
    for message in reversed(messages):
        acks.later(message, key(message.delivery_tag))
    assert channel.open == {1, 2, 3}
    assert all(message.acknowledged for message in messages)
    acks.flush()
    acks.flush()
    assert (channel.writes, channel.open) == ([[(3, True)]], set())
    assert channel.connection.bytes_sent == 1


def test_what_is_beyond_an_open_message_is_acknowledged_one_by_one_in_the_same_write(channel: Channel) -> None:
    acks = Acks(channel)
    messages = {tag: channel.deliver(tag) for tag in range(1, 7)}
    for tag in (6, 1, 2, 4):
        acks.later(messages[tag], key(tag))
    acks.flush()
    assert channel.writes == [[(2, True), (4, False), (6, False)]]
    assert channel.open == {3, 5}
    acks.later(messages[3], key(3))
    acks.flush()
    assert channel.writes[1:] == [[(3, False)]]


def test_what_is_settled_in_another_way_is_settled_at_once_and_closes_the_gap(channel: Channel) -> None:
    acks = Acks(channel)
    messages = [channel.deliver(tag) for tag in (1, 2, 3, 4)]
    acks.later(messages[0], key(1))
    acks.later(messages[3], key(4))
    messages[1].requeue()
    messages[2].ack()
    assert (channel.open, channel.rejected) == ({1, 4}, [2])
    acks.flush()
    assert channel.writes == [[(4, True)]]


def test_several_at_once_are_nobody_elses_business(channel: Channel) -> None:
    Acks(channel)
    with pytest.raises(ValueError, match="flush"):
        channel.deliver(1).ack(multiple=True)


def test_a_message_is_acknowledged_once(channel: Channel) -> None:
    acks = Acks(channel)
    message = channel.deliver(1)
    acks.later(message, key(1))
    with pytest.raises(message.MessageStateError):
        acks.later(message, key(1))
    acks.flush()
    assert channel.writes == [[(1, False)]]


def test_what_the_broker_may_not_have_heard_is_told_once(channel: Channel) -> None:
    acks = Acks(channel)
    acks.later(channel.deliver(1), key(1))
    acks.flush()
    acks.later(channel.deliver(2), key(2))
    channel.lost = True
    with pytest.raises(ConnectionResetError):
        acks.flush()
    assert acks.take_unheard() == [key(1), key(2)]
    assert acks.take_unheard() == []
    acks.flush()


def test_on_a_channel_that_is_gone_flushing_is_a_loss(channel: Channel) -> None:
    acks = Acks(channel)
    acks.later(channel.deliver(1), key(1))
    channel.connection = None
    with pytest.raises(ConnectionError):
        acks.flush()
    assert acks.take_unheard() == [("1", 0)]


HOW = st.sampled_from(["deliver", "later", "ack", "reject", "flush"])


@given(st.lists(st.tuples(HOW, st.integers(0, 30)), max_size=80))
def test_in_any_order_exactly_what_was_settled_is_settled(steps: list[tuple[str, int]]) -> None:
    channel = Channel()
    acks = Acks(channel)
    delivered = 0
    waiting: list[Any] = []
    for how, which in [*steps, ("flush", 0)]:
        if how == "deliver":
            delivered += 1
            waiting.append(channel.deliver(delivered))
        elif how == "flush":
            acks.flush()
            assert channel.open == {message.delivery_tag for message in waiting}
        elif waiting:
            message = waiting.pop(which % len(waiting))
            if how == "later":
                acks.later(message, key(message.delivery_tag))
            else:
                getattr(message, how)()


# -- the desk -----------------------------------------------------------------------------------------------------


class Delivered:
    """A scripted message that is acknowledged on a channel."""

    def __init__(self, scripted: Any, message: Any) -> None:
        self._scripted, self._message = scripted, message

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scripted, name)

    def ack(self) -> None:
        self._message.ack()


def test_a_connection_lost_before_the_flush_costs_no_second_run(office: Any, message: Any, channel: Channel) -> None:
    o = office()
    o.generation.acks = acks = Acks(channel)
    o.deliver(Delivered(message("ended"), channel.deliver(1)))
    o.deliver(Delivered(message("runs"), channel.deliver(2)))
    o.end(OutcomeKind.SUCCEEDED)
    assert (channel.open, o.desk.statistics()["settled"]) == ({1, 2}, {"acknowledged": 1})
    channel.lost = True
    with pytest.raises(ConnectionResetError):
        acks.flush()

    o.generation.alive = False
    o.desk.connection_lost(acks.take_unheard())
    o.generation = type(o.generation)(o.timers)
    o.generation.acks = again = Acks(channel := Channel())
    o.deliver(Delivered(message("ended", redelivered=True), channel.deliver(1)))
    o.deliver(Delivered(message("runs", redelivered=True), channel.deliver(2)))
    assert [job.id for job in o.pool.jobs] == ["runs"]
    again.flush()
    assert channel.writes == [[(1, False)]]
    o.end(OutcomeKind.SUCCEEDED)
    again.flush()
    assert channel.open == set()


@pytest.mark.parametrize("acks_late", [True, False])
def test_nor_does_one_that_is_lost_before_the_broker_has_heard(
    office: Any, message: Any, channel: Channel, acks_late: bool
) -> None:
    o = office(TaskOptions(name="t", acks_late=acks_late))
    o.generation.acks = acks = Acks(channel)
    o.deliver(Delivered(message("ended"), channel.deliver(1)))
    o.end(OutcomeKind.SUCCEEDED)
    acks.flush()
    assert channel.open == set()
    o.desk.connection_lost(acks.take_unheard())
    assert acks.take_unheard() == []
    o.deliver(Delivered(message("ended", redelivered=True), channel.deliver(2)))
    o.deliver(Delivered(message("ended"), channel.deliver(3)))  # who sends the same anew, means it
    assert [job.id for job in o.pool.jobs] == ["ended"]
    acks.flush()
    assert channel.open == ({3} if acks_late else set())


# -- the generation -----------------------------------------------------------------------------------------------


class Connection:
    """A kombu connection that says whether its acknowledgements had been sent when it was closed."""

    connection_errors = channel_errors = (ConnectionError,)
    transport = SimpleNamespace()

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.open_at_close: set[int] | None = None

    def close(self) -> None:
        self.open_at_close = set(self.channel.open)

    def collect(self) -> None: ...


def generation(channel: Channel) -> Generation:
    made = Generation(Connection(channel), None, cast("Any", None))
    made.acks = Acks(channel)
    made.acks.later(channel.deliver(1), key(1))
    return made


def test_a_connection_is_closed_when_all_is_acknowledged(channel: Channel) -> None:
    made = generation(channel)
    made.close()
    assert made.connection.open_at_close == set()


def test_a_connection_that_is_dropped_tells_what_is_unsent(channel: Channel) -> None:
    made = generation(channel)
    made.collect()
    made.send_acks()
    assert channel.open == {1}
    assert made.take_unheard() == [("1", 0)]


def test_flushing_a_generation_sends_what_was_gathered(channel: Channel) -> None:
    made = generation(channel)
    made.flush()
    assert channel.open == set()
