"""What is the consumer's own on AMQP: copies, counts, the ladder, windows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import kombu
import pytest

from worker_kernel import ATTEMPTS_HEADER, OutcomeKind, Slots, TaskOptions, declare_queue
from worker_loops.buffer import Buffer
from worker_loops.courier import Courier
from worker_loops.flow import Flow, Prefetch
from worker_loops.ladder import BITS, LONGEST, Ladder


class WrittenDown:
    """A courier that writes down what it is asked for, and settles as the real one does."""

    def __init__(self) -> None:
        self.copies: list[tuple[str, int]] = []

    def hand_back(self, message: Any, queue: str, attempts: int) -> None:
        self.copies.append((queue, attempts))
        message.ack()


class Parking:
    def __init__(self) -> None:
        self.parked: list[tuple[str, float, int]] = []
        self.ladder = Ladder(Courier(lambda: None), "classic")

    def takes(self, queue: str, seconds: float, *, crowded: bool) -> bool:
        return self.ladder.takes(queue, seconds, crowded=crowded)

    def park(self, message: Any, queue: str, seconds: float, attempts: int) -> None:
        self.parked.append((queue, seconds, attempts))
        message.ack()


@pytest.fixture
def amqp(office: Any) -> Any:
    """A desk on an AMQP connection."""

    def make(*options: TaskOptions, **settings: Any) -> Any:
        o = office(*options, **settings)
        o.generation.courier, o.generation.ladder = WrittenDown(), Parking()
        return o

    return make


# -- attempts -----------------------------------------------------------------------------------------------------


def test_a_redelivery_that_no_queue_counts_gives_way_to_a_copy_with_the_count(amqp: Any, message: Any) -> None:
    o = amqp()
    m = o.deliver(message(redelivered=True, attempts=1))
    assert o.generation.courier.copies == [("celery", 2)]
    assert (m.fates, o.pool.jobs, o.slots.running) == (["ack"], [], 0)


def test_a_redelivery_that_is_acknowledged_before_its_run_was_never_started(amqp: Any, message: Any) -> None:
    o = amqp(TaskOptions(name="t", acks_late=False))
    o.deliver(message(redelivered=True))
    assert o.generation.courier.copies == []
    assert len(o.pool.jobs) == 1


def test_what_waited_here_when_the_connection_was_lost_was_not_started(amqp: Any, message: Any) -> None:
    o = amqp(slots=1)
    o.deliver(message("runs"))
    o.deliver(message("waits"))
    o.desk.connection_lost()
    o.deliver(message("waits", redelivered=True, headers={"x-delivery-count": 9}))
    o.end(OutcomeKind.SUCCEEDED)
    assert [job.id for job in o.pool.jobs] == ["waits"]
    assert o.generation.courier.copies == []


def test_a_hand_back_is_a_copy_with_the_same_count(amqp: Any, message: Any) -> None:
    o = amqp()
    m = o.deliver(message(attempts=1))
    o.end(OutcomeKind.REJECTED, requeue=True)
    assert o.generation.courier.copies == [("celery", 1)]
    assert m.fates == ["ack"]


def test_a_hand_back_of_a_redelivery_that_did_not_start_keeps_what_was_not_counted_yet(amqp: Any, message: Any) -> None:
    o = amqp(slots=1)
    o.deliver(message("runs"))
    o.deliver(message("waits", redelivered=True))
    o.desk.drain()
    assert ("celery", 1) in o.generation.courier.copies


def test_a_lost_run_goes_back_in_the_brokers_own_way_which_counts(amqp: Any, message: Any) -> None:
    o = amqp()
    m = o.deliver(message())
    o.end(OutcomeKind.LOST, stored=False)
    assert o.generation.courier.copies == []
    assert m.fates == ["requeue"]


# -- waiting ------------------------------------------------------------------------------------------------------


def test_a_far_eta_is_parked_and_a_near_one_held(amqp: Any, message: Any) -> None:
    o = amqp()
    far = o.deliver(message("far", eta=o.at(60)))
    near = o.deliver(message("near", eta=o.at(5)))
    assert o.generation.ladder.parked == [("celery", 60.0, 0)]
    assert (far.fates, near.fates, o.desk.flow.held) == (["ack"], [], 1)


def test_a_near_eta_is_parked_too_while_as_many_are_held_as_may_be(amqp: Any, message: Any) -> None:
    o = amqp(worker_eta_task_limit=2)
    for n in range(3):
        o.deliver(message(str(n), eta=o.at(5)))
    assert o.desk.flow.held == 2
    assert len(o.generation.ladder.parked) == 1


def test_a_queue_whose_name_leaves_no_room_for_the_bits_is_not_for_the_ladder() -> None:
    ladder = Ladder(Courier(lambda: None), "classic")
    assert ladder.takes("q" * (255 - 2 * BITS), 60, crowded=False)
    assert not ladder.takes("q" * (256 - 2 * BITS), 60, crowded=False)


def test_a_wait_beyond_what_the_ladder_has_bits_for_is_taken_in_steps() -> None:
    sent: list[str] = []

    class Sends(Courier):
        def send(self, message: Any, routing_key: str, **rest: Any) -> None:
            sent.append(routing_key)

    class Bound(Ladder):
        def bind(self, queue: str) -> None: ...

    class Message:
        def ack(self) -> None: ...

    Bound(Sends(lambda: None), "classic").park(Message(), "q", LONGEST * 3.0, 0)
    assert sent == ["1." * BITS + "q"]


# -- the window ---------------------------------------------------------------------------------------------------


def flow_of(slots: Slots, buffer: int | None, most_held: int | None = None) -> Flow:
    return Flow(slots, buffer=Buffer(slots, fixed=buffer), most_held=most_held)


class Broker:
    def __init__(self) -> None:
        self.said: list[Any] = []

    def qos(self, prefetch_count: int, apply_global: bool) -> None:
        self.said.append((prefetch_count, apply_global))

    def cancel(self) -> None:
        self.said.append("cancel")

    def consume(self) -> None:
        self.said.append("consume")


def test_a_shared_window_is_told_as_one_and_can_be_changed() -> None:
    flow, broker = flow_of(Slots(2), 0), Broker()
    flow.reset(Prefetch.SHARED)
    flow.apply(broker)
    flow.held = 1
    flow.apply(broker)
    assert broker.said == [(2, True), (3, True)]


def test_a_consumers_own_window_ignores_what_is_held_and_changes_with_the_consumer() -> None:
    slots, broker = Slots(2), Broker()
    flow = flow_of(slots, 1)
    flow.reset(Prefetch.CONSUMER)
    flow.apply(broker)
    flow.held = 5
    flow.apply(broker)
    assert broker.said == [(3, False)]
    slots.resize(4)
    flow.apply(broker)
    assert broker.said[1:] == ["cancel", (5, False), "consume"]
    flow.early = 5
    flow.apply(broker)
    assert broker.said[4:] == []


# -- copies -------------------------------------------------------------------------------------------------------


@pytest.fixture
def connection() -> Iterator[Any]:
    with kombu.Connection("memory://copies") as connection:
        yield connection


def test_a_copy_says_what_the_original_says_but_for_the_brokers_own_count(connection: Any) -> None:
    declare_queue(connection, kombu.Queue("there", kombu.Exchange(""), "there"))
    channel = connection.channel()
    kombu.Producer(channel).publish(
        b"body",
        routing_key="there",
        content_type="application/json",
        content_encoding="utf-8",
        headers={"id": "1", "x-delivery-count": 7, ATTEMPTS_HEADER: 1},
        correlation_id="1",
        reply_to="me",
    )
    original = channel.basic_get("there")
    courier = Courier(connection.clone)
    courier.hand_back(original, "there", attempts=2)
    copy = channel.basic_get("there", no_ack=True)
    assert original.acknowledged
    assert (copy.body, copy.headers) == (b"body", {"id": "1", ATTEMPTS_HEADER: 2})
    assert (copy.properties["correlation_id"], copy.properties["reply_to"]) == ("1", "me")
    courier.close()
    courier.close()
