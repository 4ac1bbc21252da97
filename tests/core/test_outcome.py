"""How jobs end, as pools count it."""

from __future__ import annotations

from worker_kernel.outcome import Outcome, OutcomeKind


def test_failed_timed_out_and_lost_count_as_failures_and_nothing_else_does() -> None:
    failing = {kind for kind in OutcomeKind if Outcome(job_id="1", kind=kind).failed}
    assert failing == {OutcomeKind.FAILED, OutcomeKind.TIMED_OUT, OutcomeKind.LOST}


def test_a_job_that_never_started_was_cancelled_and_is_not_stored() -> None:
    outcome = Outcome.never_started("1")
    assert (outcome.job_id, outcome.kind, outcome.stored, outcome.failed) == ("1", OutcomeKind.CANCELLED, False, False)
    assert str(outcome.failure) == "TaskRevoked('cancelled')"
