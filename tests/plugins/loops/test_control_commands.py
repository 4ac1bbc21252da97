"""The commands that concern messages, tasks and queues check what they are told before they do it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from worker_kernel import Capabilities, ControlError, PoolSpec, TaskOptions
from worker_loops import control, control_commands
from worker_loops.consumer import TaskConsumer


@pytest.fixture
def worker(office: Any) -> Any:
    """An office whose desk is reached as commands reach it."""
    o = office(TaskOptions(name="t"))
    consumer = object.__new__(TaskConsumer)
    consumer.desk = o.desk
    consumer.queues = {"celery": SimpleNamespace(name="celery", routing_key="celery")}
    consumer._tasks = consumer._generation = None
    o.worker.blueprint = SimpleNamespace(component=lambda name: consumer)
    o.worker.office = o
    return o.worker


@pytest.mark.parametrize(
    ("name", "arguments", "text"),
    [
        ("revoke", {"ids": 3}, "ids must be"),
        ("revoke", {"ids": []}, "ids must be"),
        ("revoke", {"ids": ["a", 3]}, "ids must be"),
        ("revoke", {"ids": "a", "terminate": "yes"}, "terminate must be"),
        ("add_queue", {"queue": ""}, "queue must be"),
        ("add_queue", {"queue": "q" * 256}, "queue must be"),
        ("cancel_queue", {"queue": "other"}, "does not consume from"),
        ("rate_limit", {"task": "absent", "rate": "1/s"}, "there is no task 'absent'"),
        ("rate_limit", {"task": ["t"], "rate": "1/s"}, "there is no task"),
        ("rate_limit", {"task": "t", "rate": "often"}, "could not convert"),
        ("rate_limit", {"task": "t", "rate": "1/y"}, "a rate such as"),
        ("time_limit", {"task": "t", "soft": -1}, "soft must be"),
        ("time_limit", {"task": "t", "hard": True}, "hard must be"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(
    worker: Any, name: str, arguments: dict[str, Any], text: str
) -> None:
    with pytest.raises(ControlError, match=text):
        getattr(control, name)(worker, **arguments)
    assert worker.office.desk.options_of("t") == TaskOptions(name="t")
    assert worker.office.desk.revoked.ids() == []


def test_limits_hold_from_the_next_delivery_on(worker: Any, message: Any) -> None:
    office = worker.office
    control.rate_limit(worker, "t", "1/m")
    control.time_limit(worker, "t", soft=1, hard=2)
    assert office.desk.options_of("t") == TaskOptions(name="t", rate_limit="1/m", soft_time_limit=1.0, time_limit=2.0)
    office.deliver(message("1"))
    office.deliver(message("2"))
    assert [one["id"] for one in control.scheduled(worker)] == ["2"]
    assert control.rate_limit(worker, "t", None) == {"task": "t", "rate_limit": "0"}


def test_a_limit_that_the_pool_refuses_is_refused(worker: Any) -> None:
    worker.pool_spec = PoolSpec(name="humble", cls="x:Y", capabilities=Capabilities())
    with pytest.raises(ControlError, match="pool 'humble' refuses time_limit"):
        control.time_limit(worker, "t", hard=1)


def test_requests_are_listed_where_they_are(worker: Any, message: Any) -> None:
    office = worker.office
    for one in (
        message("1"),
        message("2"),
        message("3"),
        message("4", eta=office.at(60), headers={"argsrepr": "x" * 9999}),
    ):
        office.deliver(one)
    office.pool.accept(office.pool.jobs[0])
    office.events()
    assert [(one["id"], one["state"], one["pid"]) for one in control.active(worker)] == [("1", "running", 1)]
    assert {one["id"]: one["state"] for one in control.reserved(worker)} == {
        "2": "submitted", "3": "waiting", "4": "held",
    }  # fmt: skip
    (held,) = control.scheduled(worker)
    assert len(held["args"]) == 1024  # type: ignore[arg-type]  # a text, as of now
    assert held["eta"] is not None


def test_queues_are_listed_added_and_cancelled(worker: Any) -> None:
    assert control.add_queue(worker, "other") == {"queues": ["celery", "other"]}
    assert [one["name"] for one in control.active_queues(worker)] == ["celery", "other"]
    assert control.cancel_queue(worker, "celery") == {"queues": ["other"]}


def test_another_consumer_is_not_controlled(worker: Any) -> None:
    worker.blueprint = SimpleNamespace(component=lambda name: object())
    with pytest.raises(ControlError, match="not the one of worker-loops"):
        control.active(worker)


def test_every_command_exists_under_its_name() -> None:
    for spec in control_commands():
        assert spec.factory == f"worker_loops.control:{spec.name}"
        assert callable(getattr(control, spec.name))
