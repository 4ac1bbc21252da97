"""From a delivery to its fate, in the words of the desk's promises."""

from __future__ import annotations

from typing import Any

import pytest

from worker_kernel import Fence, OutcomeKind, Start, StopMode, TaskOptions, implements, kernel_may_start

LATE = TaskOptions(name="t")


def test_a_finished_task_is_acknowledged_and_its_slot_is_free_again(office: Any, message: Any) -> None:
    o = office()
    m = o.deliver(message())
    assert (o.slots.running, m.fates) == (1, [])

    o.end(OutcomeKind.SUCCEEDED)

    assert (o.slots.running, m.fates, o.desk.busy) == (0, ["ack"], 0)


@pytest.mark.parametrize(
    ("kind", "extra", "options", "fate"),
    [
        (OutcomeKind.SUCCEEDED, {}, {}, "ack"),
        (OutcomeKind.RETRIED, {}, {}, "ack"),
        (OutcomeKind.IGNORED, {}, {}, "ack"),
        (OutcomeKind.CANCELLED, {}, {}, "ack"),
        (OutcomeKind.FAILED, {}, {}, "ack"),
        (OutcomeKind.FAILED, {}, {"acks_on_failure": False}, "reject"),
        (OutcomeKind.TIMED_OUT, {}, {}, "ack"),
        (OutcomeKind.TIMED_OUT, {"stored": False}, {"acks_on_timeout": False}, "requeue"),
        (OutcomeKind.REJECTED, {"requeue": True}, {}, "requeue"),
        (OutcomeKind.REJECTED, {}, {}, "quarantine: "),
        (OutcomeKind.LOST, {}, {}, "requeue"),
        (OutcomeKind.LOST, {}, {"reject_on_worker_lost": False}, "ack"),
    ],
)
def test_the_acknowledgement_matrix(
    office: Any, message: Any, kind: OutcomeKind, extra: dict[str, Any], options: dict[str, Any], fate: str
) -> None:
    o = office(TaskOptions(name="t", **options))
    m = o.deliver(message())
    o.pool.accept(o.pool.jobs[0])
    o.end(kind, **extra)
    assert m.fates == [fate]


def test_no_more_jobs_are_in_the_pool_than_there_are_slots(office: Any, message: Any) -> None:
    o = office(slots=2)
    messages = [o.deliver(message(str(n))) for n in range(5)]
    assert [job.id for job in o.pool.jobs] == ["0", "1"]

    o.end(OutcomeKind.SUCCEEDED)

    assert [job.id for job in o.pool.jobs] == ["1", "2"], "first come, first served"
    assert [bool(m.fates) for m in messages] == [True, False, False, False, False]


def test_at_most_once_the_broker_forgets_the_message_before_the_task_begins(office: Any, message: Any) -> None:
    o = office(TaskOptions(name="t", acks_late=False))
    m = message()
    submitted_with: list[Any] = []
    submit = o.pool.submit

    def watched(job: Any) -> None:
        submitted_with.append((list(m.fates), o.generation.flushed))
        submit(job)

    o.pool.submit = watched
    o.deliver(m)
    assert submitted_with == [(["ack"], 1)]

    o.end(OutcomeKind.FAILED)

    assert m.fates == ["ack"], "not settled a second time"


def test_a_message_that_makes_no_sense_is_quarantined_and_the_next_one_runs(office: Any, message: Any) -> None:
    o = office()
    bad = o.deliver(message(invalid=True))
    o.deliver(message("2"))
    assert bad.fates == ["quarantine: it makes no sense"]
    assert [job.id for job in o.pool.jobs] == ["2"]


def test_where_its_id_is_known_the_sender_is_told_before_a_bad_message_is_quarantined(
    office: Any, message: Any
) -> None:
    o = office()
    bad = o.deliver(message(invalid="salvaged"))
    (report,) = o.pool.jobs
    assert (report.is_report, report.report.kind, report.report.failure.type) == (True, "failed", "MessageInvalid")
    assert bad.fates == []
    o.end(OutcomeKind.FAILED)
    assert bad.fates == ["quarantine: it makes no sense"]


def test_a_bad_message_with_the_id_of_a_running_task_does_not_touch_it(office: Any, message: Any) -> None:
    o = office()
    good = o.deliver(message())
    bad = o.deliver(message(invalid="salvaged"))
    assert bad.fates == ["quarantine: it makes no sense"]
    assert [job.is_report for job in o.pool.jobs] == [False]
    o.end(OutcomeKind.SUCCEEDED)
    assert good.fates == ["ack"]


def test_a_message_whose_body_is_at_fault_is_quarantined(office: Any, message: Any) -> None:
    o = office()
    m = o.deliver(message())
    o.end(OutcomeKind.FAILED, invalid=True)
    assert m.fates == ["quarantine: "]


