"""What the pool of processes promises beyond the conformance kit, with real children that run a small application.

Rows of "Pool Configuration Parameters" that are shown elsewhere: ``initargs``, ``putlocks``, ``threads`` and
``semaphore`` reach the pool in tests/core/worker/test_pool_step.py; limits, memory and ``lost_worker_timeout`` are in
tests/contract/test_prefork.py, tests/system/test_prefork.py and test_crew.py.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from tests.plugins.prefork.small_application import SmallJob, app

from worker_kernel import BootRecord, OutcomeKind, Unsupported, UsageError
from worker_kernel.testing import RecordingListener
from worker_pool_prefork import CONTRACT, pools
from worker_pool_prefork.pool import PreforkPool

MakePool = Callable[..., PreforkPool]
Until = Callable[[Callable[[], object], str], None]
METHODS = ("fork", "spawn", "forkserver")


def listener_of(pool: PreforkPool) -> RecordingListener:
    listener = pool.config.listener
    assert isinstance(listener, RecordingListener)
    return listener


def children(pool: PreforkPool) -> list[dict[str, Any]]:
    """What statistics say of each child."""
    told = pool.statistics().extra["children"]
    assert isinstance(told, list)
    return told


def pids(pool: PreforkPool, *states: str) -> set[int]:
    """The processes of the children in one of these states; without any: of all."""
    return {child["pid"] for child in children(pool) if child["pid"] and (not states or child["state"] in states)}


def run(pool: PreforkPool, *jobs: SmallJob) -> list[str]:
    """Run jobs, and return their values."""
    for job in jobs:
        pool.submit(job)
    outcomes = [listener_of(pool).wait_outcome(job.id) for job in jobs]
    assert {outcome.kind for outcome in outcomes} == {OutcomeKind.SUCCEEDED}, outcomes
    return [outcome.result for outcome in outcomes]


class Holds:
    """Jobs that run until the test lets them end."""

    def __init__(self, folder: Path, until: Until) -> None:
        self._folder, self._until = folder, until

    def job(self, name: str, **script: Any) -> SmallJob:
        return SmallJob(name, "hold", str(self._folder / f"{name}.gate"), **script)

    def start(self, pool: PreforkPool, *names: str, **script: Any) -> list[int]:
        """Submit jobs of these names, wait until they run, and return in which processes."""
        for name in names:
            pool.submit(self.job(name, **script))
        return [self.pid(name) for name in names]

    def pid(self, name: str) -> int:
        mark = self._folder / f"{name}.runs"
        self._until(lambda: mark.exists() and mark.read_text(), f"{name} to run")
        return int(mark.read_text())

    def runs(self, name: str) -> bool:
        return (self._folder / f"{name}.runs").exists()

    def release(self, *names: str) -> None:
        for name in names:
            (self._folder / f"{name}.gate").touch()


@pytest.fixture
def holds(tmp_path: Path, until: Until) -> Holds:
    return Holds(tmp_path, until)


def test_the_plugin_declares_the_class_s_own_capabilities() -> None:
    (spec,) = pools()
    assert CONTRACT == 1
    assert (spec.name, spec.cls) == ("prefork", "worker_pool_prefork.pool:PreforkPool")
    assert spec.capabilities == PreforkPool.capabilities


@pytest.mark.parametrize("method", METHODS)
def test_jobs_run_in_as_many_children_as_there_are_slots(make_pool: MakePool, holds: Holds, method: str) -> None:
    """Row ``min_concurrency``."""
    pool = make_pool(2, method=method)
    running = holds.start(pool, "one", "two")
    assert len({*running, os.getpid()}) == 3
    assert set(running) == pids(pool)
    holds.release("one", "two")


def test_a_child_s_first_hooks_get_its_index_and_it_has_application_and_name(
    make_pool: MakePool, tmp_path: Path, until: Until
) -> None:
    """Row ``initargs``: a forked child has the application, and is called by the worker's name."""

    def init(index: int) -> None:
        title = Path("/proc/self/cmdline").read_text(errors="replace").rstrip("\0")
        (tmp_path / f"child-{index}").write_text(f"{app.name} {title}")

    pool = make_pool(2, child_init=init, node_name="me@here")
    run(pool, SmallJob("any", "pid"))
    until(lambda: pids(pool, "ready") == pids(pool), "both to be ready")
    for index in (0, 1):
        assert (tmp_path / f"child-{index}").read_text() == f"fake kernel: me@here slot {index}: starting"


