"""A run: what may be raised in its call, and who reports it."""

from __future__ import annotations

import random
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import permutations

import pytest

from worker_kernel.clock import SystemClock
from worker_kernel.errors import JobKilled, SoftTimeLimitExceeded, UnsupportedOption
from worker_kernel.job import Job, Raised
from worker_kernel.limits import Limits, Run, ThreadRun
from worker_kernel.outcome import Outcome, OutcomeKind
from worker_kernel.pool import CancelHow, PoolConfig, Slot
from worker_kernel.testing import FakeJob, RecordingListener
from worker_kernel.testing.recording import eventually

SLOT = Slot(index=0, pid=1)


def run_of(job: Job) -> ThreadRun:
    run = ThreadRun(job, SLOT, SystemClock())
    assert run.begin()
    return run


def spin(rounds: int = 200) -> int:
    """Run Python, so that whatever is under way to this thread arrives."""
    return sum(number for number in range(rounds))


def test_a_soft_limit_is_raised_once_and_the_task_may_catch_it() -> None:
    caught: list[BaseException] = []

    def body(job: FakeJob) -> str:
        try:
            assert run.raise_soft(2.5)
            spin()
        except SoftTimeLimitExceeded as exc:
            caught.append(exc)
        assert not run.raise_soft(2.5)
        spin()
        return "tidied up"

    job = FakeJob(body=body)
    run = run_of(job)
    outcome = run.perform()
    assert outcome is not None
    assert outcome.kind is OutcomeKind.SUCCEEDED
    assert [exc.args for exc in caught] == [(2.5,)]
    assert type(caught[0]) is SoftTimeLimitExceeded


def test_a_kill_says_why_and_which_limit() -> None:
    def body(job: FakeJob) -> None:
        run.raise_kill("time_limit", 3.0)
        spin()

    job = FakeJob(body=body)
    run = run_of(job)
    outcome = run.perform()
    assert outcome is not None
    assert outcome.kind is OutcomeKind.TIMED_OUT
    assert isinstance(job.raised, JobKilled)
    assert (job.raised.reason, job.raised.limit) == ("time_limit", 3.0)


@pytest.mark.parametrize("answer", ["returns", "raises"])
def test_a_kill_that_the_task_swallowed_is_its_ending_all_the_same(answer: str) -> None:
    def body(job: FakeJob) -> None:
        try:
            run.raise_kill("cancel")
            spin()
        except JobKilled:
            if answer == "raises":
                raise ValueError("no") from None

    job = FakeJob(body=body)
    run = run_of(job)
    outcome = run.perform()
    assert outcome is not None
    assert outcome.kind is OutcomeKind.CANCELLED


def test_a_job_that_ended_keeps_its_ending() -> None:
    job = FakeJob(value="mine")
    run = run_of(job)
    outcome = run.perform()
    assert outcome is not None
    assert not run.raise_soft(1.0)
    assert not run.raise_kill("time_limit", 1.0)
    assert not run.abandon()
    assert run.claim()
    assert job.endings == ["mine"]


def test_what_is_sent_before_the_call_is_raised_in_its_stead() -> None:
    job = FakeJob(prepare_body=lambda job: (run.raise_kill("cancel"), spin()))
    run = run_of(job)
    outcome = run.perform()
    assert outcome is not None
    assert outcome.kind is OutcomeKind.CANCELLED
    assert job.steps == ["prepare", "finish"]
    assert not job.interrupted


def test_a_kill_takes_the_place_of_a_soft_limit_but_not_the_reverse() -> None:
    def body(job: FakeJob) -> None:
        assert run.raise_kill("cancel")
        assert not run.raise_soft(1.0)

    run = run_of(FakeJob(body=body))
    assert run.perform() is not None


def test_an_async_job_fails_with_the_reason() -> None:
    job = FakeJob(is_async=True)
    outcome = run_of(job).perform()
    assert outcome is not None
    assert outcome.kind is OutcomeKind.FAILED
    assert isinstance(job.raised, UnsupportedOption)
    assert "async def" in str(job.raised)