def test_the_result_of_a_task_that_was_acknowledged_early_is_not_fenced(office: Any, message: Any) -> None:
    o = office(TaskOptions(name="t", acks_late=False))
    o.deliver(message(fence=Fence(authority="a", token="t")))
    assert o.pool.jobs[0].envelope.fence is None


def test_an_unknown_task_fails_by_report_and_is_quarantined_only_then(office: Any, message: Any) -> None:
    o = office()
    m = o.deliver(message(task="nowhere"))
    assert o.pool.jobs[0].is_report
    assert m.fates == []

    o.end(OutcomeKind.FAILED)

    assert m.fates == ["quarantine: no task 'nowhere' is registered with scripted"]


def test_an_expired_task_never_runs_and_is_reported_as_revoked(office: Any, message: Any) -> None:
    o = office()
    m = o.deliver(message(expires=o.at(-1)))
    report = o.pool.jobs[0].report
    assert (report.kind, str(report.failure)) == (OutcomeKind.CANCELLED, "TaskRevoked('expired')")
    o.end(OutcomeKind.CANCELLED)
    assert m.fates == ["ack"]


def test_a_task_that_killed_its_process_three_times_is_failed_and_quarantined(office: Any, message: Any) -> None:
    o = office()
    o.deliver(message("fine", attempts=2))
    m = o.deliver(message("poison", attempts=3))
    assert [(job.id, job.is_report) for job in o.pool.jobs] == [("fine", False), ("poison", True)]
    o.pool.finish(o.pool.jobs[1], OutcomeKind.LOST)
    o.events()
    assert m.fates[0].startswith("quarantine: started 3 times")


def test_a_limit_in_a_message_that_the_pool_refuses_fails_the_task(office: Any, message: Any) -> None:
    from worker_kernel import Capabilities

    o = office(capabilities=Capabilities())
    o.deliver(message(time_limit=3.0))
    assert o.pool.jobs[0].report.failure.type == "UnsupportedOption"
    assert "time_limit=3.0" in str(o.pool.jobs[0].report.failure)


def test_a_task_with_an_eta_is_held_and_widens_the_window_until_its_time(office: Any, message: Any) -> None:
    o = office(slots=2)
    m = o.deliver(message(eta=o.at(60)))
    assert (o.pool.jobs, o.desk.flow.window) == ([], 3)
    o.clock.now += 61
    o.timers.fire()
    assert [job.id for job in o.pool.jobs] == ["1"]
    assert o.desk.flow.window == 2
    assert m.fates == []


def test_a_long_wait_is_spent_in_the_broker_where_it_can_park(office: Any, parkable: Any) -> None:
    o = office()
    m = o.deliver(parkable(eta=o.at(60)))
    assert m.fates == ["park 60"]
    assert (o.timers.pending, o.desk.flow.held) == ([], 0)


def test_a_rate_limit_spaces_the_starts(office: Any, message: Any) -> None:
    o = office(TaskOptions(name="t", rate_limit="2/s"), slots=10)
    for n in range(4):
        o.deliver(message(str(n)))
    starts = [len(o.pool.jobs)]
    for _ in range(3):
        o.clock.now += 0.5
        o.timers.fire()
        starts.append(len(o.pool.jobs))
    assert starts == [1, 2, 3, 4]


def test_rate_limits_can_be_disabled(office: Any, message: Any) -> None:
    o = office(TaskOptions(name="t", rate_limit="1/h"), slots=10, worker_disable_rate_limits=True)
    for n in range(4):
        o.deliver(message(str(n)))
    assert len(o.pool.jobs) == 4


def test_hooks_may_delay_or_reject_a_start(office: Any, message: Any) -> None:
    class Plugin:
        @staticmethod
        @implements(kernel_may_start)
        def may_start(envelope: Any) -> Start | None:
            return {"later": Start(later=0.5), "never": Start(reject="closed today")}.get(envelope.id)

    o = office()
    o.hooks.manager.register(Plugin())
    o.desk._admission._asks_hooks = True
    o.deliver(message("now"))
    o.deliver(message("later"))
    m = o.deliver(message("never"))
    assert [(job.id, job.is_report) for job in o.pool.jobs] == [("now", False), ("never", True)]
    assert o.desk.statistics()["held"] == 1
    o.pool.finish(o.pool.jobs[1], OutcomeKind.CANCELLED)
    o.events()
    assert m.fates == ["ack"]