def test_jobs_queued_behind_a_long_one_are_taken_back_and_run_elsewhere(make_pool: MakePool, holds: Holds) -> None:
    """Row ``sched_strategy``: fast."""
    pool = make_pool(2, strategy="fast")
    pool.submit(holds.job("long"))
    (long,) = [holds.pid("long")]
    values = run(pool, *(SmallJob(f"short-{number}", "pid") for number in range(40)))
    assert str(long) not in values
    assert not listener_of(pool).outcomes("long")
    holds.release("long")
    listener_of(pool).wait_outcome("long")
    assert listener_of(pool).violations() == []


@pytest.mark.parametrize(("runs", "liked"), [(None, 2 * 127), (1, 0), (10, 2 * 9)])
def test_a_child_likes_no_more_jobs_than_it_may_run(make_pool: MakePool, runs: int | None, liked: int) -> None:
    assert make_pool(2, max_tasks_per_child=runs).backlog(0.00001) == liked


def test_in_fair_a_job_never_waits_in_a_child(make_pool: MakePool, holds: Holds) -> None:
    """Row ``sched_strategy``: fair."""
    pool = make_pool(2, strategy="fair")
    holds.start(pool, "one", "two")
    for number in range(5):
        pool.submit(SmallJob(f"later-{number}"))
    statistics = pool.statistics()
    assert (statistics.running, statistics.free) == (2, 0)
    assert [child["jobs"] for child in children(pool)] == [1, 1]
    holds.release("one", "two")
    for number in range(5):
        listener_of(pool).wait_outcome(f"later-{number}")
    assert statistics.extra["strategy"] == "fair"


def test_a_child_that_is_stopped_before_it_accepts_is_caught_by_the_limit_and_its_job_runs_elsewhere(
    make_pool: MakePool, until: Until
) -> None:
    """Row ``timeout``."""
    pool = make_pool(1, time_limit=0.5)
    run(pool, SmallJob("first", "pid"))
    (stopped,) = pids(pool)
    os.kill(stopped, signal.SIGSTOP)
    (other,) = run(pool, SmallJob("second", "pid"))
    assert other != str(stopped)
    assert [told.job_id for told in listener_of(pool).told if told.what == "finished"] == ["first", "second"]
    until(lambda: pids(pool) == {int(other)}, "the stopped one to be gone")


def test_a_child_that_is_stopped_while_a_task_runs_is_killed_after_the_hard_limit(
    make_pool: MakePool, holds: Holds
) -> None:
    """Row ``timeout``: of the task itself."""
    pool = make_pool(1, time_limit=60.0)
    (pid,) = holds.start(pool, "stopped", time_limit=0.5)
    os.kill(pid, signal.SIGSTOP)
    assert listener_of(pool).wait_outcome("stopped").kind is OutcomeKind.TIMED_OUT
    assert run(pool, SmallJob("next", "pid")) != [str(pid)]


@pytest.mark.parametrize("method", METHODS)
def test_a_child_is_replaced_after_its_runs_by_a_warm_one_and_the_pool_never_has_less_room(
    make_pool: MakePool, method: str
) -> None:
    """Row ``maxtasksperchild``."""
    pool = make_pool(2, method=method, max_tasks_per_child=3, strategy="fair")
    run(pool, *(SmallJob(f"warm-{number}") for number in range(2)))
    sizes: list[int] = []
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            told = [child["state"] for child in children(pool)]
            sizes.append(sum(state in ("ready", "busy", "retiring") for state in told))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        values = run(pool, *(SmallJob(f"job-{number}", "pid") for number in range(30)))
    finally:
        over.set()
        watcher.join()
    assert max(values.count(pid) for pid in values) <= 3
    assert min(sizes) >= 1, "never below the limit less one"
    assert pool.statistics().recycled["max_tasks_per_child"] >= 8
    assert pool.statistics().size == 2


