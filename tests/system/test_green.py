"""Real workers on the green pools: patched first, limits that hold, nothing lost."""

from __future__ import annotations

import importlib.util
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from worker_kernel import SoftTimeLimitExceeded, TimeLimitExceeded
from worker_kernel.cli.worker import GREEN_WARNING

LIBRARIES = [
    pytest.param(name, marks=pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"no {name}"))
    for name in ("gevent", "eventlet")
]
libraries = pytest.mark.parametrize("library", LIBRARIES)
TASKS = """
    import socket, ssl, select
    @app.task
    def patched():
        parts = {"socket": socket.socket, "ssl": ssl.SSLSocket, "threading": threading.Lock, "select": select.select}
        mark(*(name for name, part in parts.items() if part.__module__.partition(".")[0] in ("gevent", "eventlet")))
    @app.task
    def nap(seconds):
        mark("began")
        time.sleep(seconds)
        mark("ended")
    @app.task
    def count(seconds):
        mark("began")
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            pass
        mark("ended")
    @app.task
    def deaf(seconds):
        import ctypes
        from worker_kernel.testing.stuck import _lock_in_vain
        mark("began")
        _lock_in_vain(ctypes.CDLL(None), time.monotonic() + seconds)
    @app.task
    def asks(name):
        return app.send_task(name, (0,)).get(timeout=20)
"""


@pytest.fixture(autouse=True)
def sockets_of_its_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep the workers of these tests apart from others on this machine, where a socket's path is short enough."""
    with tempfile.TemporaryDirectory(prefix="wk") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield


@pytest.fixture
def site(plain_site: Any) -> Any:
    plain_site.write(TASKS)
    return plain_site


# -- patched first


@pytest.mark.parametrize(
    ("arguments", "environ", "file"),
    [
        (["-P", "{}"], {}, ""),
        (["-P{}"], {}, ""),
        (["--pool={}"], {}, ""),
        (["--pool", "{}"], {}, ""),
        ([], {"KERNEL_WORKER_POOL": "{}"}, ""),
        ([], {}, 'worker_pool = "{}"\n'),
    ],
    ids=["-P X", "-PX", "--pool=X", "--pool X", "environment", "file"],
)
@libraries
def test_every_way_to_name_the_pool_patches_first_runs_tasks_and_heeds_a_stop(
    library: str, arguments: list[str], environ: dict[str, str], file: str, site: Any, until: Callable[..., None]
) -> None:
    (site.folder / "kernel.toml").write_text(file.format(library))
    words = [word.format(library) for word in arguments]
    worker = site.worker(*words, "-c", "10", **{name: value.format(library) for name, value in environ.items()})
    site.app.send_task("tasks.patched")
    until(site.lines, "the task")
    (parts,) = site.lines()
    # eventlet wraps TLS sockets of its own; the class in the module ssl is the library's as well.
    assert {"socket", "threading", "select"} <= set(parts)
    assert library == "eventlet" or "ssl" in parts
    begun = time.monotonic()
    assert worker.stop() == 0, worker.log
    assert time.monotonic() - begun < 5
    assert "not patched" not in worker.log


@pytest.mark.parametrize("python", [[], ["-W", "error"]], ids=["plain", "-W error"])
@libraries
def test_a_pool_named_in_code_is_warned_of_once_and_the_worker_starts_again_patched(
    library: str, python: list[str], site: Any, until: Callable[..., None]
) -> None:
    tasks = site.folder / "tasks.py"
    tasks.write_text(tasks.read_text().replace('App("tasks")', f'App("tasks", worker_pool="{library}")'))
    options = {"PYTHONWARNINGS": "error"} if python else {}
    worker = site.worker(**options)
    site.app.send_task("tasks.patched")
    until(site.lines, "the task")
    assert {"socket", "threading", "select"} <= set(site.lines()[0])
    assert worker.stop() == 0, worker.log
    assert worker.log.count(GREEN_WARNING) == 1
    assert f"UserWarning: {GREEN_WARNING}" in worker.log
    assert worker.log.count("kernel@") >= 1


@libraries
def test_an_embedded_scheduler_is_refused_in_the_field_s_words(library: str, site: Any) -> None:
    worker = site.worker("-P", library, "-B", ready=False)
    assert worker.wait() == 2
    assert "-B option doesn't work with eventlet/gevent pools: use standalone beat instead." in worker.log


def test_eventlet_says_in_one_line_that_it_is_not_developed_any_more(site: Any) -> None:
    pytest.importorskip("gevent")
    if importlib.util.find_spec("eventlet") is None:
        pytest.skip("no eventlet")
    worker = site.worker("-P", "eventlet", PYTHONWARNINGS="error")
    assert worker.stop() == 0
    assert worker.log.count("maintenance mode") == 1
    assert "Deprecat" not in worker.log


# -- at work


@libraries
def test_hundreds_of_tasks_wait_side_by_side(library: str, site: Any, until: Callable[..., None]) -> None:
    results = [site.app.send_task("tasks.nap", (1,)) for _ in range(300)]
    worker = site.worker("-P", library, "-c", "300")
    until(lambda: sum(line == ["began"] for line in site.lines()) == 300, "all to begin")
    assert ["ended"] not in site.lines()[:250]
    for result in results:
        result.get(timeout=30)
    assert worker.stop() == 0, worker.log
    assert site.queue_size() == 0


@libraries
def test_a_task_may_wait_for_another(library: str, site: Any) -> None:
    site.worker("-P", library, "-c", "2")
    assert site.app.send_task("tasks.asks", ("tasks.nap",)).get(timeout=20) is None