def test_what_a_pool_could_not_store_is_reported_before_the_message_is_settled(office: Any, message: Any) -> None:
    o = office()
    m = o.deliver(message())
    o.end(OutcomeKind.TIMED_OUT, stored=False)
    assert (m.fates, o.slots.running) == ([], 0)
    assert o.pool.jobs[0].is_report
    o.end(OutcomeKind.TIMED_OUT)
    assert m.fates == ["ack"]


@pytest.mark.parametrize(
    ("kind", "options"), [(OutcomeKind.LOST, {}), (OutcomeKind.TIMED_OUT, {"acks_on_timeout": False})]
)
def test_a_run_that_came_to_nothing_is_made_again_as_often_as_a_message_may_start(
    office: Any, message: Any, kind: OutcomeKind, options: dict[str, Any]
) -> None:
    o = office(TaskOptions(name="t", **options))
    first = message(attempts=1)
    first.return_started = lambda: first.fates.append("return")
    o.deliver(first)
    o.end(kind, stored=False)
    assert (first.fates, o.pool.jobs) == (["return"], []), "nothing is stored, and the start is counted"
    last = o.deliver(message(attempts=2))
    o.end(kind, stored=False)
    assert (last.fates, o.pool.jobs[0].is_report) == ([], True)
    o.end(kind)
    assert [fate.partition(":")[0] for fate in last.fates] == ["quarantine"]


def test_a_report_that_cannot_be_stored_is_tried_again(office: Any, message: Any) -> None:
    o = office()
    m = o.deliver(message())
    o.end(OutcomeKind.TIMED_OUT, stored=False)
    o.end(OutcomeKind.TIMED_OUT, stored=False)
    assert (o.pool.jobs, m.fates) == ([], [])
    assert o.desk.flow.window == 3, "it waits without a slot"
    o.clock.now += 6
    o.timers.fire()
    assert o.desk.flow.window == 2
    o.end(OutcomeKind.TIMED_OUT)
    assert m.fates == ["ack"]


def test_a_report_whose_own_process_dies_is_made_again_of_the_same_fate(office: Any, message: Any) -> None:
    o = office()
    m = o.deliver(message())
    o.end(OutcomeKind.TIMED_OUT, stored=False)
    o.end(OutcomeKind.LOST, stored=False)
    o.clock.now += 6
    o.timers.fire()
    assert o.pool.jobs[0].report.kind is OutcomeKind.TIMED_OUT
    o.end(OutcomeKind.TIMED_OUT)
    assert m.fates == ["ack"]


def test_a_report_that_is_still_to_be_stored_outlives_the_connection(office: Any, message: Any) -> None:
    o = office(TaskOptions(name="t", acks_late=False))
    o.deliver(message())
    o.end(OutcomeKind.TIMED_OUT, stored=False)
    o.end(OutcomeKind.TIMED_OUT, stored=False)
    o.generation.alive = False
    o.desk.connection_lost()
    o.clock.now += 6
    o.timers.fire()
    assert [job.is_report for job in o.pool.jobs] == [True]
    o.end(OutcomeKind.TIMED_OUT)
    assert o.desk.busy == 0


def test_at_a_stop_a_report_is_stored_or_said_to_be_lost(office: Any, message: Any, caplog: Any) -> None:
    o = office(TaskOptions(name="t", acks_late=False))
    o.deliver(message())
    o.end(OutcomeKind.TIMED_OUT, stored=False)
    o.end(OutcomeKind.TIMED_OUT, stored=False)
    o.desk.drain()
    assert o.desk.busy == 1, "it is tried once more"
    o.end(OutcomeKind.TIMED_OUT, stored=False)
    assert "could not be stored and is lost" in caplog.text
    assert (o.desk.busy, o.timers.pending) == (0, [])


def test_a_success_that_cannot_be_stored_goes_back(office: Any, message: Any) -> None:
    o = office()
    m = o.deliver(message())
    o.end(OutcomeKind.SUCCEEDED, stored=False)
    assert m.fates == ["requeue"]


def test_a_fenced_result_leaves_the_message_alone(office: Any, message: Any) -> None:
    o = office()
    m = o.deliver(message())
    o.end(OutcomeKind.SUCCEEDED, stored=False, fenced=True)
    assert (m.fates, o.slots.running) == ([], 0)


def test_a_pool_that_is_failing_asks_for_a_warm_stop_that_ends_the_process(office: Any, message: Any) -> None:
    o = office()
    o.deliver(message())
    o.inbox.failing("too many zombies", 9)
    o.events()
    (stop,) = o.stops
    assert (stop.mode, stop.exit_code, stop.at_once) == (StopMode.WARM, 9, True)


def test_resizing_the_pool_changes_the_window(office: Any, message: Any) -> None:
    o = office(slots=2)
    o.inbox.resized(5)
    o.events()
    assert o.desk.flow.window == 5


