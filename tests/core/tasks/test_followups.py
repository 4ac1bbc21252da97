"""What is sent when a task has ended: callbacks, errbacks, the chain, and retries."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from kombu.exceptions import OperationalError

from worker_kernel import BrokerUnavailable, Ignore, JobKilled, OutcomeKind, Retry
from worker_kernel.tasks.publishing import Publisher

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.core.tasks.conftest import Lab

    from worker_kernel import App, Envelope


def add(x: int, y: int = 1) -> int:
    return x + y


def fail(x: int = 0) -> None:
    raise ValueError(x)


def body(envelope: Envelope) -> Any:
    return json.loads(bytes(envelope.body))  # type: ignore[arg-type]  # the memory transport delivers bytes


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes the broker refuse everything from then on."""

    def refuse(*_: Any, **__: Any) -> None:
        raise BrokerUnavailable("gone for a test")

    return lambda: monkeypatch.setattr(Publisher, "publish", refuse)


def test_a_callback_gets_the_value_first_and_an_immutable_one_does_not(lab: Lab) -> None:
    task = lab.task(add)
    result = task.apply_async([1, 2], link=[task.s(10), task.si(4, 5)])
    lab.run(result)
    first, second = lab.envelope(), lab.envelope()
    assert [body(first)[0], body(second)[0]] == [[3, 10], [4, 5]]
    assert first.headers["parent_id"] == first.headers["root_id"] == result.id
    assert [child.id for child in result.children] == [first.id, second.id]


def test_a_chain_goes_on_with_the_value_and_carries_its_rest(lab: Lab) -> None:
    task = lab.task(add)
    following = [{**task.s(100), "options": {"task_id": "third"}}, {**task.s(10), "options": {"task_id": "second"}}]
    task.apply_async([1, 2], chain=following)
    lab.run()
    second = lab.envelope()
    assert (second.id, body(second)[0], body(second)[2]["chain"][0]["options"]["task_id"]) == (
        "second",
        [3, 10],
        "third",
    )
    lab.job(second).run()
    third = lab.envelope()
    assert (third.id, body(third)[0], body(third)[2]["chain"]) == ("third", [13, 100], None)
    assert lab.job(third).run().result == "113"


def test_a_failure_calls_errbacks_with_the_id_and_fails_the_rest_of_the_chain(lab: Lab) -> None:
    task, failing = lab.task(add), lab.task(fail)
    chain = [{**task.s(1), "options": {"task_id": "last"}}, {**task.s(1), "options": {"task_id": "next"}}]
    result = failing.apply_async(link_error=task.s(5), link=task.s(1), chain=chain)
    assert lab.run(result).kind is OutcomeKind.FAILED
    errback = lab.envelope()
    assert body(errback)[0] == [result.id, 5]
    assert lab.empty(), "neither callback nor chain goes on"
    assert [lab.store.metas[one]["status"] for one in ("next", "last")] == ["FAILURE", "FAILURE"]
    assert lab.store.metas["next"]["result"] == lab.store.metas[result.id]["result"]


def test_the_rest_of_a_chain_fails_also_where_the_failed_task_keeps_no_result(lab: Lab) -> None:
    task, failing = lab.task(add), lab.task(fail, ignore_result=True)
    failing.apply_async(chain=[{**task.s(1), "options": {"task_id": "last"}}])
    assert lab.run().stored is True
    assert [(meta["task_id"], meta["status"]) for meta in lab.store.history] == [("last", "FAILURE")]


def test_options_of_a_signature_hold(lab: Lab) -> None:
    task = lab.task(add)
    options = {"queue": f"{lab.queue}-other", "priority": 3, "time_limit": 5, "countdown": 60, "headers": {"a": 1}}
    task.apply_async([1], link={**task.s(1), "options": options})
    lab.run()
    sent = lab.envelope(f"{lab.queue}-other")
    assert (sent.properties["priority"], sent.time_limit, sent.headers["a"]) == (3, 5.0, 1)
    assert sent.eta is not None
    assert sent.eta.timestamp() == lab.clock.now + 60