@pytest.mark.parametrize("error", [RuntimeError("store down"), SystemExit(3), MemoryError()])
def test_a_finish_that_raises_fails_the_job_and_nobody_has_stored_it(error: BaseException) -> None:
    outcome = run_of(FakeJob(raises={"finish": error})).perform()
    assert outcome is not None
    assert outcome.kind is OutcomeKind.FAILED
    assert not outcome.stored


@pytest.mark.parametrize("order", list(permutations(["claim", "abandon", "give_up"])))
def test_one_alone_reports_a_job_that_goes_on(order: tuple[str, ...]) -> None:
    reported: list[str] = []

    def body(job: FakeJob) -> None:
        reported.extend(name for name in order if getattr(run, name)())

    run = run_of(FakeJob(body=body))
    run.perform()
    assert reported == [order[0]]


def test_a_job_given_up_is_not_finished_for_its_fate_is_decided_elsewhere() -> None:
    job = FakeJob(body=lambda job: run.abandon())
    run = run_of(job)
    assert run.perform() is None
    assert job.steps == ["prepare", "call"]
    assert not run.claim()


def test_a_job_not_yet_accepted_is_given_up_by_its_own_thread() -> None:
    run = ThreadRun(FakeJob(), SLOT, SystemClock())
    assert not run.give_up()
    assert not run.begin()
    assert run.claim()
    assert run.lost().kind is OutcomeKind.LOST


def test_what_is_stuck_in_finish_can_be_given_up_but_not_abandoned() -> None:
    seen: list[bool] = []
    job = FakeJob(finish_body=lambda job: seen.extend([run.abandon(), run.give_up()]))
    run = run_of(job)
    assert run.perform() is not None
    assert seen == [False, True]
    assert not run.claim()


class QuickJob(Job):
    """Ends at once, and would notice what is raised after its call."""

    task = "quick"
    soft_time_limit = time_limit = None
    is_async = is_report = False

    def __init__(self, rounds: int) -> None:
        self.id = "quick"
        self.rounds = rounds
        self.endings: list[object] = []

    def prepare(self) -> None:
        spin(3)

    def call(self) -> object:
        return spin(self.rounds)

    def finish(self, ending: object) -> Outcome:
        spin()
        self.endings.append(ending)
        return Outcome(job_id=self.id, kind=OutcomeKind.SUCCEEDED)

    def to_frame(self) -> bytes:
        return b""


