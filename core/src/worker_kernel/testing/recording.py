"""A listener that writes down what a pool tells it, and says which rules were broken."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection

import attrs

from ..job import Job
from ..outcome import Outcome
from ..pool import Slot

PATIENCE = 20.0
"""Seconds to wait for something that must happen; generous, because test machines are busy."""


@attrs.frozen(kw_only=True)
class Told:
    """One call of the listener."""

    what: str
    """The method: ``accepted``, ``finished``, ``resized`` or ``failing``."""
    job_id: str = ""
    """Which job it was about."""
    slot: Slot | None = None
    """With ``accepted``: where."""
    outcome: Outcome | None = None
    """With ``finished``: how it ended."""
    detail: object = None
    """With ``resized`` the size, with ``failing`` the reason and the exit code."""


class RecordingListener:
    """A `worker_kernel.PoolListener` that records. All methods may be called from any thread.

    Args:
        raising: names of callbacks that raise after they have recorded, as no listener should.
        patience: seconds to wait at the most in the ``wait_`` methods.
    """

    def __init__(self, *, raising: Collection[str] = (), patience: float = PATIENCE) -> None:
        self._changed = threading.Condition()
        self._told: list[Told] = []
        self._raising = frozenset(raising)
        self._patience = patience

    def accepted(self, job: Job, slot: Slot) -> None:
        """See `worker_kernel.PoolListener.accepted`."""
        self._record(Told(what="accepted", job_id=job.id, slot=slot))

    def finished(self, job: Job, outcome: Outcome) -> None:
        """See `worker_kernel.PoolListener.finished`."""
        self._record(Told(what="finished", job_id=job.id, outcome=outcome))

    def resized(self, size: int) -> None:
        """See `worker_kernel.PoolListener.resized`."""
        self._record(Told(what="resized", detail=size))

    def failing(self, reason: str, exit_code: int) -> None:
        """See `worker_kernel.PoolListener.failing`."""
        self._record(Told(what="failing", detail=(reason, exit_code)))

    @property
    def told(self) -> tuple[Told, ...]:
        """Everything that was told so far, in order."""
        with self._changed:
            return tuple(self._told)

    def outcomes(self, job_id: str) -> tuple[Outcome, ...]:
        """Return the outcomes told for a job so far: at most one, if the pool is honest."""
        return tuple(told.outcome for told in self.told if told.job_id == job_id and told.outcome is not None)

    def slots(self, job_id: str) -> tuple[Slot, ...]:
        """Return the slots in which a job was accepted so far: at most one, if the pool is honest."""
        return tuple(told.slot for told in self.told if told.job_id == job_id and told.slot is not None)

    def sizes(self) -> tuple[object, ...]:
        """Return the sizes that `resized` was told."""
        return tuple(told.detail for told in self.told if told.what == "resized")

    def wait_outcome(self, job_id: str) -> Outcome:
        """Wait until a job was finished and return its first outcome."""
        self.wait_until(lambda: bool(self.outcomes(job_id)), f"{job_id} is finished")
        return self.outcomes(job_id)[0]

    def wait_accepted(self, job_id: str) -> Slot:
        """Wait until a job was accepted and return its slot."""
        self.wait_until(lambda: bool(self.slots(job_id)), f"{job_id} is accepted")
        return self.slots(job_id)[0]

    def wait_until(self, happened: Callable[[], bool], what: str) -> None:
        """Wait until ``happened()`` is true after one of the calls.

        Raises:
            AssertionError: it did not become true within the listener's patience; ``what`` says what is missing.
        """
        with self._changed:
            if not self._changed.wait_for(happened, self._patience):
                raise AssertionError(f"within {self._patience} s not true: {what}; the pool told: {self._told}")

    def violations(self) -> list[str]:
        """Return a sentence for each rule of the listener's contract that was broken so far.

        The rules: accepted at most once, finished exactly once at most, never finished before accepted, one job in
        a slot at a time.
        """
        found: list[str] = []
        accepted: set[str] = set()
        finished: set[str] = set()
        busy: dict[tuple[int, int], str] = {}
        for told in self.told:
            if told.slot is not None:
                if told.job_id in accepted:
                    found.append(f"{told.job_id} was accepted twice")
                if told.job_id in finished:
                    found.append(f"{told.job_id} was accepted after it had finished")
                place = (told.slot.pid, told.slot.index)
                if place in busy:
                    found.append(f"slot {told.slot.index} took {told.job_id} while it ran {busy[place]}")
                accepted.add(told.job_id)
                busy[place] = told.job_id
            elif told.outcome is not None:
                if told.job_id in finished:
                    found.append(f"{told.job_id} was finished twice")
                finished.add(told.job_id)
                busy = {place: job_id for place, job_id in busy.items() if job_id != told.job_id}
        return found

    def _record(self, told: Told) -> None:
        with self._changed:
            self._told.append(told)
            self._changed.notify_all()
        if told.what in self._raising:
            raise RuntimeError(f"a listener that raises in {told.what}")


def eventually(happened: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
    """Poll until ``happened()`` is true.

    Raises:
        AssertionError: it did not become true within ``patience`` seconds.
    """
    deadline = time.monotonic() + patience
    while not happened():
        if time.monotonic() > deadline:
            raise AssertionError(f"within {patience} s not true: {what}")
        time.sleep(0.002)


def never(happened: Callable[[], bool], what: str, within: float = 0.1) -> None:
    """Poll for ``within`` seconds.

    An honest pool passes however slow the machine; a dishonest one is given this long to show itself.

    Raises:
        AssertionError: ``happened()`` became true.
    """
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if happened():
            raise AssertionError(f"must not happen: {what}")
        time.sleep(0.002)
