"""What settings come to: zones, content types, connections, and what is wrong with them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from kombu.transport import TRANSPORT_ALIASES

from worker_kernel import OutcomeKind, PluginBroken, SettingsError, TransportSpec, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.core.tasks.conftest import Lab


def add(x: int, y: int = 1) -> int:
    return x + y


def test_times_without_a_zone_are_in_the_one_that_is_set(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(timezone="Asia/Tokyo", enable_utc=False)
    lab.task(add).apply_async([1], eta=datetime(2030, 1, 1, 12))  # noqa: DTZ001  (what a caller may give)
    envelope = lab.envelope()
    assert envelope.headers["eta"] == "2030-01-01T12:00:00+09:00"
    assert envelope.eta == datetime(2030, 1, 1, 3, tzinfo=UTC)
    task = make_lab(timezone="Mars/Base").task(add)
    with pytest.raises(SettingsError, match=r"timezone .* is 'Mars/Base', which is no zone"):
        task.delay(1)


def test_only_accepted_content_is_decoded(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab()
    lab.task(add).apply_async([1], serializer="pickle")
    outcome = lab.run()
    assert outcome.kind is OutcomeKind.FAILED
    assert "untrusted content of type pickle" in str(outcome.failure)
    trusting = make_lab(accept_content="json,pickle")
    trusting.task(add).apply_async([1], serializer="pickle")
    assert trusting.run().result == "2"
    with pytest.raises(SettingsError, match=r"accept_content .* is jsno"):
        _ = make_lab(accept_content="jsno").app.accepted_types()


def test_a_connection_is_made_as_the_settings_say(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(
        broker_url="amqp://a//;amqp://b//",
        broker_connection_timeout=3,
        broker_heartbeat=7,
        broker_transport_options={"max_retries": 1},
    )
    connection = lab.app.connection()
    assert connection.alt == ["amqp://a//", "amqp://b//"]
    assert (connection.connect_timeout, connection.heartbeat) == (3.0, 7.0)
    waits = {"read_timeout": 30.0, "write_timeout": 30.0}
    assert connection.transport_options == {"max_retries": 1, "confirm_publish": True, **waits}


def test_a_url_that_kombu_cannot_use_is_a_usage_error_without_its_password(make_lab: Callable[..., Lab]) -> None:
    with pytest.raises(UsageError, match="cannot be understood") as caught:
        make_lab(broker_url="memory://u:secret@h?odd=1").app.connection()
    assert "secret" not in str(caught.value)


def test_a_transport_that_cannot_be_imported_is_a_broken_plugin(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(broker_url="gone://x")
    spec = TransportSpec(schemes=("gone",), alias="wk-gone", transport="no_such_module:T", asynchronous=False)
    lab.app._configured().plugins.transports = {"gone": spec}
    try:
        with pytest.raises(PluginBroken, match="no_such_module"):
            lab.app.connection()
    finally:
        TRANSPORT_ALIASES.pop("wk-gone", None)


def test_stamps_of_a_signature_are_passed_on(lab: Lab) -> None:
    task = lab.task(add)
    options: dict[str, Any] = {"stamped_headers": ["colour"], "colour": "red", "expires": "2030-01-01T00:00:00"}
    task.apply_async([1], link={**task.s(1), "options": options})
    lab.run()
    sent = lab.envelope()
    assert (sent.headers["stamped_headers"], sent.headers["stamps"]) == (["colour"], {"colour": "red"})
    assert sent.expires == datetime(2030, 1, 1, tzinfo=UTC)
    assert json.loads(bytes(sent.body))[0] == [2, 1]  # type: ignore[arg-type]  # the memory transport delivers bytes
