"""Workers whose tasks run in child processes: what a task, or somebody else, can do to a child."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

METHODS = ("fork", "spawn", "forkserver")


def children_of(pid: int) -> list[int]:
    """Every process below ``pid``, however deep."""
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text(errors="replace").rsplit(")", 1)[1].split()[1])
        except OSError:  # it has ended since
            continue
        if parent == pid:
            found += [int(folder.name), *children_of(int(folder.name))]
    return found


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(errors="replace").rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.parametrize("method", METHODS)
def test_a_task_that_kills_its_process_runs_three_times_and_its_result_says_how_it_ended(
    plain_site: Any, until: Any, method: str
) -> None:
    plain_site.write("""
        import signal
        @app.task
        def die():
            mark("run")
            deadline = time.monotonic() + 0.3
            while time.monotonic() < deadline: time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)
        @app.task
        def fine(): return "fine"
    """)
    worker = plain_site.worker("-P", "prefork", "-c", "2", "--pool-start-method", method)
    result = plain_site.app.send_task("tasks.die")
    result.get(timeout=60, propagate=False)
    assert result.state == "FAILURE"
    assert type(result.result).__name__ == "WorkerLostError"
    said = str(result.result)
    assert "signal 9 (SIGKILL)" in said
    assert "peak memory" in said
    assert "tasks.py" in said, "the last Python frames"
    assert plain_site.lines() == [["run"]] * 3
    assert plain_site.app.send_task("tasks.fine").get(timeout=30) == "fine"
    until(lambda: plain_site.queue_size("celery.quarantine") == 1, "the message in quarantine")
    assert worker.stop() == 0, worker.log


@pytest.mark.parametrize("method", METHODS)
def test_what_the_application_opens_when_it_is_imported_serves_its_tasks(plain_site: Any, method: str) -> None:
    plain_site.write("""
        import logging, socket
        log = logging.getLogger("audit")
        log.addHandler(logging.FileHandler("audit.log"))
        here, there = socket.socketpair(type=socket.SOCK_DGRAM)
        @app.task
        def audited():
            log.warning("seen")
            return there.send(b"counted")
    """)
    worker = plain_site.worker("-P", "prefork", "-c", "1", "--pool-start-method", method)
    assert plain_site.app.send_task("tasks.audited").get(timeout=30) == len("counted")
    assert worker.stop() == 0, worker.log
    assert (plain_site.folder / "audit.log").read_text() == "seen\n"


@pytest.mark.parametrize("method", METHODS)
def test_children_and_worker_write_to_the_embedded_broker_beside_each_other(plain_site: Any, method: str) -> None:
    plain_site.write("""
        @app.task
        def add(a, b): return a + b
    """)
    worker = plain_site.worker("-P", "prefork", "-c", "4", "--pool-start-method", method)
    results = [plain_site.app.send_task("tasks.add", (number, 1)) for number in range(500)]
    assert [result.get(timeout=60) for result in results] == list(range(1, 501))
    assert worker.stop() == 0, worker.log
    assert "ERROR" not in worker.log


def test_a_memory_error_in_a_task_fails_that_task_and_leaves_its_neighbours_alone(plain_site: Any, until: Any) -> None:
    plain_site.write("""
        @app.task
        def greedy(): raise MemoryError("too big array")
        @app.task
        def steady(): time.sleep(1); return os.getpid()
    """)
    worker = plain_site.worker("-P", "prefork", "-c", "4")
    neighbours = [plain_site.app.send_task("tasks.steady") for _ in range(3)]
    result = plain_site.app.send_task("tasks.greedy")
    with pytest.raises(MemoryError, match="too big array"):
        result.get(timeout=30)
    assert len({neighbour.get(timeout=30) for neighbour in neighbours}) == 3
    assert worker.stop() == 0, worker.log


def test_memory_that_was_given_back_does_not_cost_a_child_its_life_and_memory_that_was_not_does(
    plain_site: Any, until: Any
) -> None:
    plain_site.write("""
        kept = []
        @app.task
        def borrow(): block = bytearray(200_000_000); del block; return os.getpid()
        @app.task
        def keep(): kept.append(b"x" * 200_000_000); return os.getpid()
    """)
    worker = plain_site.worker("-P", "prefork", "-c", "1", "--max-memory-per-child", "150000")
    first = plain_site.app.send_task("tasks.borrow").get(timeout=30)
    assert plain_site.app.send_task("tasks.borrow").get(timeout=30) == first
    assert plain_site.app.send_task("tasks.keep").get(timeout=30) == first
    until(lambda: plain_site.app.send_task("tasks.borrow").get(timeout=30) != first, "another child to take over")
    assert "worker_max_memory_per_child" in worker.log
    assert worker.stop() == 0, worker.log


def test_a_task_that_grows_past_the_hard_limit_fails_with_its_name_while_it_runs(plain_site: Any, until: Any) -> None:
    plain_site.write("""
        @app.task
        def grow():
            kept = []
            while True:
                kept.append(bytearray(5_000_000)); time.sleep(0.1)
        @app.task
        def steady(): time.sleep(4); return "unharmed"
    """)
    worker = plain_site.worker("-P", "prefork", "-c", "2", "--memory-limit-per-child", "100MB")
    neighbour = plain_site.app.send_task("tasks.steady")
    result = plain_site.app.send_task("tasks.grow")
    result.get(timeout=60, propagate=False)
    assert type(result.result).__name__ == "MemoryLimitExceeded"
    assert neighbour.get(timeout=30) == "unharmed"
    assert worker.stop() == 0, worker.log


@pytest.mark.parametrize("method", METHODS)
def test_no_child_outlives_a_worker_that_is_killed(plain_site: Any, until: Any, method: str) -> None:
    plain_site.write("""
        @app.task
        def busy():
            mark("busy")
            while True: pass
    """)
    worker = plain_site.worker("-P", "prefork", "-c", "2", "--pool-start-method", method)
    for _ in range(2):
        plain_site.app.send_task("tasks.busy")
    until(lambda: len(plain_site.lines()) == 2, "both children to be busy")
    children = children_of(worker.process.pid)
    assert len(children) >= 2
    worker.signal(signal.SIGKILL)
    worker.wait()
    until(lambda: not any(alive(child) for child in children), "all children to be gone", 5.0)


def test_a_task_may_use_processes_of_its_own_and_the_hard_limit_takes_them_along(plain_site: Any, until: Any) -> None:
    plain_site.write("""
        import multiprocessing, subprocess
        @app.task
        def squares():
            with multiprocessing.get_context("fork").Pool(2) as pool:
                values = pool.map(abs, [-1, -2, -3])
                pool.terminate()
            idle = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
            idle.start()
            idle.terminate()
            idle.join()
            return values
        @app.task(time_limit=1)
        def parent():
            child = subprocess.Popen(["sleep", "60"])
            mark(child.pid)
            while True:
                try:
                    while True: time.sleep(0.01)
                except BaseException: pass
    """)
    worker = plain_site.worker("-P", "prefork", "-c", "1")
    assert plain_site.app.send_task("tasks.squares").get(timeout=30) == [1, 2, 3]
    result = plain_site.app.send_task("tasks.parent")
    result.get(timeout=30, propagate=False)
    assert type(result.result).__name__ == "TimeLimitExceeded"
    (grandchild,) = [int(words[0]) for words in plain_site.lines()]
    until(lambda: not alive(grandchild), "what the task has started to be gone", 10.0)
    assert worker.stop() == 0, worker.log


def test_the_application_is_imported_once_and_nothing_of_the_workers_but_memory_is_shared(plain_site: Any) -> None:
    plain_site.write("""
        mark("imported", os.getpid())
        @app.task
        def parents():
            stat = lambda pid: open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
            return [os.getpid(), os.getppid(), int(stat(os.getppid())[1])]
        @app.task
        def opened():
            links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
            return [os.readlink(link) for link in links if os.path.islink(link)]
    """)
    worker = plain_site.worker("-P", "prefork", "-c", "2")
    before = plain_site.app.send_task("tasks.opened").get(timeout=30)
    _, _, grandparent = plain_site.app.send_task("tasks.parents").get(timeout=30)
    assert grandparent == worker.process.pid
    assert plain_site.lines() == [["imported", str(worker.process.pid)]]
    assert [link for link in before if "sqlite" in link] == [], "SQLite is not to be opened before a fork"
    assert worker.stop() == 0, worker.log


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_children_that_cannot_import_the_application_end_the_worker_with_one_error(
    plain_site: Any, method: str
) -> None:
    plain_site.write("""
        import threading
        threading.Thread(target=threading.Event().wait, daemon=True).start()  # so that no zygote is forked
        if os.path.exists("imported"):
            raise ImportError("the second import goes wrong")
        open("imported", "w").close()
        @app.task
        def fine(): return "fine"
    """)
    worker = plain_site.worker("-P", "prefork", "-c", "2", "--pool-start-method", method, ready=False)
    assert worker.wait() == 7, worker.log
    assert worker.log.count("the second import goes wrong") >= 1
    assert worker.log.count("a child process could not be started") == 1


def test_a_restart_replaces_the_code_without_losing_a_job(plain_site: Any, until: Any) -> None:
    source = """
        @app.task
        def version(): return {version}
        @app.task
        def slow(): mark("slow"); time.sleep(1.5); return {version}
    """
    plain_site.write(source.format(version=1))
    args = ("-P", "prefork", "-c", "2", "--state-file", "state.json")
    worker = plain_site.worker(*args, KERNEL_WORKER_POOL_RESTARTS="yes")
    slow = plain_site.app.send_task("tasks.slow")
    assert plain_site.app.send_task("tasks.version").get(timeout=30) == 1
    until(lambda: plain_site.lines() != [], "the slow one to run")
    # Of another size: within the same second Python takes a file of the same size for what it has compiled.
    plain_site.write(source.format(version=10))
    plain_site.tell("restart")
    until(lambda: plain_site.app.send_task("tasks.version").get(timeout=30) == 10, "the new code")
    assert slow.get(timeout=30) == 1
    assert worker.stop() == 0, worker.log


def test_children_are_named_in_the_process_list_by_slot_and_task(plain_site: Any, until: Any) -> None:
    plain_site.write("""
        @app.task
        def nap(): mark("nap"); time.sleep(60)
    """)
    worker = plain_site.worker("-P", "prefork", "-c", "1", "-n", "me@here", "--grace", "0")
    plain_site.app.send_task("tasks.nap")
    until(lambda: plain_site.lines() != [], "the task to run")

    def titles() -> list[str]:
        return [
            Path(f"/proc/{pid}/cmdline").read_text(errors="replace").rstrip("\0")
            for pid in children_of(worker.process.pid)
            if alive(pid)
        ]

    until(lambda: any("me@here slot 0: tasks.nap[" in title for title in titles()), f"a title: {titles()}")
    assert worker.stop() == 8, worker.log


def test_threads_in_several_processes_use_them_all_and_survive_the_loss_of_one(plain_site: Any, until: Any) -> None:
    plain_site.write("""
        import signal
        @app.task
        def nap(): time.sleep(0.5); return os.getpid()
        @app.task(time_limit=0.5)
        def stuck():
            while True: pass
        @app.task
        def die_once():
            mark("die")
            if len(open("marks").readlines()) == 1: os.kill(os.getpid(), signal.SIGKILL)
            return "second time"
    """)
    worker = plain_site.worker("-P", "threads", "-c", "8", "--processes", "2")
    pids = {result.get(timeout=30) for result in [plain_site.app.send_task("tasks.nap") for _ in range(8)]}
    assert len(pids) == 2
    assert worker.process.pid not in pids
    assert plain_site.app.send_task("tasks.die_once").get(timeout=30) == "second time"
    result = plain_site.app.send_task("tasks.stuck")
    result.get(timeout=30, propagate=False)
    assert type(result.result).__name__ == "TimeLimitExceeded"
    assert worker.stop() == 0, worker.log


def test_a_pool_of_processes_refuses_an_application_without_a_name_unless_it_forks(plain_site: Any, until: Any) -> None:
    plain_site.write("""
        @app.task
        def add(x, y): return x + y
    """)
    asked = plain_site.kernel("worker", "-A", "tasks", "-P", "prefork", "-c", "3", "--processes", "2")
    assert asked.returncode == 2
    assert "one slot in each process" in asked.stderr
    assert os.environ.get("KERNEL_APP") is None
