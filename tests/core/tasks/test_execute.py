"""The ends that a run can have: what is stored, what is sent, and what the worker is told."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from worker_kernel import (
    Fence,
    Ignore,
    Job,
    JobKilled,
    KernelBug,
    LeaseLost,
    Outcome,
    OutcomeKind,
    Raised,
    Reject,
    SoftTimeLimitExceeded,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.core.tasks.conftest import Lab


def add(x: int, y: int = 1) -> int:
    return x + y


def test_a_value_is_stored_before_the_outcome_is_told(lab: Lab) -> None:
    result = lab.task(add).delay(2, y=3)
    outcome = lab.run(result)
    assert (outcome.kind, outcome.stored, outcome.result) == (OutcomeKind.SUCCEEDED, True, "5")
    assert lab.store.history == [
        {
            "status": "SUCCESS",
            "result": 5,
            "traceback": None,
            "children": [],
            "date_done": "2023-11-14T22:13:20+00:00",
            "task_id": result.id,
        }
    ]


@pytest.mark.parametrize(
    "exc",
    [ValueError("no"), SystemExit(3), KeyboardInterrupt(), MemoryError(), RecursionError(), SoftTimeLimitExceeded(1.5)],
    ids=lambda exc: type(exc).__name__,
)
def test_whatever_a_task_raises_fails_that_task_only(lab: Lab, exc: BaseException) -> None:
    def fail() -> None:
        raise exc

    result = lab.task(fail).delay()
    outcome = lab.run(result)
    assert (outcome.kind, outcome.stored) == (OutcomeKind.FAILED, True)
    assert outcome.failure is not None
    assert outcome.failure.type == type(exc).__name__
    assert result.state == "FAILURE"
    assert "in fail" in str(result.traceback)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.parametrize(("ending", "code"), [("return", 0), ("exit", 3), ("exit text", 1), ("raise", 1)])
def test_what_a_task_forks_ends_where_it_comes_back_from_the_task(
    lab: Lab, ending: str, code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    def fork() -> int:
        pid = os.fork()
        if pid:
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if ending == "raise":
            raise ValueError("in the fork")
        if ending != "return":
            sys.exit(3 if ending == "exit" else "a text")
        return -1

    result = lab.task(fork).delay()
    assert lab.run(result).kind is OutcomeKind.SUCCEEDED
    assert result.result == code
    assert [entry["result"] for entry in lab.store.history] == [code]
    told = capfd.readouterr().err
    assert f"came back from it: it ends with exit code {code}" in told
    assert ("ValueError: in the fork" in told) == (ending == "raise")


def test_a_real_recursion_fails_that_task_only(lab: Lab) -> None:
    def recur(n: int) -> int:
        return recur(n + 1) + 1

    result = lab.task(recur).delay(0)
    assert lab.run(result).kind is OutcomeKind.FAILED
    assert isinstance(result.result, RecursionError)


def test_wrong_arguments_fail_the_task(lab: Lab) -> None:
    task = lab.task(add)
    result = lab.app.send_task(task.name, [1, 2, 3])
    assert lab.run(result).kind is OutcomeKind.FAILED
    assert isinstance(result.result, TypeError)


def test_a_value_that_json_cannot_carry_fails_the_task_with_the_reason(lab: Lab) -> None:
    result = lab.task(object, name="opaque").delay()
    outcome = lab.run(result)
    assert (outcome.kind, outcome.stored) == (OutcomeKind.FAILED, True)
    assert "object is not JSON-serialisable" in str(result.result)


def test_numbers_that_json_cannot_write_fail_the_task_and_do_not_come_back(lab: Lab) -> None:
    def fail() -> None:
        raise ValueError(10**5000)

    value, error = lab.task(lambda: 10**5000, name="huge").delay(), lab.task(fail).delay()
    assert [lab.run(value).kind, lab.run(error).kind] == [OutcomeKind.FAILED, OutcomeKind.FAILED]
    json.dumps(lab.store.history)


def test_a_header_of_the_wrong_type_reaches_no_store(lab: Lab) -> None:
    lab.task(add).delay(1)
    sent = lab.envelope()
    odd = dict.fromkeys(("group", "parent_id", "root_id"), b"bytes")
    assert lab.job(attrs.evolve(sent, headers={**sent.headers, **odd})).run().kind is OutcomeKind.SUCCEEDED
    json.dumps(lab.store.history)


def test_a_lease_that_a_task_itself_complains_about_fails_the_task(lab: Lab) -> None:
    def complain() -> None:
        raise LeaseLost("somebody's else")

    lab.task(complain).delay()
    outcome = lab.run()
    assert (outcome.kind, outcome.fenced, outcome.stored) == (OutcomeKind.FAILED, False, True)


def test_an_undecodable_body_fails_the_task_without_running_it(lab: Lab) -> None:
    ran: list[int] = []
    task = lab.task(lambda: ran.append(1), name="never")
    task.delay()
    envelope = attrs.evolve(lab.envelope(), body=b"[[], {}")
    outcome = lab.job(envelope).run()
    assert outcome.kind is OutcomeKind.FAILED
    assert outcome.failure is not None
    assert outcome.failure.type == "MessageInvalid"
    assert not ran


def test_an_expected_exception_is_told_as_such(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise LookupError("as usual")

    lab.task(fail, throws=(LookupError,)).delay()
    with caplog.at_level(logging.INFO, "worker_kernel.tasks"):
        assert lab.run().expected is True
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert "raised expected: LookupError('as usual')" in caplog.text


def test_ignore_stores_nothing(lab: Lab) -> None:
    def ignore() -> None:
        raise Ignore

    result = lab.task(ignore).delay()
    outcome = lab.run(result)
    assert (outcome.kind, outcome.stored, lab.store.history) == (OutcomeKind.IGNORED, True, [])


def test_reject_without_requeue_is_a_failure_for_whoever_waits(lab: Lab) -> None:
    def reject() -> None:
        raise Reject("not mine")

    result = lab.task(reject).delay()
    outcome = lab.run(result)
    assert (outcome.kind, outcome.requeue, outcome.stored) == (OutcomeKind.REJECTED, False, True)
    assert result.state == "FAILURE"
    assert isinstance(result.result, Reject)


def test_reject_with_requeue_hands_the_message_back_and_stores_nothing(lab: Lab) -> None:
    def reject() -> None:
        raise Reject("later", requeue=True)

    lab.task(reject).delay()
    outcome = lab.run()
    assert (outcome.kind, outcome.requeue, lab.store.history) == (OutcomeKind.REJECTED, True, [])
    assert lab.empty(), "the message itself goes back, no copy is sent"


def test_reject_with_requeue_sends_a_copy_where_the_message_was_acknowledged_early(lab: Lab) -> None:
    def reject(n: int) -> None:
        raise Reject("later", requeue=True)

    task = lab.task(reject, acks_late=False)
    task.apply_async([7], headers={"trace": "abc"}, compression="gzip")
    first = lab.envelope()
    assert lab.job(first).run().kind is OutcomeKind.REJECTED
    copy = lab.envelope()
    assert (copy.id, copy.body, copy.headers["trace"]) == (first.id, first.body, "abc")


def test_a_hard_limit_is_a_failure_of_celerys_name(lab: Lab) -> None:
    def overrun() -> None:
        raise JobKilled("time_limit", 1.5)

    result = lab.task(overrun).delay()
    outcome = lab.run(result)
    assert (outcome.kind, outcome.stored) == (OutcomeKind.TIMED_OUT, True)
    stored = lab.store.metas[result.id]["result"]
    assert stored == {"exc_type": "TimeLimitExceeded", "exc_message": [1.5], "exc_module": "billiard.exceptions"}


@pytest.mark.parametrize("acks_late", [True, False])
def test_of_a_run_that_is_to_be_made_again_nobody_is_told(lab: Lab, acks_late: bool) -> None:
    def overrun() -> None:
        raise JobKilled("time_limit", 1.5)

    result = lab.task(overrun, acks_late=acks_late, acks_on_timeout=False).delay()
    outcome = lab.run(result)
    assert (outcome.kind, outcome.stored) == (OutcomeKind.TIMED_OUT, not acks_late)
    assert (result.id in lab.store.metas) == (not acks_late), "a message that is acknowledged cannot go back"


def test_a_cancelled_job_is_revoked_never_a_success(lab: Lab) -> None:
    def cancelled() -> None:
        raise JobKilled("cancel")

    result = lab.task(cancelled).delay()
    outcome = lab.run(result)
    assert (outcome.kind, outcome.stored, result.state) == (OutcomeKind.CANCELLED, True, "REVOKED")


def test_a_job_that_was_never_called_can_be_finished(lab: Lab) -> None:
    result = lab.task(add).delay(1)
    outcome = lab.job().finish(Raised(JobKilled("cancel")))
    assert (outcome.kind, result.state) == (OutcomeKind.CANCELLED, "REVOKED")


def test_calling_an_unprepared_job_is_a_bug(lab: Lab) -> None:
    lab.task(add).delay(1)
    with pytest.raises(KernelBug, match="without having been prepared"):
        lab.job().call()


def test_a_store_that_is_down_for_a_moment_is_tried_again_with_growing_pauses(lab: Lab) -> None:
    lab.store.down = 4
    lab.task(add).delay(1)
    assert lab.run().stored is True
    assert lab.clock.slept == [0.1, 0.2, 0.4, 0.8]


def test_a_store_that_stays_down_is_given_up_after_a_bounded_time(lab: Lab) -> None:
    lab.store.down = 10_000
    lab.task(add).delay(1)
    outcome = lab.run()
    assert (outcome.kind, outcome.stored, outcome.fenced) == (OutcomeKind.SUCCEEDED, False, False)
    assert sum(lab.clock.slept) <= 10


def test_a_result_that_comes_too_late_is_fenced_and_sends_nothing(lab: Lab) -> None:
    task = lab.task(add)
    task.apply_async([1], link=task.s(5))
    envelope = attrs.evolve(lab.envelope(), fence=Fence(authority="a", token="old"))
    lab.store.stale.add("old")
    outcome = lab.job(envelope).run()
    assert (outcome.fenced, outcome.stored) == (True, False)
    assert lab.store.history == []
    assert lab.empty()


def test_a_stale_start_is_fenced_before_the_task_runs(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(task_track_started=True)
    ran: list[int] = []
    lab.task(lambda: ran.append(1), name="late").delay()
    envelope = attrs.evolve(lab.envelope(), fence=Fence(authority="a", token="old"))
    lab.store.stale.add("old")
    assert lab.job(envelope).run().fenced is True
    assert not ran


def test_started_is_stored_where_it_is_tracked(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(task_track_started=True)
    result = lab.task(add).delay(1)
    lab.run(result)
    assert lab.store.states(result.id) == ["STARTED", "SUCCESS"]
    assert lab.store.history[0]["result"] == {"pid": os.getpid(), "hostname": lab.app.node_name}
    assert lab.store.history[0]["date_done"] is None


def test_a_started_state_that_cannot_be_stored_does_not_stop_the_task(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(task_track_started=True)
    lab.store.down = 1
    result = lab.task(add).delay(1)
    assert lab.run(result).kind is OutcomeKind.SUCCEEDED
    assert lab.store.states(result.id) == ["SUCCESS"]


@pytest.mark.parametrize(
    ("setting", "declared", "called", "stored"),
    [
        (False, None, None, True),
        (True, None, None, False),
        (True, False, None, True),
        (False, True, None, False),
        (True, True, False, True),
        (False, False, True, False),
    ],
)
def test_a_result_is_ignored_as_the_closest_says(
    make_lab: Callable[..., Lab], setting: bool, declared: bool | None, called: bool | None, stored: bool
) -> None:
    lab = make_lab(task_ignore_result=setting)
    task = lab.task(add, **({} if declared is None else {"ignore_result": declared}))
    task.apply_async([1], ignore_result=called)
    outcome = lab.run()
    assert outcome.stored is True, "nothing is wanted, or it is there"
    assert bool(lab.store.history) is stored


def test_an_ignored_result_need_not_be_json(lab: Lab) -> None:
    lab.task(object, name="opaque", ignore_result=True).delay()
    assert lab.run().kind is OutcomeKind.SUCCEEDED


def test_an_async_task_gives_an_awaitable_with_its_own_request(lab: Lab) -> None:
    async def later(self: Any, x: int) -> list[object]:
        await asyncio.sleep(0)
        return [self.request.id, x]

    task = lab.task(later, bind=True)
    results = [task.delay(n) for n in range(3)]
    jobs = [lab.job() for _ in results]
    assert all(job.is_async for job in jobs)

    async def run(job: Job) -> Outcome:
        job.prepare()
        awaitable: Any = job.call()
        return job.finish(await awaitable)

    async def run_all() -> None:
        await asyncio.gather(*map(run, jobs))

    asyncio.run(run_all())
    assert [result.get() for result in results] == [[result.id, n] for n, result in enumerate(results)]


def test_limits_come_from_the_message_then_from_the_task(lab: Lab) -> None:
    task = lab.task(add, soft_time_limit=3, time_limit=9)
    task.delay(1)
    task.apply_async([1], soft_time_limit=1.5)
    first, second = lab.job(), lab.job()
    assert (first.soft_time_limit, first.time_limit) == (3, 9)
    assert (second.soft_time_limit, second.time_limit) == (1.5, 9)


def test_an_error_of_ours_while_finishing_is_told_and_asks_for_a_report(lab: Lab, monkeypatch: Any) -> None:
    lab.task(add).delay(1)
    job = lab.job()
    job.prepare()
    monkeypatch.setattr(type(lab.app), "ignores_result", lambda *_: 1 / 0)
    outcome = job.finish(5)
    assert (outcome.kind, outcome.stored) == (OutcomeKind.FAILED, False)
    assert outcome.failure is not None
    assert outcome.failure.type == "ZeroDivisionError"


def test_a_task_that_this_process_lacks_fails_by_name(lab: Lab) -> None:
    lab.task(add, name="there")
    lab.app.send_task("there", [1])
    frame = lab.job().to_frame()
    lab.app._tasks.clear()  # as in a process that imported less
    outcome = lab.app.job_from_frame(frame).run()
    assert outcome.failure is not None
    assert outcome.failure.type == "TaskNotRegistered"


def test_a_huge_result_is_shortened_for_the_log(lab: Lab) -> None:
    lab.task(lambda: "x" * 100_000, name="huge").delay()
    assert len(lab.run().result) <= 1024


def test_nothing_is_left_of_the_request_when_the_run_is_over(lab: Lab) -> None:
    task = lab.task(add)
    task.delay(1)
    lab.run()
    assert task.request.called_directly
    assert sys.exc_info() == (None, None, None)