@pytest.mark.parametrize(
    ("embed", "complaint"),
    [
        ({"chord": {"task": "x"}}, "names no group"),
        ({"callbacks": [{"task": "celery.group", "subtask_type": "group", "kwargs": {}}]}, "group whose tasks"),
        ({"chain": [{"task": "x", "subtask_type": "chord"}]}, "chord without a body"),
        ({"chain": [{"task": "x", "subtask_type": "xmap"}]}, "supported are task, chain"),
        ({"callbacks": [{"task": "x", "options": {"exchange": "topic"}}]}, "exchange='topic'"),
        ({"callbacks": [{"task": "x", "options": {"magic": 1}}]}, "unknown option 'magic'"),
        ({"callbacks": [{"args": []}]}, "no signature"),
        ({"callbacks": 5}, "callbacks in the body"),
        ({"callbacks": [{"task": "x", "args": 3}]}, "arguments that are no list"),
        ({"callbacks": [{"task": "x", "options": 3}]}, "options that are no mapping"),
        ({"callbacks": [{"task": "x", "options": {"eta": "soon"}}]}, "not a time"),
    ],
)
def test_what_is_not_supported_fails_the_task_before_it_runs(lab: Lab, embed: dict[str, Any], complaint: str) -> None:
    ran: list[int] = []
    lab.task(lambda: ran.append(1), name="never").delay()
    envelope = attrs.evolve(lab.envelope(), body=json.dumps([[], {}, embed]).encode())
    outcome = lab.job(envelope).run()
    assert outcome.kind is OutcomeKind.FAILED
    assert complaint in str(outcome.failure)
    assert not ran


def test_a_callback_with_impossible_options_fails_the_task(lab: Lab) -> None:
    task = lab.task(add)
    task.apply_async([1], link={**task.s(1), "options": {"priority": 1000}})
    outcome = lab.run()
    assert outcome.kind is OutcomeKind.FAILED
    assert "priority" in str(outcome.failure)


def test_callbacks_that_cannot_be_sent_hand_the_message_back(lab: Lab, broken: Callable[[], None]) -> None:
    task = lab.task(add)
    task.apply_async([1], link=task.s(1))
    job = lab.job()
    broken()
    outcome = job.run()
    assert (outcome.kind, outcome.requeue) == (OutcomeKind.REJECTED, True)


def test_callbacks_that_cannot_be_sent_fail_a_task_whose_message_is_gone(lab: Lab, broken: Callable[[], None]) -> None:
    task = lab.task(add, acks_late=False)
    result = task.apply_async([1], link=task.s(1))
    job = lab.job()
    broken()
    outcome = job.run()
    assert (outcome.kind, outcome.requeue, outcome.stored) == (OutcomeKind.FAILED, False, True)
    assert lab.store.states(result.id) == ["FAILURE"]


def test_errbacks_that_cannot_be_sent_hand_the_message_back(lab: Lab, broken: Callable[[], None]) -> None:
    task, failing = lab.task(add), lab.task(fail)
    failing.apply_async(link_error=task.s())
    job = lab.job()
    broken()
    outcome = job.run()
    assert (outcome.kind, outcome.requeue) == (OutcomeKind.REJECTED, True)


# -- retries -----------------------------------------------------------------------------------------------------------


def again(app: App, **options: Any) -> Any:
    @app.task(bind=True, name="again", **options)
    def again(self: Any, x: int, **retry: Any) -> int:
        try:
            raise LookupError(x)
        except LookupError as exc:
            raise self.retry(exc=exc, **retry) from exc

    return again


def test_a_retry_sends_the_same_call_again_with_the_same_id_once_retry_is_stored(lab: Lab) -> None:
    task = again(lab.app)
    result = task.apply_async(
        [4], headers={"trace": "t", "x-kernel-attempts": 2}, priority=3, time_limit=50, link=task.s(1), expires=1000
    )
    first = lab.envelope()
    outcome = lab.job(first).run()
    assert (outcome.kind, outcome.stored) == (OutcomeKind.RETRIED, True)
    assert outcome.failure is not None
    assert outcome.failure.type == "LookupError"
    assert result.state == "RETRY"
    second = lab.envelope()
    assert (second.id, second.retries, second.time_limit, second.expires) == (result.id, 1, 50.0, first.expires)
    assert (second.headers["trace"], second.properties["priority"]) == ("t", 3)
    assert "x-kernel-attempts" not in second.headers
    assert second.eta is not None
    assert second.eta.timestamp() == lab.clock.now + 180
    assert json.loads(bytes(second.body)) == json.loads(bytes(first.body))  # type: ignore[arg-type]  # bytes here


def test_after_max_retries_the_exception_itself_is_raised(lab: Lab) -> None:
    task = again(lab.app, max_retries=1, default_retry_delay=0)
    result = task.delay(4)
    assert lab.run(result).kind is OutcomeKind.RETRIED
    assert lab.run(result).kind is OutcomeKind.FAILED
    assert isinstance(result.result, LookupError)
    assert lab.empty()


def test_after_max_retries_without_an_exception_max_retries_exceeded_is_raised(lab: Lab) -> None:
    task = lab.task(lambda self: self.retry(), bind=True, name="bare", max_retries=0)
    task.delay()
    outcome = lab.run()
    assert outcome.failure is not None
    assert outcome.failure.type == "MaxRetriesExceeded"
    assert "Can't retry bare[" in str(outcome.failure.args[0])


