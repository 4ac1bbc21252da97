"""Green pools in several child processes: the children are patched, the worker is not."""

from __future__ import annotations

import time
from typing import Any

import pytest


@pytest.mark.parametrize("pool", ["gevent", "eventlet"])
def test_a_hosted_green_pool_runs_in_patched_children_of_an_unpatched_worker(plain_site: Any, pool: str) -> None:
    pytest.importorskip(pool if pool == "gevent" else "worker_pool_eventlet", reason=f"{pool} is not installed")
    plain_site.write(f"""
        import socket
        @app.task
        def nap():
            time.sleep(0.5)
            return [os.getpid(), "{pool}" in socket.socket.__module__]
        @app.task(time_limit=0.5)
        def stuck():
            while True:
                try:
                    while True: pass
                except BaseException: pass
    """)
    worker = plain_site.worker("-P", pool, "-c", "40", "--processes", "2")
    assert "loop     asynloop" in worker.log, worker.log
    told: list[Any] = []
    deadline = time.monotonic() + 60
    while len({pid for pid, _ in told}) < 2:  # the second child may come up when the first has done it all
        assert time.monotonic() < deadline, told
        naps = [plain_site.app.send_task("tasks.nap") for _ in range(40)]
        told += [nap.get(timeout=60) for nap in naps]
    assert len({pid for pid, _ in told}) == 2
    assert worker.process.pid not in {pid for pid, _ in told}
    assert all(patched for _, patched in told)
    result = plain_site.app.send_task("tasks.stuck")
    result.get(timeout=60, propagate=False)
    assert type(result.result).__name__ == "TimeLimitExceeded"
    assert plain_site.app.send_task("tasks.nap").get(timeout=60)[1]
    assert worker.stop() == 0, worker.log