def test_the_pool_grows_and_shrinks_and_busy_children_go_last(make_pool: MakePool, holds: Holds, until: Until) -> None:
    pool = make_pool(1)
    (busy,) = holds.start(pool, "busy")
    pool.grow(2)
    until(lambda: len(pids(pool, "ready")) == 2, "two more")
    assert (pool.statistics().limit, pool.statistics().size) == (3, 3)
    pool.shrink(2)
    until(lambda: pids(pool) == {busy}, "the idle ones to go")
    pool.grow(1)
    holds.start(pool, "other")
    pool.shrink(1)
    assert pool.statistics().size == 2, "a busy one goes when its job has ended"
    holds.release("other")
    until(lambda: pids(pool) == {busy}, "it to go")
    assert not listener_of(pool).outcomes("busy")
    assert listener_of(pool).sizes() == (3, 1, 2, 1)
    with pytest.raises(ValueError, match="one must stay"):
        pool.shrink(1)
    holds.release("busy")
    listener_of(pool).wait_outcome("busy")


def test_statistics_tell_of_each_child(make_pool: MakePool, holds: Holds, until: Until) -> None:
    pool = make_pool(2, memory_limit=1 << 40)
    (pid,) = holds.start(pool, "one")
    until(lambda: len(pids(pool, "ready", "busy")) == 2 and all(child["memory"] for child in children(pool)), "a look")
    extra = pool.statistics().extra
    assert (extra["start_method"], extra["strategy"]) == ("fork", "adaptive")
    busy, idle = sorted(children(pool), key=lambda child: -child["jobs"])
    assert {key: busy[key] for key in ("pid", "state", "slots", "generation", "done", "jobs", "task")} == {
        "pid": pid,
        "state": "busy",
        "slots": 1,
        "generation": 0,
        "done": 0,
        "jobs": 1,
        "task": "hold",
    }
    assert (idle["state"], idle["jobs"], idle["task"]) == ("ready", 0, None)
    assert {busy["index"], idle["index"]} == {0, 1}
    assert busy["uptime"] > 0
    assert busy["memory"] > 1 << 20
    holds.release("one")
    listener_of(pool).wait_outcome("one")
    assert sum(child["done"] for child in children(pool)) == 1


def test_statistics_can_be_asked_for_from_any_thread_while_children_come_and_go(make_pool: MakePool) -> None:
    # Not forked from here: a child that is forked beside busy threads inherits whatever locks these hold.
    pool = make_pool(2, method="forkserver", max_tasks_per_child=5, strategy="fast")
    raised: list[BaseException] = []
    over = threading.Event()

    def ask() -> None:
        while not over.wait(0.001):
            try:
                told = pool.statistics()
                assert told.size == told.running + told.free
            except BaseException as exc:
                raised.append(exc)
                return

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        run(pool, *(SmallJob(f"job-{number}") for number in range(50)))
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert raised == []
    assert pool.statistics().recycled["max_tasks_per_child"] >= 5


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_zygote_that_is_killed_or_stopped_while_children_are_replaced_is_replaced_itself(
    make_pool: MakePool, until: Until, number: signal.Signals
) -> None:
    pool = make_pool(2, method="forkserver", max_tasks_per_child=2, lost_wait=1.0, strategy="fair")
    until(lambda: len(pids(pool, "ready")) == 2, "both")
    old = pids(pool)
    (zygote,) = run(pool, SmallJob("first", "parent"))
    os.kill(int(zygote), number)
    jobs = [SmallJob(f"job-{count}", "parent") for count in range(8)]
    for job in jobs:
        pool.submit(job)
    outcomes = [listener_of(pool).wait_outcome(job.id) for job in jobs]
    assert {outcome.kind for outcome in outcomes} <= {OutcomeKind.SUCCEEDED, OutcomeKind.LOST}
    assert run(pool, SmallJob("last", "parent")) != [zygote]
    until(lambda: len(pids(pool, "ready")) == 2, "the pool's size")
    assert not old & pids(pool)
    until(lambda: not any(_lives(pid) for pid in (*old, zygote)), "their end")