def test_max_retries_none_never_ends(lab: Lab) -> None:
    task = again(lab.app, max_retries=None, default_retry_delay=0)
    task.delay(1)
    assert [lab.run().kind for _ in range(5)] == [OutcomeKind.RETRIED] * 5


def test_a_retry_may_change_the_call(lab: Lab) -> None:
    task = lab.task(
        lambda self, x: self.retry(args=[x + 1], countdown=5, queue=f"{lab.queue}-slow"), bind=True, name="r"
    )
    task.delay(1)
    lab.run()
    assert body(lab.envelope(f"{lab.queue}-slow"))[0] == [2]


def test_a_retry_whose_time_has_passed_is_for_now(lab: Lab) -> None:
    lab.task(lambda self: self.retry(countdown=-5), bind=True, name="late").delay()
    assert lab.run().kind is OutcomeKind.RETRIED
    second = lab.envelope()
    assert second.retries == 1
    assert second.eta is not None
    assert second.eta.timestamp() == lab.clock.now


def test_a_retry_called_directly_raises_the_exception(lab: Lab) -> None:
    with pytest.raises(LookupError):
        again(lab.app)(1)
    with pytest.raises(Retry):
        lab.task(lambda self: self.retry(), bind=True, name="bare")()


def test_a_retry_that_is_not_thrown_is_sent_and_the_task_goes_on(lab: Lab) -> None:
    def go_on(self: Any) -> str:
        return type(self.retry(throw=False, countdown=0)).__name__

    lab.task(go_on, bind=True).delay()
    outcome = lab.run()
    assert (outcome.kind, outcome.result) == (OutcomeKind.SUCCEEDED, "'Retry'")
    assert lab.envelope().retries == 1


def test_a_retry_is_sent_also_where_the_task_asks_to_be_ignored(lab: Lab) -> None:
    def quietly(self: Any) -> None:
        self.retry(throw=False, countdown=0)
        raise Ignore

    lab.task(quietly, bind=True).delay()
    assert lab.run().kind is OutcomeKind.IGNORED
    assert lab.envelope().retries == 1


@pytest.mark.parametrize("reason", ["stop", "cancel", "time_limit"])
def test_a_run_that_is_ended_from_outside_is_not_retried_as_well(lab: Lab, reason: str) -> None:
    def ask_and_go_on(self: Any) -> None:
        self.retry(throw=False, countdown=0)
        raise JobKilled(reason)

    result = lab.task(ask_and_go_on, bind=True).delay()
    outcome = lab.run(result)
    assert outcome.stored is (reason != "stop")
    assert lab.store.states(result.id) == {"stop": [], "cancel": ["REVOKED"], "time_limit": ["FAILURE"]}[reason]
    assert lab.empty()


def test_a_retry_that_cannot_be_sent_hands_the_message_back(lab: Lab, broken: Callable[[], None]) -> None:
    again(lab.app).delay(1)
    job = lab.job()
    broken()
    outcome = job.run()
    assert (outcome.kind, outcome.requeue) == (OutcomeKind.REJECTED, True)


def test_a_retry_that_cannot_be_sent_fails_a_task_whose_message_is_gone(lab: Lab, broken: Callable[[], None]) -> None:
    result = again(lab.app, acks_late=False).delay(1)
    job = lab.job()
    broken()
    assert job.run().kind is OutcomeKind.FAILED
    assert lab.store.states(result.id) == ["RETRY", "FAILURE"]


def test_autoretry_doubles_its_delay_up_to_the_maximum(lab: Lab) -> None:
    lab.task(
        fail, autoretry_for=(ValueError,), max_retries=4, retry_backoff=2, retry_backoff_max=10, retry_jitter=False
    ).delay(1)
    delays = []
    while (envelope := lab.envelope()).retries < 4:
        assert lab.job(envelope).run().kind is OutcomeKind.RETRIED
        following = lab.envelope()
        assert following.eta is not None
        delays.append(following.eta.timestamp() - lab.clock.now)
        lab.app.send(_as_sent(following, lab.queue))
    assert delays == [2, 4, 8, 10]
    assert lab.job(envelope).run().kind is OutcomeKind.FAILED


def _as_sent(envelope: Envelope, queue: str) -> Any:
    from worker_kernel.tasks.context import Outgoing
    from worker_kernel.tasks.frames import copy_of

    return Outgoing(message=copy_of(envelope), queue=queue)


def test_a_broker_that_is_away_is_told_with_its_url_and_without_its_password(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(broker_url="amqp://me:secret@127.0.0.1:1//", task_publish_retry=False)
    with pytest.raises(BrokerUnavailable) as caught:
        lab.task(add).delay(1)
    assert "amqp://me:**@127.0.0.1:1//" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert isinstance(caught.value.__cause__, (OSError, OperationalError))
