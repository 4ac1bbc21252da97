"""Queues, exchanges, consumers and waiting, as kombu's users see them, within one process."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kombu
import pytest
from amqp.exceptions import RecoverableConnectionError
from kombu.exceptions import ChannelError, OperationalError
from kombu.transport.virtual.base import NotEquivalentError
from tests.plugins.sqlite.receiving import Receiver, send, size

from worker_broker_sqlite.database import DatabaseRefused

Connect = Callable[..., Any]


def test_direct_access_takes_one_message_or_none(connect: Connect) -> None:
    other = connect()
    channel = other.channel()
    assert channel.basic_get("q") is None
    send(other, 1, 2)
    assert channel.basic_get("q", no_ack=True).payload == 1
    held = channel.basic_get("q")
    other.transport.flush()
    assert other.transport.queues.counts("q").held == 1
    held.ack()
    other.transport.flush()
    assert other.transport.queues.counts("q").held == 0


def test_a_passive_declaration_tells_the_size_or_that_there_is_no_such_queue(connect: Connect) -> None:
    connection = connect()
    with pytest.raises(ChannelError) as caught:
        size(connection)
    assert str(caught.value.reply_code) == "404"
    send(connection, 1, 2)
    assert size(connection) == 2


def test_purge_removes_the_ready_messages_and_counts_them(connect: Connect) -> None:
    connection = connect()
    send(connection, 1, 2, 3)
    receiver = Receiver(connect(), prefetch=1)
    receiver.drain()
    assert connection.default_channel.queue_purge("q") == 2


def test_a_deleted_queue_does_not_exist(connect: Connect) -> None:
    connection = connect()
    send(connection, 1)
    connection.default_channel.queue_delete("q", if_empty=True)
    assert size(connection) == 1
    connection.default_channel.queue_delete("q")
    with pytest.raises(ChannelError):
        size(connection)


def test_bindings_that_one_connection_declares_another_obeys(connect: Connect) -> None:
    topic = kombu.Exchange("events", "topic")
    with connect() as declaring:
        kombu.Queue("orders", topic, routing_key="order.#")(declaring.channel()).declare()
        kombu.Queue("paid", topic, routing_key="*.paid")(declaring.channel()).declare()
    sender = connect()
    sender.Producer().publish("both", exchange="events", routing_key="order.paid")
    sender.Producer().publish("neither", exchange="events", routing_key="parcel.sent")
    assert size(sender, "orders") == size(sender, "paid") == 1
    channel = sender.default_channel
    assert channel.list_bindings() == [("paid", "events", "*.paid"), ("orders", "events", "order.#")]
    assert channel.get_exchanges() == ["events"]
    channel.queue_unbind("paid", "events", "*.paid")
    sender.Producer().publish("one", exchange="events", routing_key="order.paid")
    assert (size(sender, "orders"), size(sender, "paid")) == (2, 1)
    channel.exchange_delete("events")
    assert channel.list_bindings() == []


def test_a_direct_exchange_routes_by_equality(connect: Connect) -> None:
    connection = connect()
    queue = kombu.Queue("q", kombu.Exchange("x", "direct"), routing_key="k")
    connection.Producer().publish(1, exchange=queue.exchange, routing_key="k", declare=[queue])
    connection.Producer().publish(2, exchange="x", routing_key="other")
    assert size(connection) == 1


def test_exchanges_are_checked(connect: Connect) -> None:
    channel = connect().channel()
    channel.exchange_declare("x", "direct")
    channel.exchange_declare("x", passive=True)
    with pytest.raises(NotEquivalentError):
        channel.exchange_declare("x", "topic")
    with pytest.raises(ChannelError, match="direct and topic only"):
        channel.exchange_declare("f", "fanout")
    with pytest.raises(ChannelError, match="no exchange 'missing'"):
        channel.exchange_declare("missing", passive=True)
    with pytest.raises(ChannelError, match="no exchange 'missing'"):
        channel.queue_bind("q", "missing", "k")
    channel.queue_bind("q", routing_key="k")
    assert channel.list_bindings() == [("q", "amq.direct", "k")]


def test_what_an_unknown_exchange_gets_is_dropped_as_in_amqp(connect: Connect) -> None:
    connection = connect()
    connection.Producer().publish(1, exchange="unknown", routing_key="q")
    with pytest.raises(ChannelError):
        size(connection)


def test_closing_hands_back_what_is_not_settled(connect: Connect) -> None:
    other = connect()
    send(other, 1, 2)
    receiver = Receiver(connect())
    receiver.drain()
    receiver.messages[1].ack()
    receiver.channel.close()
    receiver.channel.close()
    assert size(other) == 1
    with pytest.raises(RecoverableConnectionError):
        receiver.messages[0].ack()
    (again,) = other.transport.queues.fetch(["q"], 5).deliveries
    assert (again.attempts, again.redelivered) == (0, True)


def test_a_cancelled_consumer_gets_nothing_more(connect: Connect) -> None:
    receiver = Receiver(connect())
    receiver.consumer.cancel()
    send(connect(), 1)
    assert receiver.drain() == []


def test_two_channels_may_consume_from_one_queue_and_one_of_them_stop(connect: Connect) -> None:
    connection = connect()
    first, second = Receiver(connection), Receiver(connection)
    first.consumer.cancel()
    send(connect(), 1)
    assert second.drain() == [1]
    assert first.messages == []


def test_a_callback_that_raises_loses_none_of_its_batch(connect: Connect) -> None:
    send(connect(), 1, 2, 3)
    connection = connect()
    got = []

    def receive(body: int, message: Any) -> None:
        got.append(body)
        if body == 2:
            raise ZeroDivisionError

    with connection.Consumer([kombu.Queue("q")], callbacks=[receive]):
        with pytest.raises(ZeroDivisionError):
            connection.drain_events(timeout=0)
        connection.drain_events(timeout=0)
    assert got == [1, 2, 3]


def test_what_was_fetched_for_a_consumer_that_cancels_itself_goes_back(connect: Connect) -> None:
    other = connect()
    send(other, 1, 2)
    connection = connect()
    got = []

    def receive(body: int, message: Any) -> None:
        got.append(body)
        consumer.cancel()

    consumer = connection.Consumer([kombu.Queue("q")], callbacks=[receive])
    consumer.consume()
    connection.drain_events(timeout=0)
    assert got == [1]
    assert size(other) == 1


def test_leases_are_renewed_while_nothing_is_consumed(connect: Connect) -> None:
    other = connect("?lease=0.5")
    send(other, 1)
    receiver = Receiver(connect("?lease=0.5"))
    receiver.drain()
    receiver.consumer.cancel()
    end = time.monotonic() + 1.2
    while (left := end - time.monotonic()) > 0:
        receiver.drain(left)
    assert other.transport.queues.counts("q").held == 1


def test_a_late_settlement_is_refused_with_a_warning_that_names_the_message(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    other = connect("?lease=0.01")
    send(other, 1, 2, 3, 4, headers={"id": "task-7"})
    late = Receiver(connect("?lease=0.01"))
    late.drain()
    taken: list[Any] = []
    end = time.monotonic() + 10
    while len(taken) < 4 and time.monotonic() < end:
        other.transport.queues.lease = 30.0
        taken += other.transport.queues.fetch(["q"], 5).deliveries
    late.connection.transport.renew()
    assert [message.lease_lost for message in late.messages] == [True] * 4
    late.messages[0].ack()
    late.messages[1].requeue()
    late.messages[2].park(1)
    late.messages[3].quarantine("x")
    late.connection.transport.flush()
    assert other.transport.queues.counts("q").held == 4
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    for what in ("renewal", "settlement", "hand-back", "park", "quarantine"):
        assert any(f"late {what} of message task-7 of queue q" in text for text in warnings), what


def test_settling_what_is_not_held_is_a_warning(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    channel = connect().channel()
    channel.basic_ack("unknown")
    channel.basic_quarantine("unknown", "x")
    channel.basic_park("unknown", 1)
    channel.basic_reject("unknown", requeue=True)
    assert "does not hold" in caplog.text


def test_recover_hands_back_everything(connect: Connect) -> None:
    other = connect()
    send(other, 1)
    receiver = Receiver(connect())
    receiver.drain()
    assert receiver.channel.qos.get(receiver.messages[0].delivery_tag).queue == "q"
    receiver.channel.basic_recover()
    assert size(other) == 1


def test_a_wait_without_messages_ends_in_time(connect: Connect) -> None:
    connection = connect()
    connection.connect()
    begin = time.monotonic()
    with pytest.raises(TimeoutError):
        connection.drain_events(timeout=0.1)
    assert 0.09 < time.monotonic() - begin < 2


def test_a_wake_up_ends_a_wait_early_even_when_it_comes_first(connect: Connect) -> None:
    receiver = Receiver(connect())
    receiver.drain()
    receiver.connection.transport.wake()
    begin = time.monotonic()
    with pytest.raises(TimeoutError):
        receiver.connection.drain_events(timeout=60)
    assert time.monotonic() - begin < 5


def test_a_wake_up_from_another_thread_ends_a_wait_early(connect: Connect) -> None:
    receiver = Receiver(connect())
    transport = receiver.connection.transport
    armed = threading.Event()

    def wake() -> None:
        armed.wait(10)
        transport.wake()

    thread = threading.Thread(target=wake)
    thread.start()
    begin = time.monotonic()
    armed.set()
    with pytest.raises(TimeoutError):
        receiver.connection.drain_events(timeout=60)
    thread.join()
    assert time.monotonic() - begin < 5


def test_a_file_that_cannot_be_opened_is_an_error_that_kombu_knows(tmp_path: Path) -> None:
    connection = kombu.Connection(f"wk-sqlite:///{tmp_path}/missing/jobs.db")
    with pytest.raises(OperationalError, match="does not exist"):
        connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
    with pytest.raises(connection.connection_errors):
        connection.connect()
    connection.release()


def test_a_file_of_another_program_is_not_tried_again(tmp_path: Path) -> None:
    (tmp_path / "jobs.db").write_text("this is no database at all\n" * 100)
    connection = kombu.Connection(f"wk-sqlite:///{tmp_path}/jobs.db")
    tries: list[object] = []
    with pytest.raises(DatabaseRefused):
        connection.ensure_connection(errback=lambda *args: tries.append(args))
    assert tries == []
    connection.release()


def test_only_direct_and_topic_exchanges_are_offered(connect: Connect) -> None:
    connection = connect()
    assert connection.supports_exchange_type("topic")
    assert not connection.supports_exchange_type("fanout")
    assert connection.transport.driver_version()
    assert connection.transport.driver_type == "sqlite"
    assert connection.transport.supports_ev


def test_a_forked_child_holds_nothing_and_hands_nothing_back(connect: Connect) -> None:
    other = connect()
    send(other, 1)
    receiver = Receiver(connect())
    receiver.drain()
    child = os.fork()
    if child == 0:
        receiver.connection.release()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert other.transport.queues.counts("q").held == 1
    receiver.messages[0].ack()
    receiver.connection.transport.flush()
    assert other.transport.queues.counts("q").held == 0


def test_a_forked_child_that_goes_on_consumes_for_itself(connect: Connect) -> None:
    other = connect()
    send(other, 1)
    receiver = Receiver(connect())
    receiver.drain()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        receiver.connection.transport.renew()
        send(receiver.connection, 2)
        os.write(writer, repr(receiver.drain(5)).encode())
        receiver.connection.release()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert os.read(reader, 100) == b"[2]"
    os.close(reader)
    os.close(writer)
    assert receiver.drain(5.0) == [2]  # the child handed it back
