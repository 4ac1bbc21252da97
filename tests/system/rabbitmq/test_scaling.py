"""What is held beyond the slots, and how many slots there are, on RabbitMQ."""

from __future__ import annotations

from typing import Any

import pytest
from tests.system.load_trace import run_trace

TASKS = """
    @app.task
    def quick(n): mark("quick", n)
    @app.task
    def long():
        mark("long")
        while not os.path.exists("release"): time.sleep(0.02)
"""


def runs(site: Any, task: str) -> int:
    return sum(line[0] == task for line in site.lines())


@pytest.mark.usefixtures("sockets_of_its_own")
@pytest.mark.parametrize("queue_type", ["classic", pytest.param("quorum", marks=pytest.mark.long)])
def test_the_depth_of_the_queue_makes_a_worker_grow(rabbit_site: Any, until: Any, queue_type: str) -> None:
    run_trace(rabbit_site(queue_type), until, "-P", "threads")


def test_what_waits_behind_a_long_task_goes_to_the_other_worker(rabbit_site: Any, until: Any) -> None:
    site = rabbit_site("classic")
    site.write(TASKS)
    workers = [site.worker("-P", "threads", "-c", "1", "-n", f"w{n}") for n in range(2)]
    for n in range(100):
        site.app.send_task("tasks.quick", (n,), ignore_result=True)
    until(lambda: runs(site, "quick") == 100, "both workers to know that tasks are short")
    site.app.send_task("tasks.long", ignore_result=True)
    for n in range(100, 120):
        site.app.send_task("tasks.quick", (n,), ignore_result=True)
    until(lambda: runs(site, "quick") == 120, "no short task to wait behind the long one")
    until(lambda: runs(site, "long") == 1, "the long task to have started")
    (site.folder / "release").touch()
    assert [worker.stop() for worker in workers] == [0, 0], "\n".join(worker.log for worker in workers)
    assert runs(site, "quick") == 120, "each ran once"