@pytest.fixture
def hurried() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hurried")
def test_a_storm_of_limits_and_cancels_never_leaves_the_call() -> None:
    """All three reasons to raise, at random moments around the end of 10,000 short calls."""
    current: list[Run | None] = [None]
    over = threading.Event()
    random_rounds = random.Random(7)
    ended: Counter[str] = Counter()
    sent: Counter[str] = Counter()

    def bombard() -> None:
        chance = random.Random(11)
        while not over.is_set():
            run = current[0]
            if run is None:
                continue
            spin(chance.randrange(40))
            sent["soft"] += run.raise_soft(1.0)
            spin(chance.randrange(20))
            sent["cancel"] += run.raise_kill("cancel")
            spin(chance.randrange(20))
            sent["hard"] += run.raise_kill("time_limit", 2.0)

    def serve() -> None:
        try:
            for _ in range(10_000):
                job = QuickJob(random_rounds.randrange(60))
                run = run_of(job)
                current[0] = run
                assert run.perform() is not None
                spin(30)
                current[0] = None
                (ending,) = job.endings
                ended[type(ending.exception).__name__ if isinstance(ending, Raised) else "value"] += 1
        finally:
            over.set()

    threads = [threading.Thread(target=target) for target in (bombard, bombard, serve)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ended.total() == 10_000, "something was raised after a call, and ended the thread"
    assert set(ended) <= {"value", "SoftTimeLimitExceeded", "JobKilled"}, ended
    assert sent.total() > 0


def config(**options: float | None) -> PoolConfig:
    return PoolConfig(limit=1, listener=RecordingListener(), **{"limit_grace": 0.05, **options})  # type: ignore[arg-type]  # the fields of the test's choice


class Watched:
    """Limits, and what they found stuck."""

    def __init__(self, **options: float | None) -> None:
        self.stuck: list[tuple[Run, JobKilled]] = []
        self.found = threading.Event()
        self.limits = Limits(config(**options), self._stuck)

    def _stuck(self, run: Run, kill: JobKilled) -> None:
        self.stuck.append((run, kill))
        self.found.set()

    def run(self, job: FakeJob) -> Outcome | None:
        run = run_of(job)
        self.limits.begin(run)
        try:
            return run.perform()
        finally:
            self.limits.end(run)


@pytest.fixture
def watch() -> Iterator[Callable[..., Watched]]:
    made: list[Watched] = []

    def make(**options: float | None) -> Watched:
        made.append(Watched(**options))
        return made[-1]

    yield make
    for watched in made:
        watched.limits.stop()


def test_a_job_that_does_not_end_is_found_stuck_with_its_kill(watch: Callable[..., Watched]) -> None:
    watched = watch(time_limit=0.02)

    def body(job: FakeJob) -> None:
        while not watched.found.is_set():
            try:
                spin()
            except JobKilled:
                continue

    job = FakeJob(body=body)
    watched.run(job)
    ((run, kill),) = watched.stuck
    assert run.job is job
    assert (kill.reason, kill.limit) == ("time_limit", 0.02)
    assert run.killed(kill).kind is OutcomeKind.TIMED_OUT


def test_no_limit_is_left_of_a_job_that_has_ended(watch: Callable[..., Watched]) -> None:
    watched = watch(soft_time_limit=60.0, time_limit=61.0)
    run = run_of(FakeJob())
    watched.limits.begin(run)
    assert [deadline.pending for deadline in run._deadlines] == [True, True]
    watched.limits.end(run)
    assert [deadline.pending for deadline in run._deadlines] == [False, False]


def test_infinite_is_no_limit(watch: Callable[..., Watched]) -> None:
    watched = watch(time_limit=0.0)
    outcome = watched.run(FakeJob(time_limit=float("inf"), body=lambda job: spin(100_000)))
    assert outcome is not None
    assert outcome.kind is OutcomeKind.SUCCEEDED


def test_a_soft_limit_beyond_the_hard_one_never_comes(watch: Callable[..., Watched]) -> None:
    watched = watch(soft_time_limit=0.05, time_limit=0.05)
    job = FakeJob(held=True)
    outcome = watched.run(job)
    assert outcome is not None
    assert outcome.kind is OutcomeKind.TIMED_OUT
    assert [type(exc) for exc in job.caught] == [JobKilled]


def test_a_blocking_call_makes_the_soft_limit_undeliverable_and_the_log_says_so(
    watch: Callable[..., Watched], caplog: pytest.LogCaptureFixture
) -> None:
    watched = watch(soft_time_limit=0.01)
    lock = threading.Lock()
    lock.acquire()

    def release() -> None:
        eventually(lambda: "undeliverable" in caplog.text, "it is told")
        lock.release()

    releaser = threading.Thread(target=release)
    releaser.start()
    job = FakeJob(body=lambda job: lock.acquire())
    watched.run(job)
    releaser.join()
    assert isinstance(job.raised, SoftTimeLimitExceeded), "it is raised when the call returns"


def test_cancel_by_kill_finds_stuck_what_does_not_end(watch: Callable[..., Watched]) -> None:
    watched = watch()

    def body(job: FakeJob) -> None:
        while not watched.found.is_set():
            try:
                if canceller.ident is None:
                    canceller.start()
                spin()
            except JobKilled:
                continue

    run = run_of(FakeJob(body=body))
    canceller = threading.Thread(target=watched.limits.cancel, args=(run, CancelHow.KILL))
    watched.limits.begin(run)
    run.perform()
    watched.limits.end(run)
    canceller.join()
    assert [kill.reason for _, kill in watched.stuck] == ["cancel"]
    assert run.killed(watched.stuck[0][1]).kind is OutcomeKind.CANCELLED