class TestConnectionLoss:
    def test_what_runs_is_adopted_by_its_redelivery_and_runs_once(self, office: Any, message: Any) -> None:
        o = office()
        old = o.deliver(message())
        o.events()
        o.generation.alive = False
        o.desk.connection_lost()
        o.generation = type(o.generation)(o.timers)
        new = o.deliver(message(redelivered=True))
        assert len(o.pool.jobs) == 1

        o.end(OutcomeKind.SUCCEEDED)

        assert (old.fates, new.fates) == ([], ["ack"])

    def test_what_ended_meanwhile_is_settled_when_it_is_redelivered(self, office: Any, message: Any) -> None:
        o = office()
        o.deliver(message())
        o.generation.alive = False
        o.desk.connection_lost()
        o.end(OutcomeKind.SUCCEEDED)
        o.generation = type(o.generation)(o.timers)
        new = o.deliver(message(redelivered=True))
        assert (new.fates, o.pool.jobs) == (["ack"], [])

    def test_what_had_not_started_is_forgotten(self, office: Any, message: Any) -> None:
        o = office(slots=1)
        messages = [o.deliver(message("1")), o.deliver(message("2")), o.deliver(message("3", eta=o.at(9)))]
        o.desk.connection_lost()
        o.end(OutcomeKind.SUCCEEDED)
        assert [m.fates for m in messages] == [["ack"], [], []]
        assert o.pool.jobs == []
        assert o.timers.pending == []

    def test_a_retry_is_not_mistaken_for_a_redelivery(self, office: Any, message: Any) -> None:
        o = office()
        o.deliver(message())
        o.deliver(message(redelivered=True, retries=1))
        assert len(o.pool.jobs) == 2

    def test_a_copy_whose_lease_was_lost_waits_for_the_one_that_runs(self, office: Any, parkable: Any) -> None:
        o = office()
        o.deliver(parkable())
        copy = o.deliver(parkable(redelivered=True))
        assert copy.fates == ["park 1"]
        assert len(o.pool.jobs) == 1


class TestStopping:
    def test_warm_hands_back_what_waits_and_lets_run_what_runs(self, office: Any, message: Any) -> None:
        o = office(slots=2)
        messages = [o.deliver(message(str(n))) for n in range(4)]
        held = o.deliver(message("9", eta=o.at(60)))
        o.pool.accept(o.pool.jobs[0])
        o.events()

        o.desk.drain()
        o.events()

        assert [m.fates for m in messages] == [[], ["requeue"], ["requeue"], ["requeue"]]
        assert held.fates == ["requeue"]
        o.end(OutcomeKind.SUCCEEDED)
        assert messages[0].fates == ["ack"]
        assert (o.desk.busy, o.desk.handed_back, o.slots.running) == (0, 0, 0)

    def test_deliveries_that_still_come_are_handed_back(self, office: Any, message: Any) -> None:
        o = office()
        o.desk.drain()
        assert o.deliver(message()).fates == ["requeue"]

    def test_cold_hands_back_what_runs(self, office: Any, message: Any) -> None:
        o = office()
        m = o.deliver(message())
        o.pool.accept(o.pool.jobs[0])
        o.desk.abandon(o.pool.terminate, o.inbox.take)
        assert (m.fates, o.desk.handed_back, o.desk.busy) == (["requeue"], 1, 0)

    def test_cold_stores_the_loss_of_what_was_acknowledged_early(self, office: Any, message: Any) -> None:
        o = office(TaskOptions(name="t", acks_late=False))
        m = o.deliver(message())
        o.pool.accept(o.pool.jobs[0])
        ran: list[Any] = []
        report = o.worker.app.report

        def watched(envelope: Any, outcome: Any) -> Any:
            ran.append(outcome)
            return report(envelope, outcome)

        o.worker.app.report = watched
        o.desk.abandon(o.pool.terminate, o.inbox.take)
        assert m.fates == ["ack"]
        assert [outcome.kind for outcome in ran] == [OutcomeKind.LOST]

    def test_what_ended_just_before_a_cold_stop_keeps_its_ending(self, office: Any, message: Any) -> None:
        o = office()
        m = o.deliver(message())
        o.pool.finish(o.pool.jobs[0], OutcomeKind.SUCCEEDED)
        o.desk.abandon(o.pool.terminate, o.inbox.take)
        assert (m.fates, o.desk.handed_back) == (["ack"], 0)

    def test_a_pool_that_forgets_a_job_loses_nothing(self, office: Any, message: Any) -> None:
        o = office()
        m = o.deliver(message())
        o.pool.accept(o.pool.jobs[0])
        o.desk.abandon(lambda: None, o.inbox.take)
        assert m.fates == ["requeue"]
