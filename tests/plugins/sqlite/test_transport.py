"""What becomes of messages, as kombu's users see it, within one process."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import kombu
import pytest
from kombu.exceptions import MessageStateError
from tests.plugins.sqlite.receiving import Receiver, send, size

from worker_broker_sqlite.address import InvalidUrl
from worker_broker_sqlite.transport import TransportStatistics
from worker_kernel import Fence

Connect = Callable[..., Any]


def test_what_one_connection_sends_another_receives(connect: Connect) -> None:
    send(connect(), {"n": 1}, b"\x00raw", "text")
    receiver = Receiver(connect())
    assert receiver.drain() == [{"n": 1}, b"\x00raw", "text"]


def test_the_scheme_of_the_url_does_not_matter_where_the_transport_is_given(path: str) -> None:
    with kombu.Connection(
        f"sqlite:///{path}?lease=2", transport="worker_broker_sqlite.transport:Transport"
    ) as connection:
        connection.connect()
        assert connection.transport.address.lease == 2.0
        assert connection.as_uri() == f"sqlite:///{path}?lease=2"


def test_an_alternate_url_is_taken_at_failover(connect: Connect, tmp_path: Path) -> None:
    connection = connect(alternates=[f"wk-sqlite:///{tmp_path}/other.db%3Flease=3"])
    connection.switch(f"wk-sqlite:///{tmp_path}/other.db%3Flease=3")
    connection.connect()
    assert connection.transport.address.path == str(tmp_path / "other.db")
    assert connection.transport.address.lease == 3.0
    assert connection.as_uri().startswith("wk-sqlite:///")


def test_a_wrong_option_is_an_error_at_connecting(connect: Connect) -> None:
    with pytest.raises(InvalidUrl):
        connect("?lease=never").connect()


def test_a_connection_can_be_cloned_and_pickles_its_url(connect: Connect) -> None:
    connection = connect("?lease=2")
    assert connection.clone().transport.address == connection.transport.address


def test_a_first_delivery_says_that_it_is_one(connect: Connect, path: str) -> None:
    send(connect(), 1)
    receiver = Receiver(connect())
    receiver.drain()
    (message,) = receiver.messages
    assert message.attempts == 0
    assert message.queue == "q"
    assert message.delivery_info["redelivered"] is False
    assert message.delivery_info["routing_key"] == "q"
    assert message.fence == Fence(authority=path, token=message.delivery_tag)
    assert not message.lease_lost


def test_an_acknowledged_message_is_gone_after_the_flush(connect: Connect) -> None:
    send(connect(), 1)
    receiver = Receiver(connect())
    receiver.drain()
    receiver.messages[0].ack()
    receiver.connection.transport.flush()
    receiver.connection.release()
    assert size(connect()) == 0


def test_acknowledgements_are_flushed_by_the_next_drain_and_at_close(connect: Connect) -> None:
    other = connect()
    send(other, 1, 2)
    receiver = Receiver(connect(), prefetch=1)
    receiver.drain()
    receiver.messages[0].ack()
    assert other.transport.queues.counts("q").held == 1
    assert receiver.drain() == [2]
    assert other.transport.queues.counts("q").held == 1
    receiver.messages[1].ack()
    receiver.connection.release()
    assert size(other) == 0


def test_the_statistics_tell_what_is_in_hand(connect: Connect, path: str) -> None:
    send(connect(), 1, 2)
    receiver = Receiver(connect())
    receiver.drain()
    receiver.messages[0].ack()
    assert receiver.connection.transport.statistics() == TransportStatistics(
        path=path, held=1, lost=0, undelivered=0, unflushed=1
    )


def test_a_rejected_message_is_gone(connect: Connect) -> None:
    other = connect()
    send(other, 1)
    receiver = Receiver(connect())
    receiver.drain()
    receiver.messages[0].reject()
    receiver.connection.release()
    assert size(other) == 0


def test_multiple_acknowledges_all_that_came_before(connect: Connect) -> None:
    other = connect()
    send(other, 1, 2, 3)
    receiver = Receiver(connect())
    receiver.drain()
    receiver.messages[1].ack(multiple=True)
    receiver.connection.release()
    assert size(other) == 1


def test_a_hand_back_goes_to_its_old_place_and_is_marked(connect: Connect) -> None:
    send(connect(), 1, 2)
    receiver = Receiver(connect(), prefetch=1)
    receiver.drain()
    receiver.messages[0].requeue()
    assert receiver.drain() == [1]
    again = receiver.messages[-1]
    assert again.delivery_info["redelivered"] is True
    assert again.properties["delivery_info"]["redelivered"] is True
    assert again.attempts == 0


def test_the_prefetch_count_limits_what_is_held(connect: Connect) -> None:
    send(connect(), 1, 2, 3)
    receiver = Receiver(connect(), prefetch=2)
    assert receiver.drain() == [1, 2]
    assert receiver.drain() == []
    receiver.channel.basic_qos(prefetch_count=3)
    assert receiver.drain() == [3]


def test_each_queue_gets_its_turn(connect: Connect) -> None:
    other = connect()
    send(other, "a1", "a2", queue="a")
    send(other, "b1", "b2", queue="b")
    receiver = Receiver(connect(), "a", "b", prefetch=1)
    got = []
    for _ in range(4):
        got += receiver.drain()
        receiver.messages[-1].ack()
    assert got == ["a1", "b1", "a2", "b2"]


def test_priorities_are_celerys(connect: Connect) -> None:
    other = connect()
    send(other, "normal")
    send(other, "urgent", priority=9)
    assert Receiver(connect()).drain() == ["urgent", "normal"]


def test_a_message_with_an_eta_is_delivered_when_it_is_due(connect: Connect) -> None:
    other = connect()
    due = datetime.now(UTC) + timedelta(seconds=0.3)
    send(other, "later", headers={"eta": due.isoformat()})
    receiver = Receiver(connect())
    assert receiver.drain() == []
    assert other.transport.queues.counts("q").waiting == 1
    assert receiver.drain(5.0) == ["later"]
    assert 0 <= (datetime.now(UTC) - due).total_seconds() < 3


@pytest.mark.parametrize("eta", ["soon", 7, "", None, "9999-12-31T23:59:59+99:00", "2001-01-01T00:00:00"])
def test_an_eta_that_is_malformed_or_past_is_delivered_at_once(connect: Connect, eta: object) -> None:
    send(connect(), 1, headers={"eta": eta})
    assert Receiver(connect()).drain() == [1]


def test_an_eta_without_a_zone_is_utc(connect: Connect) -> None:
    other = connect()
    soon = (datetime.now(UTC) + timedelta(hours=1)).replace(tzinfo=None)
    send(other, 1, headers={"eta": soon.isoformat()})
    assert other.transport.queues.counts("q").waiting == 1


def test_a_parked_message_comes_back_after_its_time(connect: Connect) -> None:
    other = connect()
    send(other, 1)
    receiver = Receiver(connect())
    receiver.drain()
    receiver.messages[0].park(0.2)
    assert receiver.messages[0].acknowledged
    assert receiver.drain() == []
    assert receiver.drain(5.0) == [1]
    assert receiver.messages[1].attempts == 0


def test_a_quarantined_message_lies_unread_in_its_place_with_the_reason(connect: Connect) -> None:
    other = connect()
    send(other, {"n": 1}, headers={"id": "t"})
    receiver = Receiver(connect())
    receiver.drain()
    receiver.messages[0].quarantine("poison")
    assert size(other) == 0
    moved = other.default_channel.basic_get("q.quarantine")
    assert moved.payload == {"n": 1}
    assert isinstance(moved.headers.pop("x-kernel-quarantined-at"), float)
    assert moved.headers == {"id": "t", "x-kernel-quarantine": "poison"}


def test_a_message_is_settled_once(connect: Connect) -> None:
    send(connect(), 1)
    receiver = Receiver(connect())
    receiver.drain()
    receiver.messages[0].ack()
    for settle, *arguments in (("park", 1), ("quarantine", "x"), ("ack",), ("reject",)):
        with pytest.raises(MessageStateError):
            getattr(receiver.messages[0], str(settle))(*arguments)


def test_a_message_with_a_damaged_head_goes_to_quarantine_and_the_rest_goes_on(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    other = connect()
    other.connect()
    for head in ("{", "[]", '{"properties": 3}'):
        other.transport.queues.put("q", head, b"")
    send(other, "good")
    receiver = Receiver(connect())
    assert receiver.drain() == ["good"]
    assert size(other, "q.quarantine") == 3
    assert "goes to quarantine" in caplog.text
    moved = other.default_channel.basic_get("q.quarantine")
    assert moved.headers["x-kernel-damaged-head"] == "{"


def test_compression_is_undone_when_the_body_is_asked_for_and_not_before(connect: Connect) -> None:
    send(connect(), "x" * 1000, compression="zlib")
    receiver = Receiver(connect())
    receiver.connection.drain_events(timeout=0)
    (message,) = receiver.messages
    assert len(message.raw_body) < 100
    assert message.headers["compression"] == "application/x-gzip"
    assert message.payload == "x" * 1000
    assert message.body is message.body


def test_without_acknowledgement_messages_are_gone_once_delivered(connect: Connect) -> None:
    other = connect()
    send(other, 1)
    receiver = Receiver(connect(), no_ack=True)
    assert receiver.drain() == [1]
    assert other.transport.queues.counts("q").held == 0
