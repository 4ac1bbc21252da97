"""A revoked task does not run, wherever it is when the revocation arrives, and its result says REVOKED."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from worker_kernel import CancelHow, CancelReply, OutcomeKind, TaskOptions, Unsupported
from worker_loops import revoking
from worker_loops.revoked import Revoked


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now

    wall = monotonic

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def revoke(o: Any, *ids: str, terminate: bool = False) -> dict[str, str]:
    return revoking.revoke(o.desk, ids, terminate=terminate)


def stored(o: Any) -> list[tuple[str, OutcomeKind]]:
    """What the reports in the pool are about to store."""
    return [(job.id, job.report.kind) for job in o.pool.jobs if job.is_report]


def end_reports(o: Any) -> None:
    for job in [job for job in o.pool.jobs if job.is_report]:
        o.pool.finish(job, job.report.kind)
    o.events()


def test_what_is_held_is_dropped_at_once(office: Any, message: Any) -> None:
    o = office()
    late = o.deliver(message("1", eta=o.at(600)))
    assert revoke(o, "1") == {"1": "dropped"}
    assert stored(o) == [("1", OutcomeKind.CANCELLED)]
    assert o.timers.pending == []
    end_reports(o)
    assert late.fates == ["ack"]
    assert (o.desk.flow.held, o.desk.busy) == (0, 0)


def test_what_waits_for_a_slot_is_dropped_at_once(office: Any, message: Any) -> None:
    o = office(slots=1)
    o.deliver(message("1"))
    waiting = o.deliver(message("2"))
    assert revoke(o, "2") == {"2": "dropped"}
    end_reports(o)
    assert waiting.fates == ["ack"]
    o.end(OutcomeKind.SUCCEEDED)
    assert o.pool.jobs == []


def test_what_the_pool_has_not_begun_is_taken_back(office: Any, message: Any) -> None:
    o = office()
    sent = o.deliver(message("1"))
    assert revoke(o, "1") == {"1": "dropped"}
    o.events()
    assert stored(o) == [("1", OutcomeKind.CANCELLED)]
    end_reports(o)
    assert sent.fates == ["ack"]


def test_what_runs_goes_on_unless_it_is_to_be_ended(office: Any, message: Any) -> None:
    o = office()
    sent = o.deliver(message("1"))
    o.pool.accept(o.pool.jobs[0])
    o.events()
    hows: list[CancelHow] = []

    def cancel(job_id: str, how: CancelHow) -> CancelReply:
        hows.append(how)
        return CancelReply.CANCELLING if how is CancelHow.KILL else CancelReply.UNKNOWN

    o.pool.cancel = cancel
    assert revoke(o, "1") == {"1": "runs on"}
    assert revoke(o, "1", terminate=True) == {"1": "is being ended"}
    assert hows == [CancelHow.WAITING, CancelHow.KILL]
    o.end(OutcomeKind.CANCELLED)
    assert sent.fates == ["ack"]


def test_a_pool_that_cannot_end_what_runs_says_so(office: Any, message: Any) -> None:
    o = office()
    o.deliver(message("1"))
    o.pool.accept(o.pool.jobs[0])
    o.events()

    def cancel(job_id: str, how: CancelHow) -> CancelReply:
        raise Unsupported("cancel", "ScriptedPool")

    o.pool.cancel = cancel
    assert revoke(o, "1", terminate=True)["1"].startswith("runs on: ")


def test_what_is_not_here_is_remembered_and_refused_when_it_comes(office: Any, message: Any) -> None:
    o = office()
    assert revoke(o, "1") == {}
    assert o.desk.revoked.ids() == ["1"]
    sent = o.deliver(message("1"))
    other = o.deliver(message("2"))
    end_reports(o)
    assert sent.fates == ["ack"]
    o.end(OutcomeKind.SUCCEEDED)
    assert other.fates == ["ack"]


def test_it_is_looked_at_again_just_before_the_submission(office: Any, message: Any) -> None:
    o = office(slots=1)
    o.deliver(message("1"))
    waiting = o.deliver(message("2"))
    o.desk._admission.revoked.add(["2"])  # as if it had been missed while it was waiting
    o.end(OutcomeKind.SUCCEEDED)
    assert stored(o) == [("2", OutcomeKind.CANCELLED)]
    end_reports(o)
    assert waiting.fates == ["ack"]


def test_an_early_acknowledged_task_is_revoked_as_well(office: Any, message: Any) -> None:
    o = office(TaskOptions(name="t", acks_late=False))
    sent = o.deliver(message("1"))
    assert revoke(o, "1") == {"1": "dropped"}
    o.events()
    assert stored(o) == [("1", OutcomeKind.CANCELLED)]
    end_reports(o)
    assert sent.fates == ["ack"]
    assert o.desk.flow.early == 0


def test_revocation_works_while_a_stop_drains(office: Any, message: Any) -> None:
    o = office(slots=2)
    running, begun_late = o.deliver(message("1")), o.deliver(message("2"))
    o.pool.accept(o.pool.jobs[0])
    o.events()
    revoking.revoke(o.desk, ["2"], terminate=False)
    o.desk.drain()
    o.events()
    end_reports(o)
    assert begun_late.fates == ["ack"], "it was revoked: nobody else is to run it"
    assert running.fates == []


def test_what_has_ended_is_left_to_its_own_ending(office: Any, message: Any) -> None:
    o = office()
    o.deliver(message("1"))
    o.pool.finish(o.pool.jobs[0], OutcomeKind.TIMED_OUT, stored=False)
    o.events()
    assert stored(o) == [("1", OutcomeKind.TIMED_OUT)]
    assert revoke(o, "1", terminate=True) == {"1": "has ended"}


@given(
    st.lists(st.one_of(st.sampled_from("abcdef"), st.floats(min_value=0.1, max_value=8.0)), max_size=60),
    st.integers(min_value=1, max_value=4),
)
def test_it_remembers_the_youngest_up_to_its_bounds(script: list[str | float], most: int) -> None:
    clock = Clock()
    revoked = Revoked(clock, most=most, expires=10.0)
    since: dict[str, float] = {}
    for word in script:
        if isinstance(word, str):
            revoked.add([word])
            since.pop(word, None)
            since[word] = clock.now
        else:
            clock.now += word
        expected = [one for one, then in since.items() if clock.now - then < 10.0][-most:]
        assert [one for one in "abcdef" if one in revoked] == sorted(expected)
        assert revoked.ids() == expected
        assert len(revoked) == len(expected)
