"""What a worker holds beyond its slots is never held from others."""

from __future__ import annotations

from typing import Any

import pytest

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


@pytest.mark.parametrize("pool", ["threads", "prefork"])
@pytest.mark.usefixtures("sockets_of_its_own")
def test_with_two_workers_of_one_slot_no_short_task_waits_behind_the_long_one(
    plain_site: Any, until: Any, pool: str
) -> None:
    plain_site.write(TASKS)
    workers = [plain_site.worker("-P", pool, "-c", "1", "-n", f"w{n}") for n in range(2)]
    for n in range(100):
        plain_site.app.send_task("tasks.quick", (n,))
    until(lambda: runs(plain_site, "quick") == 100, "both workers to know that tasks are short")

    plain_site.app.send_task("tasks.long")
    short = [plain_site.app.send_task("tasks.quick", (n,)) for n in range(100, 120)]
    for result in short:
        result.get(timeout=30)

    until(lambda: runs(plain_site, "long") == 1, "the long task to have started")
    assert runs(plain_site, "quick") == 120, "each ran once"
    (plain_site.folder / "release").touch()
    assert [worker.stop() for worker in workers] == [0, 0], "\n".join(worker.log for worker in workers)
    assert plain_site.queue_size() == 0


@pytest.mark.usefixtures("sockets_of_its_own")
def test_a_worker_says_what_it_holds_and_why(site: Any, until: Any) -> None:
    site.write(TASKS)
    worker = site.worker("-P", "threads", "-c", "1", "--state-file", "state.json")
    assert site.tell("stats")["steps"]["consumer"]["buffer"] == {"size": 0, "adaptive": True, "runtime": 0.0}
    for n in range(30):
        site.app.send_task("tasks.quick", (n,))
    until(lambda: site.tell("stats")["steps"]["consumer"]["settled"].get("acknowledged") == 30, "all to have run")
    said = site.tell("stats")["steps"]["consumer"]
    assert said["buffer"]["size"] > 0
    assert 0 < said["buffer"]["runtime"] < 0.1
    assert said["window"] == 1 + said["buffer"]["size"]
    assert worker.stop() == 0, worker.log