def _lives(pid: object) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("hangs", ["init", "import", "import in the zygote"])
def test_a_child_whose_start_hangs_is_killed_after_its_time_and_started_anew(
    make_pool: MakePool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hangs: str
) -> None:
    once = tmp_path / "once"
    options: dict[str, Any] = {"options": {"worker_proc_alive_timeout": 1.0}}
    if hangs == "init":
        options["child_init"] = lambda _: _hang(once)
    else:
        (tmp_path / "hanging.py").write_text(
            f"import sys, time; from pathlib import Path\nonce = Path({str(once)!r})\n"
            "if not once.exists():\n    once.touch()\n    time.sleep(600)\n"
        )
        boot = _boot(include=("hanging",), path=(str(tmp_path),))
        method = "spawn" if hangs == "import" else "forkserver"
        options |= {"boot": boot, "method": method, "options": {"worker_proc_alive_timeout": 5.0}, "lost_wait": 1.0}
    pool = make_pool(1, **options)
    run(pool, SmallJob("any", "pid"))
    assert once.exists()
    assert pool.statistics().recycled == {"lost": 1}


def _hang(once: Path) -> None:
    if not once.exists():
        once.touch()
        signal.pause()


def _boot(*, include: tuple[str, ...] = (), path: Iterable[str] = ()) -> BootRecord:
    return BootRecord(origin=app.origin or "", include=include, path=(*path, *sys.path), directory=str(Path.cwd()))


def test_a_restart_is_refused_by_name_unless_it_was_allowed(make_pool: MakePool, until: Until) -> None:
    """Row ``allow_restart``."""
    with pytest.raises(Unsupported, match="worker_pool_restarts"):
        make_pool(1).restart()
    pool = make_pool(2, allow_restart=True)
    run(pool, SmallJob("any"))
    until(lambda: len(pids(pool, "ready")) == 2, "both")
    before = pids(pool)
    pool.restart()
    until(lambda: len(pids(pool, "ready")) == 2 and not before & pids(pool), "two others")
    assert pool.statistics().recycled == {"restart": 2}
    assert {child["generation"] for child in children(pool)} == {1}


def test_a_child_that_is_killed_before_it_is_ready_is_started_anew(
    make_pool: MakePool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def init(index: int) -> None:
        del index
        if not (tmp_path / "once").exists():
            (tmp_path / "once").touch()
            os.kill(os.getpid(), signal.SIGKILL)

    pool = make_pool(1, child_init=init)
    run(pool, SmallJob("any"))
    assert caplog.text.count("a child process could not be started") == 1


def test_a_child_that_crashes_while_it_starts_leaves_its_stack_in_the_log(
    make_pool: MakePool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def crash_once(index: int) -> None:
        del index
        if not (tmp_path / "once").exists():
            (tmp_path / "once").touch()
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            ctypes.string_at(0)

    pool = make_pool(1, child_init=crash_once)
    run(pool, SmallJob("any"))
    (said,) = [message for message in caplog.messages if "could not be started" in message]
    assert "signal 11 (SIGSEGV)" in said
    assert "crash_once" in said


def test_a_job_that_kills_its_process_is_lost_with_signal_and_peak(make_pool: MakePool) -> None:
    pool = make_pool(1)
    pool.submit(SmallJob("fatal", "die", "9"))
    outcome = listener_of(pool).wait_outcome("fatal")
    assert outcome.kind is OutcomeKind.LOST
    assert "signal 9 (SIGKILL), peak memory" in str(outcome.failure)
    run(pool, SmallJob("next"))
    assert pool.statistics().recycled == {"lost": 1}


def test_a_start_method_that_cannot_find_the_application_is_refused_with_the_remedy(make_pool: MakePool) -> None:
    for method in ("spawn", "forkserver"):
        with pytest.raises(UsageError, match="--pool-start-method fork"):
            make_pool(1, method=method, boot=None)


def test_after_it_has_ended_no_child_is_left(make_pool: MakePool) -> None:
    for method in METHODS:
        pool = make_pool(2, method=method)
        run(pool, SmallJob("any", "pid"))
        assert pool.stop(timeout=None)
        assert pool.statistics().extra["children"] == []