@libraries
def test_statistics_tell_the_limit_and_not_what_happens_to_run(library: str, site: Any) -> None:
    site.worker("-P", library, "-c", "50", "--state-file", "state.json")
    seen = site.tell("stats")["steps"]["pool"]
    assert (seen["limit"], seen["size"], seen["running"], seen["free"]) == (50, 50, 0, 50)


# -- limits (E6 of what users suffer from)


@pytest.mark.parametrize("task", ["nap", "count"])
@libraries
def test_a_soft_limit_is_raised_in_a_task_that_yields_and_in_one_that_does_not(
    library: str, task: str, site: Any
) -> None:
    site.worker("-P", library, "-c", "4", "--soft-time-limit", "0.1")
    begun = time.monotonic()
    result = site.app.send_task(f"tasks.{task}", (30,))
    with pytest.raises(SoftTimeLimitExceeded):
        result.get(timeout=20)
    assert time.monotonic() - begun < 10
    assert ["ended"] not in site.lines()


@pytest.mark.parametrize("task", ["nap", "count"])
@libraries
def test_a_hard_limit_ends_a_task_that_yields_and_one_that_does_not(library: str, task: str, site: Any) -> None:
    worker = site.worker("-P", library, "-c", "4", "--time-limit", "0.1", KERNEL_WORKER_LIMIT_GRACE="10")
    result = site.app.send_task(f"tasks.{task}", (30,))
    with pytest.raises(TimeLimitExceeded):
        result.get(timeout=20)
    assert ["ended"] not in site.lines()
    assert worker.stop() == 0, worker.log


@libraries
def test_who_holds_the_loop_is_named_with_its_stack_and_what_it_cost(
    library: str, site: Any, until: Callable[..., None]
) -> None:
    worker = site.worker("-P", library, "-c", "4", KERNEL_WORKER_MAX_BLOCKING_TIME="0.3")
    sent = site.app.send_task("tasks.count", (2,))
    until(lambda: "held it" in worker.log, "the loop to turn again")
    assert f"task tasks.count[{sent.id}] holds it, and is here:" in worker.log
    assert "in count\n" in worker.log
    assert worker.stop() == 0, worker.log


@libraries
def test_a_task_in_c_past_its_hard_limit_ends_the_process_and_its_message_comes_back(
    library: str, site: Any, until: Callable[..., None]
) -> None:
    worker = site.worker(
        "-P", library, "-c", "4", "--time-limit", "0.2", query="?lease=2", KERNEL_WORKER_LIMIT_GRACE="0.3"
    )
    sent = site.app.send_task("tasks.deaf", (60,))
    assert worker.wait() == 9, worker.log
    assert f"task tasks.deaf[{sent.id}] did not end at its hard limit, and holds the loop" in worker.log
    until(lambda: site.queue_size() == 1 or sent.state == "FAILURE", "the message to come back, or to be settled")


# -- ends


@libraries
def test_a_revoke_ends_a_waiting_task_within_a_second(library: str, site: Any, until: Callable[..., None]) -> None:
    worker = site.worker("-P", library, "-c", "4", "--state-file", "state.json")
    sent = site.app.send_task("tasks.nap", (60,))
    until(lambda: site.lines() and site.tell("active"), "the task to run")
    begun = time.monotonic()
    assert site.tell("revoke", ids=[sent.id], terminate=True) == {"tasks": {sent.id: "is being ended"}}
    until(lambda: sent.state == "REVOKED", "the task to be revoked")
    assert time.monotonic() - begun < 1 or os.getloadavg()[0] > 4
    until(lambda: site.tell("stats")["steps"]["consumer"]["settled"] == {"acknowledged": 1}, "to be settled")
    assert worker.stop() == 0, worker.log
    assert site.queue_size() == 0


@libraries
def test_a_cold_stop_hands_back_everything_that_runs(library: str, site: Any, until: Callable[..., None]) -> None:
    for _ in range(50):
        site.app.send_task("tasks.nap", (30,))
    worker = site.worker("-P", library, "-c", "50")
    until(lambda: len(site.lines()) == 50, "all to run")
    worker.signal(signal.SIGQUIT)
    assert worker.wait() == 8, worker.log
    assert site.queue_size() == 50


@libraries
def test_a_warm_stop_waits_for_what_runs(library: str, site: Any, until: Callable[..., None]) -> None:
    worker = site.worker("-P", library, "-c", "20")
    for _ in range(20):
        site.app.send_task("tasks.nap", (1,))
    until(lambda: len(site.lines()) == 20, "all to run")
    assert worker.stop() == 0, worker.log
    assert site.lines().count(["ended"]) == 20
    assert site.queue_size() == 0


@pytest.mark.long
@libraries
def test_two_thousand_naps_of_half_a_second_take_less_than_four(library: str, site: Any) -> None:
    results = [site.app.send_task("tasks.nap", (0.5,)) for _ in range(2000)]
    site.worker("-P", library, "-c", "1000")
    begun = time.monotonic()
    for result in results:
        result.get(timeout=60)
    assert time.monotonic() - begun < 4


def test_the_folders_of_the_two_libraries_mirror_each_other() -> None:
    green = Path(__file__).parents[2] / "plugins" / "green"
    names = {
        library: {
            path.relative_to(green / library).as_posix().replace(library, "X")
            for path in (green / library).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        for library in ("gevent", "eventlet")
    }
    assert names["gevent"] == names["eventlet"]
